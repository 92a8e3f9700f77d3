import { Chance } from "./chance.ts";
import { Cluster, type Scheduler } from "./cluster.ts";
import { elementary, makeElementary } from "./elementary.ts";
import { bLevels, MIB, type Graph } from "./graph.ts";
import { RainScheduler } from "./rain.ts";
import { makeReal, real } from "./real.ts";
import { GreedyScheduler, ListScheduler, RandomScheduler } from "./references.ts";

export const graphs: readonly string[] = [...elementary, ...real];
/** `8x4`: 8 governors of 4 cpus. */
export const clusters: readonly string[] = ["8x4", "16x8", "32x4", "32x1"];
/** MiB a second that each governor can send, and receive. */
export const bandwidths: readonly number[] = [32, 128, 512, 2048];

export interface Case {
  readonly graph: string;
  readonly cluster: string;
  readonly bandwidth: number;
  readonly seed: number;
  /** 1: the published size of the graph. */
  readonly scale: number;
}
/** Seconds of virtual time. */
export interface Makespans extends Case {
  /** Nothing can be faster: the longest path of tasks, and all work on all cpus at once. */
  readonly bound: number;
  readonly rain: number;
  readonly list: number;
  readonly greedy: number;
  readonly random: number;
  readonly best: number;
}

export function makeGraph(name: string, seed: number, scale: number): Graph {
  const graph = makeElementary(name, seed, scale) ?? makeReal(name, seed, scale);
  if (!graph) throw new Error(`there is no graph ${name}; there are ${graphs.join(", ")}`);
  return graph;
}
function cpusOf(cluster: string): number[] {
  const [count = 0, cpus = 0] = cluster.split("x").map(Number);
  return Array.from({ length: count }, () => cpus);
}

/** Undefined when a task of the graph is too large for every governor. */
export function measure(one: Case): Makespans | undefined {
  const graph = makeGraph(one.graph, one.seed, one.scale);
  const cpus = cpusOf(one.cluster);
  if (graph.tasks.some((task) => task.cpus > Math.max(...cpus))) return undefined;
  const run = (scheduler: Scheduler): number =>
    new Cluster(graph, cpus, one.bandwidth * MIB, scheduler).run();
  const work = graph.tasks.reduce((sum, task) => sum + task.durationS * task.cpus, 0);
  const all = cpus.reduce((sum, each) => sum + each, 0);
  const bound = Math.max(work / all, ...bLevels(graph, (task) => task.durationS));
  const rain = run(new RainScheduler());
  const list = run(new ListScheduler());
  const greedy = run(new GreedyScheduler());
  const random = run(new RandomScheduler(new Chance(one.seed)));
  return { ...one, bound, rain, list, greedy, random, best: Math.min(list, greedy, random) };
}

export const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
