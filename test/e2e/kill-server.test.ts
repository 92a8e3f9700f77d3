import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { Cluster, until } from "./cluster.ts";

let cluster: Cluster | undefined;
afterEach(async () => cluster?.stop());

it("a server killed in the middle of a sweep loses nothing and runs nothing twice", async () => {
  cluster = await Cluster.start([4]);
  const log = join(cluster.home, "started.log");
  await writeFile(log, "");
  const started = async (): Promise<string[]> => (await readFile(log, "utf8")).split("\n").filter(Boolean);
  const client = await cluster.connect();
  const session = await client.newSession("killed");
  const data = session.execute("echo 1000", { stdout: true });
  const runs = Array.from({ length: 20 }, (_, n) =>
    session.execute(["sh", "-c", `echo ${n} >> ${log}; sleep 0.3; expr $(cat $0) + ${n}`, data], {
      stdout: true,
    }),
  );
  for (const run of runs) run.output.keep();
  await session.submit();
  const numbers = Promise.all(runs.map(async (run) => Number((await run.output.fetch()).text())));

  await until(async () => (await started()).length >= 6);
  await cluster.kill("server");
  // Programs go on without a server: those that ran finish meanwhile, and wait to be reported.
  await new Promise((done) => setTimeout(done, 800));
  await cluster.startServer();

  expect(await numbers).toEqual(Array.from({ length: 20 }, (_, n) => 1000 + n));
  expect((await started()).map(Number).toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: 20 }, (_, n) => n),
  );
  await session.close();
  await client.close();
}, 120_000);

it("a server killed while nobody looks has every result for who attaches later", async () => {
  cluster = await Cluster.start([2]);
  const client = await cluster.connect();
  const session = await client.newSession("later", { detached: true });
  const small = session.execute("echo small", { stdout: true, name: "small" });
  const large = session.execute(["sh", "-c", "head -c 300000 /dev/zero"], { stdout: true, name: "large" });
  small.output.keep();
  large.output.keep();
  await session.submit();
  await session.waitAll();
  const { id } = session;
  await client.close();
  await cluster.kill("server");
  await cluster.startServer();
  const again = await cluster.connect();
  const attached = await again.attach(id);
  const outputs = await Promise.all(
    [...attached.tasks].map(async (task) => (await task.output.fetch()).bytes()),
  );
  expect(outputs.map((bytes) => bytes.length)).toEqual([6, 300_000]);
  await attached.close();
  await again.close();
}, 120_000);

it("a fetch waits for the governor that has the object to come back, or for the object to be made again", async () => {
  cluster = await Cluster.start([1]);
  const client = await cluster.connect();
  const session = await client.newSession("away");
  const large = session.execute(["sh", "-c", "head -c 300000 /dev/zero"], { stdout: true });
  large.output.keep();
  await session.submit();
  await large.wait();
  await cluster.kill("g0");
  await cluster.kill("server");
  await cluster.startServer();
  const fetched = large.output.fetch();
  // Longer than a few tries take: the object is not to be given up while its governor may come.
  await new Promise((done) => setTimeout(done, 8_000));
  await cluster.startGovernor("g0", 1);
  expect((await fetched).bytes().length).toBe(300_000);
  await session.close();
  await client.close();
}, 120_000);
