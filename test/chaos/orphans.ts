import { readdir, readFile } from "node:fs/promises";
import type { Client } from "@rain/client";
import { Cluster, until } from "../e2e/cluster.ts";

/** Kills governors over trees of processes, starts them again, and looks whether anything of the trees is left. */

export interface OrphansOptions {
  readonly kills: number;
  readonly print?: (line: string) => void;
}
export interface OrphansReport {
  readonly kills: number;
  /** Processes that were there when their governor was killed. */
  readonly processes: number;
  readonly seconds: number;
  /** The longest time from when a governor was there again until nothing of its tree was left, seconds. */
  readonly longestS: number;
  /** One line for each tree of which something was left. Empty when all is well. */
  readonly problems: readonly string[];
}

/** Three levels, one that left the group by setsid, and one that also lost its parent. */
const TREE =
  'sh -c "sleep 100000 & sleep 100000" & setsid sleep 100000 & setsid sh -c "sleep 100000 & sleep 100000 &" & wait';
const TREE_PROCESSES = 7;
/** What is there so long after its governor came back has survived, however busy the machine is. */
const SURVIVED_S = 60;

export async function runOrphans({ kills, print = () => {} }: OrphansOptions): Promise<OrphansReport> {
  const began = performance.now();
  const problems: string[] = [];
  let [processes, longestS] = [0, 0];
  const cluster = await Cluster.start([1], { leaseS: 600 });
  try {
    const client = await cluster.connect();
    for (let round = 0; round < kills; round += 1) {
      const tree = await killOver(cluster, client, `orphan-${process.pid}-${round}`);
      processes += tree.processes;
      longestS = Math.max(longestS, tree.seconds);
      if (tree.left.length > 0)
        problems.push(`kill ${round}: processes ${tree.left.join(", ")} were there ${SURVIVED_S} s after it`);
      if ((round + 1) % 20 === 0) print(`${round + 1} kills: ${problems.length} problems`);
    }
    await client.close();
  } finally {
    await cluster.stop();
  }
  return { kills, processes, seconds: (performance.now() - began) / 1000, longestS, problems };
}

interface Outcome {
  readonly processes: number;
  readonly seconds: number;
  /** Numbers of the processes that survived. */
  readonly left: readonly number[];
}

async function killOver(cluster: Cluster, client: Client, mark: string): Promise<Outcome> {
  const session = await client.newSession(mark, { onError: "continue" });
  session.execute(["sh", "-c", TREE], { env: { ORPHAN: mark } });
  await session.submit();
  const tree = (): Promise<number[]> => processesWith(`ORPHAN=${mark}\0`);
  const there = await until(async () => {
    const found = await tree();
    return found.length >= TREE_PROCESSES && found;
  });
  await cluster.kill("g0");
  // The reaper ends the group at once; what left it is found by the next governor of the work folder.
  await cluster.startGovernor("g0", 1);
  const back = performance.now();
  await session.cancel();
  await session.waitAll();
  const seconds = (): number => (performance.now() - back) / 1000;
  const left = await until(async () => {
    const found = await tree();
    return (found.length === 0 || seconds() > SURVIVED_S) && found;
  });
  await session.close();
  return { processes: there.length, seconds: seconds(), left };
}

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
