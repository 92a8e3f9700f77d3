import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Session, Task } from "@rain/client";
import seedrandom, { type PRNG } from "seedrandom";
import { Cluster, until } from "../e2e/cluster.ts";
import { addGraph, planGraph, type GraphPlan } from "./graph.ts";
import { BadProxy } from "./proxy.ts";

/** Kills real servers and governors while they work on a graph whose results are known, and compares every one. */

export interface ChaosOptions {
  readonly seed: string;
  readonly tasks: number;
  readonly serverKills: number;
  readonly governorKills: number;
  /** Cpus of each governor. */
  readonly governors?: readonly number[];
  /** Governors reach the server through a proxy that delays, cuts and half-opens. */
  readonly badNetwork?: boolean;
  readonly print?: (line: string) => void;
}
export interface ChaosReport {
  readonly seed: string;
  readonly seconds: number;
  readonly tasks: number;
  readonly serverKills: number;
  readonly governorKills: number;
  readonly cuts: number;
  /** Programs that were started; more than tasks when governors were killed under some. */
  readonly starts: number;
  /** What must not be: lost, wrong or doubled results. Empty when all is well. */
  readonly problems: readonly string[];
}

/** A kill comes so long after the number of finished tasks that it waits for, at most. */
const PAUSE_MS = 60;
/** A server that starts again on a machine that does something else may take long. */
const RECONNECT_S = 3_600;
/**
 * On a good network nobody is to be given up, however busy the machine is. On a bad one some are; but a task that was
 * there three times fails by right, so that a shorter lease would make a slow machine look like a broken product.
 */
const LEASE_S = { good: 600, bad: 15 } as const;

/** Runs a graph in a cluster of its own, with kills as long as it is not done, and says what is not as it must be. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { seed, governors = [3, 3] } = options;
  const random = seedrandom(seed);
  const plan = planGraph(options.tasks, random);
  const began = performance.now();
  const cluster = await Cluster.start([], {
    leaseS: options.badNetwork === true ? LEASE_S.bad : LEASE_S.good,
  });
  const proxy = options.badNetwork === true ? new BadProxy(() => cluster.port, random) : undefined;
  try {
    const via = proxy === undefined ? [] : await throughProxy(cluster, proxy);
    const startGovernor = (name: string, cpus: number): Promise<void> =>
      cluster.startGovernor(name, cpus, via);
    await Promise.all(governors.map((cpus, at) => startGovernor(`g${at}`, cpus)));
    const client = await cluster.connect({ reconnectS: RECONNECT_S });
    const session = await client.newSession("chaos", { onError: "continue" });
    const log = join(cluster.home, "started.log");
    await writeFile(log, "");
    const tasks = addGraph(session, plan, log);
    await session.submit();
    const watch = watchCommits(session, tasks, log, plan);
    for (const { victim, after } of planKills(options, random, governors.length)) {
      await watch.reached(after);
      await new Promise((done) => setTimeout(done, random() * PAUSE_MS));
      await watch.note();
      await cluster.kill(victim);
      const hit = victim === "server" ? [] : await givenOut(session, tasks);
      options.print?.(`${seed}: killed ${victim} with ${after} tasks or more finished`);
      if (victim === "server") await cluster.startServer();
      else await startGovernor(victim, governors[Number(victim.slice(1))] ?? 1);
      // A task is given up when it was there at three losses of governors before it finished: each is hit once only.
      await untilEnded(session, hit);
    }
    await session.waitAll();
    proxy?.behave();
    const problems = [
      ...(await compare(tasks, plan)),
      ...(await watch.doubled(options.governorKills === 0 && !proxy)),
    ];
    const starts = (await readFile(log, "utf8")).split("\n").length - 1;
    await session.close();
    await client.close();
    return {
      seed,
      seconds: (performance.now() - began) / 1000,
      tasks: plan.tasks.length,
      serverKills: options.serverKills,
      governorKills: options.governorKills,
      cuts: proxy === undefined ? 0 : proxy.counts.cuts + proxy.counts.halfOpen,
      starts,
      problems,
    };
  } finally {
    await cluster.stop();
    await proxy?.close();
  }
}

/**
 * Tasks that some governor has, or had when it was killed. Of all governors: a server that was started a moment ago
 * does not tell of one that has not come back yet, and what was killed with it counts all the same.
 */
async function givenOut(session: Session, tasks: readonly Task[]): Promise<Task[]> {
  await session.update(tasks);
  return tasks.filter(({ state }) => state === "assigned" || state === "running");
}

/** Until these have ended as they are now: one that finished before may run again for a lost output. */
async function untilEnded(session: Session, tasks: readonly Task[]): Promise<void> {
  const open = new Set(["waiting", "ready", "assigned", "running"]);
  await until(async () => {
    if (tasks.length > 0) await session.update(tasks);
    return tasks.every(({ state }) => state !== undefined && !open.has(state));
  });
}

/** Options of a governor that reaches the server through the proxy. */
async function throughProxy(cluster: Cluster, proxy: BadProxy): Promise<string[]> {
  const port = await proxy.listen();
  return [`127.0.0.1:${port}`, "--tunnel-to", `127.0.0.1:${cluster.port}`];
}

interface Kill {
  readonly victim: string;
  /** Comes when so many tasks have finished. */
  readonly after: number;
}

/** Whom to kill and when: at random points of the work, in their order. */
function planKills(options: ChaosOptions, random: PRNG, governors: number): Kill[] {
  const { serverKills, governorKills, tasks } = options;
  const victims = [
    ...Array.from({ length: serverKills }, () => "server"),
    ...Array.from({ length: governorKills }, () => `g${Math.floor(random() * governors)}`),
  ];
  return victims
    .map((victim) => ({ victim, after: Math.floor(random() * tasks * 0.95) }))
    .toSorted((a, b) => a.after - b.after);
}

interface Watch {
  /** Until so many tasks have settled. */
  readonly reached: (count: number) => Promise<void>;
  /** Notes how often the tasks that are known to be finished were started so far. */
  readonly note: () => Promise<void>;
  /** What ran again although it had finished. `strict`: nothing may have been started twice. */
  readonly doubled: (strict: boolean) => Promise<string[]>;
}

function watchCommits(session: Session, tasks: readonly Task[], log: string, plan: GraphPlan): Watch {
  const finished = new Set<number>();
  const twice: string[] = [];
  const index = new Map(tasks.map((task, n) => [task, n]));
  const following = (async () => {
    for await (const task of session.finished()) {
      const n = index.get(task) ?? -1;
      if (finished.has(n)) twice.push(`task ${n} settled twice`);
      finished.add(n);
    }
  })();
  following.catch((error: unknown) => twice.push(`the session ended: ${String(error)}`));
  const startsAtCommit = new Map<number, number>();
  const countStarts = async (): Promise<Map<number, number>> => {
    const counts = new Map<number, number>();
    for (const line of (await readFile(log, "utf8")).split("\n"))
      if (line !== "") counts.set(Number(line), (counts.get(Number(line)) ?? 0) + 1);
    return counts;
  };
  return {
    reached: async (count) => void (await until(() => finished.size >= count || twice.length > 0)),
    note: async () => {
      const known = [...finished].filter((n) => !startsAtCommit.has(n));
      const counts = await countStarts();
      for (const n of known) startsAtCommit.set(n, counts.get(n) ?? 0);
    },
    doubled: async (strict) => {
      await until(() => finished.size === tasks.length || twice.length > 0);
      const counts = await countStarts();
      const problems = [...twice];
      for (const [n, { lines }] of plan.tasks.entries()) {
        const starts = counts.get(n) ?? 0;
        if (starts === 0) problems.push(`task ${n} was never started`);
        if (strict && starts > 1) problems.push(`task ${n} (${lines} lines) was started ${starts} times`);
        // A large output may be lost with its governor, and is then made again: that is no doubling.
        const before = startsAtCommit.get(n);
        if (lines === 1 && before !== undefined && starts > before)
          problems.push(`task ${n} was started again after it had finished`);
      }
      return problems;
    },
  };
}

const FETCHES = 16;

async function compare(tasks: readonly Task[], plan: GraphPlan): Promise<string[]> {
  const problems: [number, string][] = [];
  const left = [...tasks.entries()];
  const fetchSome = async (): Promise<void> => {
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      const [n, task] = next;
      const text = await task.output.fetch().then((data) => data.text(), String);
      if (text === plan.expected[n]) continue;
      // Why it failed, where it did: what was fetched only says that there is nothing.
      const end = await task.wait().then(() => "finished", String);
      problems.push([n, `${text.slice(0, 300)}; ${end.slice(0, 1_000)}`]);
    }
  };
  await Promise.all(Array.from({ length: FETCHES }, fetchSome));
  // The first one comes before those that depend on it.
  return problems.toSorted(([a], [b]) => a - b).map(([n, text]) => `task ${n}: ${JSON.stringify(text)}`);
}
