import { expect, it } from "vitest";
import { asDigest, asGovernorId, asObjectId, asSessionId } from "@rain/protocol";
import { DataPorts } from "../../packages/server/src/ports.ts";

const GOVERNORS = [1, 2, 3].map(asGovernorId);

it("sends the readers of one object to its holders in turn, and to the server last", () => {
  const ports = new DataPorts();
  for (const governor of GOVERNORS) {
    const dataUrl = `http://127.0.0.1:${governor}000`;
    expect(ports.introduce({ id: governor, isLocal: true }, { dataUrl })).toBe(undefined);
    ports.register({
      type: "registered",
      connection: governor,
      governor,
      epoch: 1,
      dataUrl,
      relay: false,
      batch: false,
    });
  }
  const input = {
    object: asObjectId(1),
    kind: "blob" as const,
    size: 1_000_000,
    sha256: asDigest("0".repeat(64)),
    contentType: "",
    holders: GOVERNORS,
    onServer: false,
  };
  const orders = Array.from({ length: 3 }, () =>
    ports
      .address(input, asSessionId(1), asGovernorId(1))
      .sources.map(({ url }) => (url.startsWith("/") ? "server" : new URL(url).port)),
  );
  expect(orders.map(([first]) => String(first)).toSorted()).toEqual(["1000", "2000", "3000"]);
  for (const order of orders) {
    expect(order.at(-1)).toBe("server");
    expect(order.slice(0, -1).toSorted()).toEqual(["1000", "2000", "3000"]);
  }
});
