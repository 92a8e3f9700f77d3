import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
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

/** Numbers of the live processes with this text in their environment. */
async function processesWith(text: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    // A process that ends meanwhile, or is somebody else's, is none of ours.
    const environ = await readFile(`/proc/${name}/environ`, "latin1").catch(() => "");
    if (environ.includes(text)) found.push(Number(name));
  }
  return found;
}

it("cases 22 and 23: 20 kills of a governor over a tree of processes: nothing of it survives", async () => {
  cluster = await Cluster.start([1], { leaseS: 600 });
  const client = await cluster.connect();
  for (let round = 0; round < 20; round += 1) {
    const mark = `orphan-${process.pid}-${round}`;
    const session = await client.newSession(mark, { onError: "continue" });
    // Three levels, one that left the group by setsid, and one that also lost its parent.
    session.execute(
      [
        "sh",
        "-c",
        'sh -c "sleep 100000 & sleep 100000" & setsid sleep 100000 & setsid sh -c "sleep 100000 & sleep 100000 &" & wait',
      ],
      { env: { ORPHAN: mark } },
    );
    await session.submit();
    const wanted = `ORPHAN=${mark}\0`;
    await until(async () => (await processesWith(wanted)).length >= 7);
    await cluster.kill("g0");
    // The reaper ends the group at once; what left it is found by the next governor of the work folder.
    await cluster.startGovernor("g0", 1);
    await session.cancel();
    await session.waitAll();
    await until(async () => (await processesWith(wanted)).length === 0);
    await session.close();
  }
  await client.close();
}, 600_000);
