import type { Client } from "@rain/client";
import { afterEach, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";

/** `rain governor --zero`: everything is real but the programs. */

let cluster: Cluster | undefined;
let client: Client | undefined;
afterEach(async () => {
  await client?.close();
  await cluster?.stop();
  [client, cluster] = [undefined, undefined];
});

it(
  "ends every task at once, with empty outputs, and says what it cannot pretend",
  { timeout: 120_000 },
  async () => {
    cluster = await Cluster.start([]);
    await cluster.startGovernor("g0", 64, ["--zero"]);
    client = await cluster.connect();
    const session = await client.newSession("zero", { onError: "continue" });
    const many = Array.from({ length: 3_000 }, (_, n) => session.execute(["/does/not/exist", String(n)]));
    const first = session.execute(["/does/not/exist"], { stdout: true });
    const last = session.concat([first, first]);
    last.output.keep();
    const folder = session.execute(["/does/not/exist"], { files: true });
    await session.submit();
    const unfinished = await session.waitAll();
    expect(unfinished).toEqual([folder]);
    await expect(session.wait([folder])).rejects.toThrow("--zero makes no directory");
    expect((await last.output.fetch()).text()).toBe("");
    expect(many.every(({ state }) => state === "finished")).toBe(true);
  },
);
