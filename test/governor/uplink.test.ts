import { asObjectId, asSessionId, asTaskId, type Report } from "@rain/protocol";
import { expect, it } from "vitest";
import { Uplink } from "../../packages/governor/src/uplink.ts";
import { TinyServer } from "./governor.server.ts";
import { until } from "./executor-kit.ts";

it("a report that the server would refuse never leaves, and the connection stands", async () => {
  const server = await new TinyServer().start();
  const refused: { readonly report: Report; readonly why: string }[] = [];
  const logged: string[] = [];
  let ups = 0;
  const uplink = new Uplink({
    url: server.url,
    key: async () => server.keys.governor,
    onUp: () => (ups += 1),
    onDown: () => undefined,
    onMessage: () => undefined,
    onRefused: (report, why) => refused.push({ report, why }),
    onHopeless: (error) => logged.push(String(error)),
    log: (_level, text) => logged.push(text),
  });
  try {
    uplink.start();
    await until(() => ups === 1, "the connection");
    const ref = { session: asSessionId(1), task: asTaskId(2), attempt: 3 };
    const output = { object: asObjectId(4), size: -1, sha256: "ab".repeat(32) as never, contentType: "" };
    const bad = { type: "finish", ...ref, outputs: [output], info: {} } as const;
    uplink.send(bad);
    expect(refused).toEqual([{ report: bad, why: expect.stringContaining("outputs[0].size") as string }]);
    // Too large for any message: five million bytes of text.
    const failure = { reason: "exit", message: "x".repeat(5_000_000) } as const;
    uplink.send({ type: "fail", ...ref, failure, info: {} });
    expect(refused).toHaveLength(2);
    uplink.send({ type: "metrics", ...ref, from: -1, points: [] });
    expect(logged).toEqual([expect.stringContaining("not told to the server: metrics: from")]);
    uplink.send({ type: "stopped", ...ref });
    await until(() => server.heard.length > 0, "the good report");
    expect(server.heard.map(({ type }) => type)).toEqual(["stopped"]);
    expect(ups).toBe(1);
    // A question is answered by the other side's socket.
    let heard = 0;
    uplink.probe(() => (heard += 1));
    await until(() => heard === 1, "the answer");
  } finally {
    await uplink.stop();
    await server.stop();
  }
});
