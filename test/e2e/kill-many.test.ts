import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { runOrphans } from "../chaos/orphans.ts";
import { Cluster, until } from "./cluster.ts";

let cluster: Cluster | undefined;
afterEach(async () => cluster?.stop());

const linesOf = async (file: string): Promise<string[]> =>
  (await readFile(file, "utf8")).split("\n").filter(Boolean);

it("1,000 sleeping programs sleep on while their server is killed: none is started again", async () => {
  const count = 1_000;
  cluster = await Cluster.start([count], { leaseS: 600 });
  const log = join(cluster.home, "started.log");
  await writeFile(log, "");
  const client = await cluster.connect();
  const session = await client.newSession("sleepers", { onError: "continue" });
  const sleepers = Array.from({ length: count }, (_, n) =>
    session.execute(["sh", "-c", `echo ${n} >> ${log}; exec sleep 100000`]),
  );
  await session.submit();
  await until(async () => (await linesOf(log)).length === count);
  await cluster.kill("server");
  await cluster.startServer();
  await until(async () => (await client.serverInfo()).governors.some((each) => each.tasks.length === count));
  await session.update();
  expect(new Set(sleepers.map(({ state, info }) => `${state} ${info.attempt}`))).toEqual(
    new Set(["running 1"]),
  );
  const starts = await linesOf(log);
  expect(starts).toHaveLength(count);
  expect(new Set(starts).size).toBe(count);
  await session.cancel();
  await session.waitAll();
  await session.close();
  await client.close();
}, 600_000);

it("cases 22 and 23: 20 kills of a governor over a tree of processes: nothing of it survives", async () => {
  const report = await runOrphans({ kills: 20 });
  expect(report.problems).toEqual([]);
  expect(report.processes).toBeGreaterThanOrEqual(20 * 7);
}, 600_000);
