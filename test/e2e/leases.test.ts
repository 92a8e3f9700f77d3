import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Client, Session, Task } from "@rain/client";
import seedrandom from "seedrandom";
import { afterEach, expect, it } from "vitest";
import { BadProxy } from "../chaos/proxy.ts";
import { Cluster, launchRain, until } from "./cluster.ts";

/** Governors that lose their server, servers that stand still, and governors that leave: real processes. */

const LONG = 180_000;
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

let cluster: Cluster | undefined;
let proxy: BadProxy | undefined;
let client: Client | undefined;
afterEach(async () => {
  proxy?.heal();
  await client?.close();
  await cluster?.stop();
  await proxy?.close();
  [proxy, client, cluster] = [undefined, undefined, undefined];
});

/** A server and governors, and a client. */
async function directly(cpus: readonly number[], leaseS?: number): Promise<Cluster> {
  cluster = await Cluster.start(cpus, leaseS === undefined ? {} : { leaseS });
  client = await cluster.connect();
  return cluster;
}

/** A server, and a governor g0 that reaches it through a proxy that can hold bytes back. */
async function behindProxy(leaseS: number, more: readonly string[]): Promise<Cluster> {
  const made = await directly([], leaseS);
  proxy = new BadProxy(() => made.port, seedrandom("leases"));
  proxy.behave();
  const via = [`127.0.0.1:${await proxy.listen()}`, "--tunnel-to", `127.0.0.1:${made.port}`];
  await made.startGovernor("g0", 1, [...via, ...more]);
  return made;
}

/**
 * A program that notes its number, and in `twice` that another one of its kind was alive; then it waits for `go`.
 * Its output is too large to travel in a report, and its own.
 */
const program = (folder: string): string[] => [
  "sh",
  "-c",
  `for p in $(cat ${folder}/log); do kill -0 $p 2>/dev/null && echo $p >> ${folder}/twice; done
echo $$ >> ${folder}/log
while [ ! -e ${folder}/go ]; do sleep 0.05; done
head -c 99990 /dev/zero | tr '\\0' x; printf '%010d' $$`,
];

async function newSession(name: string): Promise<Session> {
  if (client === undefined) throw new Error("no client");
  return await client.newSession(name);
}

interface Begun {
  readonly task: Task;
  /** Numbers of the programs that were started. */
  readonly starts: () => Promise<number[]>;
  /** Lets programs end. */
  readonly go: () => Promise<void>;
  /** Was one started while another one was alive? */
  readonly twice: () => boolean;
}

async function begin(on: Cluster): Promise<Begun> {
  const folder = join(on.home, "notes");
  await mkdir(folder);
  await writeFile(join(folder, "log"), "");
  const session = await newSession("leases");
  const task = session.execute(program(folder), { stdout: true });
  task.output.keep();
  await session.submit();
  const starts = async (): Promise<number[]> =>
    (await readFile(join(folder, "log"), "utf8")).split("\n").filter(Boolean).map(Number);
  await until(async () => (await starts()).length === 1);
  const go = (): Promise<void> => writeFile(join(folder, "go"), "");
  return { task, starts, go, twice: () => existsSync(join(folder, "twice")) };
}

function alive(pid: number | undefined): boolean {
  try {
    process.kill(pid ?? 0, 0);
    return true;
  } catch {
    return false;
  }
}

/** The result is there, of this attempt and after so many starts. */
async function expectResult({ task, starts }: Begun, attempt: number, count: number): Promise<void> {
  expect((await task.output.fetch()).bytes()).toHaveLength(100_000);
  await task.update();
  expect(task.info.attempt).toBe(attempt);
  expect(await starts()).toHaveLength(count);
}

it(
  "case 14: what a governor finished behind a partition longer than its lease is dropped",
  { timeout: LONG },
  async () => {
    const on = await behindProxy(3, ["--on-lost", "finish"]);
    const begun = await begin(on);
    const { task, starts } = begun;
    await on.startGovernor("g1", 1);
    proxy?.hold("up", "down");
    await until(async () => (await starts()).length === 2); // g1 has it too
    await begun.go();
    await task.wait();
    await until(async () => !alive((await starts())[0])); // and so has g0
    proxy?.heal();
    // It is told that its result is not the one that counts, and forgets it.
    await until(async () => {
      const { governors } = (await client?.serverInfo()) ?? { governors: [] };
      const back = governors.find(({ name, state }) => name === "g0" && state === "connected");
      return back?.objects.length === 0 && back.tasks.length === 0;
    });
    await expectResult(begun, 2, 2);
    expect(task.info.governor).toBe("g1");
  },
);

it("case 15: a partition shorter than the lease restarts nothing", { timeout: LONG }, async () => {
  const on = await behindProxy(60, ["--on-lost", "kill"]);
  const begun = await begin(on);
  const { starts } = begun;
  await on.startGovernor("g1", 1);
  proxy?.hold("up", "down");
  await pause(3_000);
  await begun.go();
  await until(async () => !alive((await starts())[0]));
  proxy?.heal();
  await expectResult(begun, 1, 1);
});

it(
  "case 16: a governor that hears nothing ends its programs before others run them",
  { timeout: LONG },
  async () => {
    const on = await behindProxy(4, ["--on-lost", "kill"]);
    const begun = await begin(on);
    const { starts } = begun;
    await on.startGovernor("g1", 1);
    proxy?.hold("down");
    await until(async () => (await starts()).length === 2);
    proxy?.heal();
    await begun.go();
    await expectResult(begun, 2, 2);
    expect(begun.twice()).toBe(false);
  },
);

it(
  "case 17: a governor that stood still ends its programs and registers again",
  { timeout: LONG },
  async () => {
    const on = await directly([], 2);
    await on.startGovernor("g0", 1, ["--on-lost", "kill"]);
    const begun = await begin(on);
    const { task, starts } = begun;
    await on.startGovernor("g1", 1);
    on.signal("g0", "SIGSTOP");
    await until(async () => (await starts()).length === 2);
    await pause(10_000 - 2_000); // five times the lease
    const [first] = await starts();
    expect(alive(first)).toBe(true); // its programs did not stand still
    on.signal("g0", "SIGCONT");
    await until(() => !alive(first));
    await until(async () =>
      (await client?.serverInfo())?.governors.some(
        ({ name, state }) => name === "g0" && state === "connected",
      ),
    );
    await begun.go();
    await expectResult(begun, 2, 2);
    expect(task.info.governor).toBe("g1");
    on.signal("g0", "SIGTERM");
    const { exitCode, output } = await on.ended("g0");
    expect(exitCode).toBe(0);
    expect(output).toMatch(/this process stood still for \d+ s/);
  },
);

it(
  "case 19: a server that stands still for longer than the lease gives nobody up",
  { timeout: LONG },
  async () => {
    const on = await directly([1], 2);
    const begun = await begin(on);
    on.signal("server", "SIGSTOP");
    await pause(6_000);
    on.signal("server", "SIGCONT");
    await begun.go();
    await expectResult(begun, 1, 1);
    await client?.close();
    client = undefined;
    on.signal("server", "SIGTERM");
    expect((await on.ended("server")).output).not.toContain("is lost");
  },
);

it(
  "case 18: two governors with one identity: the second is refused, the first goes on",
  { timeout: LONG },
  async () => {
    const on = await directly([1]);
    const begun = await begin(on);
    const [work, copy] = [join(on.home, "work", "g0"), join(on.home, "work", "copy")];
    await mkdir(copy, { mode: 0o700 });
    await cp(join(work, "identity"), join(copy, "identity"));
    const second = (workdir: string): ReturnType<typeof launchRain> =>
      launchRain(["governor", "--name", "second", "--cpus", "1", "--workdir", workdir], {
        RAIN_HOME: on.home,
      });
    const sameFolder = await second(work);
    expect(sameFolder.exitCode).not.toBe(0);
    expect(sameFolder.all).toContain("the work folder");
    const sameIdentity = await second(copy);
    expect(sameIdentity.exitCode).not.toBe(0);
    expect(sameIdentity.all).toContain("another governor with the identity of this work folder");
    await begun.go();
    await expectResult(begun, 1, 1);
  },
);

it(
  "case 18: a governor that was killed behind a network that tells nobody takes its own place",
  { timeout: LONG },
  async () => {
    const on = await behindProxy(8, []);
    const begun = await begin(on);
    proxy?.hang();
    await on.kill("g0");
    // Another way to the server: the old connection stays as it is.
    await on.startGovernor("g0", 1);
    await begun.go();
    await expectResult(begun, 2, 2);
  },
);

it.each(["drain", "SIGTERM"] as const)(
  "case 21: a governor that leaves (%s) has others copy what only it has",
  { timeout: LONG },
  async (how) => {
    const on = await directly([1]);
    const begun = await begin(on);
    const { task } = begun;
    await begun.go();
    await task.wait();
    await on.startGovernor("g1", 1);
    if (how === "SIGTERM") on.signal("g0", "SIGTERM");
    else expect((await on.rain("governors", "drain", "g0")).exitCode).toBe(0);
    expect((await on.ended("g0")).exitCode).toBe(0);
    await until(async () => (await client?.serverInfo())?.governors.every(({ name }) => name === "g1"));
    await expectResult(begun, 1, 1);
  },
);

it(
  "a drained governor with the only copy stays until another one comes, and says so",
  { timeout: LONG },
  async () => {
    const on = await directly([1]);
    const begun = await begin(on);
    const { task } = begun;
    await begun.go();
    await task.wait();
    expect((await on.rain("governors", "drain", "g0")).exitCode).toBe(0);
    const { stdout } = await on.rain("governors");
    expect(stdout).toContain("1 objects (100000 bytes) that are needed are nowhere else");
    expect(stdout).toContain("no other governor takes them");
    await on.startGovernor("g1", 1);
    expect((await on.ended("g0")).exitCode).toBe(0);
    await expectResult(begun, 1, 1);
  },
);

it(
  "case 13: a task that kills its governor three times fails, and nobody else's does",
  { timeout: LONG },
  async () => {
    const on = await directly([]);
    const start = (name: string): Promise<void> => on.startGovernor(name, 1, ["--label", `name=${name}`]);
    await Promise.all([start("g0"), start("g1")]);
    const other = await newSession("other");
    const quiet = other.execute(["sh", "-c", `while [ ! -e ${on.home}/go ]; do sleep 0.1; done; echo fine`], {
      stdout: true,
      labels: { name: "g1" },
    });
    quiet.output.keep();
    await other.submit();
    const session = await newSession("killer");
    const killing = "kill -9 $(sed -n 's/^PPid:[^0-9]*//p' /proc/$PPID/status); sleep 1000";
    const killer = session.execute(["sh", "-c", killing], { labels: { name: "g0" } });
    await session.submit();
    for (let round = 1; round <= 3; round += 1) {
      await on.ended("g0");
      await start("g0");
    }
    await expect(killer.wait()).rejects.toThrow(/crash limit 3 reached.*g0/);
    await writeFile(join(on.home, "go"), "");
    expect((await quiet.output.fetch()).text()).toBe("fine\n");
  },
);
