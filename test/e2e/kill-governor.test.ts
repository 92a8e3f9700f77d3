import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { Cluster, until } from "./cluster.ts";

let cluster: Cluster | undefined;
afterEach(async () => cluster?.stop());

it("what ran on a killed governor runs again on another, what finished does not", async () => {
  cluster = await Cluster.start([2], { leaseS: 2 });
  const log = join(cluster.home, "started.log");
  await writeFile(log, "");
  const started = async (): Promise<number[]> =>
    (await readFile(log, "utf8")).split("\n").filter(Boolean).map(Number);
  const client = await cluster.connect();
  const session = await client.newSession("lost governor");
  const data = session.execute("echo 1000", { stdout: true });
  const runs = Array.from({ length: 8 }, (_, n) =>
    session.execute(["sh", "-c", `echo ${n} >> ${log}; sleep 0.4; expr $(cat $0) + ${n}`, data], {
      stdout: true,
    }),
  );
  for (const run of runs) run.output.keep();
  await session.submit();
  const numbers = Promise.all(runs.map(async (run) => Number((await run.output.fetch()).text())));
  const done = new Set<number>();
  for await (const task of session.finished()) {
    const at = runs.indexOf(task);
    if (at >= 0) done.add(at);
    if (done.size >= 2) break;
  }
  await until(async () => (await started()).length > done.size);
  await cluster.kill("g0");
  await cluster.startGovernor("g1", 4);

  expect(await numbers).toEqual(Array.from({ length: 8 }, (_, n) => 1000 + n));
  const starts = await started();
  for (const n of done) expect(starts.filter((each) => each === n)).toHaveLength(1);
  expect(new Set(starts).size).toBe(8);
  expect(starts.length).toBeGreaterThan(8);
  await session.close();
  await client.close();
}, 120_000);

it("case 12: an object that only the killed governor had is made again, and the log says by which task and why", async () => {
  cluster = await Cluster.start([1], { leaseS: 2 });
  const client = await cluster.connect();
  const session = await client.newSession("lineage");
  const big = session.execute(["sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x"], { stdout: true });
  const bigger = session.execute(["sh", "-c", "cat $0 $0", big], { stdout: true });
  bigger.output.keep();
  await session.submit();
  await bigger.wait();
  await cluster.kill("g0");
  await cluster.startGovernor("g1", 1);
  await until(async () => (await client.serverInfo()).governors.every((each) => each.name === "g1"));
  expect((await bigger.output.fetch()).bytes().length).toBe(400_000);
  const number = session.id;
  await session.close();
  await client.close();
  cluster.signal("server", "SIGTERM");
  const { output } = await cluster.ended("server");
  expect(output).toMatch(new RegExp(`task ${number}/\\d+ runs again: lost every copy of ${number}/o\\d+`));
}, 120_000);

it("a governor started again in its work folder does not wait for the lease", async () => {
  cluster = await Cluster.start([1], { leaseS: 600 });
  const client = await cluster.connect();
  const session = await client.newSession("restart");
  const run = session.execute(["sh", "-c", "sleep 1; echo done"], { stdout: true });
  run.output.keep();
  await session.submit();
  await until(async () => {
    await run.update();
    return run.state === "running";
  });
  await cluster.kill("g0");
  await cluster.startGovernor("g0", 1);
  expect((await run.output.fetch()).text()).toBe("done\n");
  await run.update();
  expect(run.info.attempt).toBe(2);
  await session.close();
  await client.close();
}, 120_000);
