import type { Chance } from "./chance.ts";
import type { Cluster, Scheduler } from "./cluster.ts";
import { bLevels, type GraphTask } from "./graph.ts";

/** What Rain is held against. They know the expected duration and size of everything beforehand, which Rain does not. */

const inOrder = (cluster: Cluster): { order: number[]; tasks: GraphTask[] } => {
  const levels = bLevels(cluster.graph, (task) => task.expectedS);
  const tasks = cluster.graph.tasks.toSorted(
    (a, b) => (levels[b.id] ?? 0) - (levels[a.id] ?? 0) || a.id - b.id,
  );
  const order: number[] = [];
  for (const [at, { id }] of tasks.entries()) order[id] = at;
  return { order, tasks };
};

/**
 * List scheduling by b-level: tasks in the order of their longest path to the end; each is given, before anything
 * runs, to the governor where it is expected to start first, transfers counted.
 */
export class ListScheduler implements Scheduler {
  begin(cluster: Cluster): void {
    const { tasks } = inOrder(cluster);
    const lanes = cluster.cpus.map((count) => Array.from({ length: count }, () => 0));
    const end: number[] = [];
    const place: number[] = [];
    for (const [order, task] of tasks.entries()) {
      let best = -1;
      let start = Infinity;
      for (const [governor, free] of lanes.entries()) {
        if (free.length < task.cpus) continue;
        let ready = free[task.cpus - 1] ?? Infinity;
        for (const { producer, expectedSize } of task.inputs) {
          const transfer = place[producer.id] === governor ? 0 : expectedSize / cluster.bandwidth;
          ready = Math.max(ready, (end[producer.id] ?? 0) + transfer);
        }
        if (ready >= start) continue;
        start = ready;
        best = governor;
      }
      const free = lanes[best];
      if (!free) throw new Error(`no governor has ${task.cpus} cpus for ${task.kind}`);
      end[task.id] = start + task.expectedS;
      place[task.id] = best;
      free.fill(start + task.expectedS, 0, task.cpus);
      free.sort((a, b) => a - b);
      cluster.assign(task, best, order);
    }
  }
  finished(): void {}
}

/** Any governor that is large enough, before anything runs. */
export class RandomScheduler implements Scheduler {
  readonly #chance: Chance;
  constructor(chance: Chance) {
    this.#chance = chance;
  }
  begin(cluster: Cluster): void {
    for (const task of cluster.graph.tasks) {
      const able = [...cluster.cpus.keys()].filter((each) => (cluster.cpus[each] ?? 0) >= task.cpus);
      cluster.assign(task, this.#chance.pick(able), task.id);
    }
  }
  finished(): void {}
}

/** Ready tasks by b-level, each to the governor with room that has the fewest bytes to read. */
export class GreedyScheduler implements Scheduler {
  #cluster: Cluster | undefined;
  #order: number[] = [];
  #free: number[] = [];
  #missing: number[] = [];
  #ready: GraphTask[] = [];

  begin(cluster: Cluster): void {
    this.#cluster = cluster;
    this.#order = inOrder(cluster).order;
    this.#free = [...cluster.cpus];
    for (const task of cluster.graph.tasks) {
      this.#missing[task.id] = new Set(task.inputs).size;
      if (task.inputs.length === 0) this.#ready.push(task);
    }
    this.#place();
  }
  finished(task: GraphTask, governor: number): void {
    this.#free[governor] = (this.#free[governor] ?? 0) + task.cpus;
    for (const { consumers } of task.outputs) {
      for (const consumer of consumers) {
        const left = (this.#missing[consumer.id] ?? 0) - 1;
        this.#missing[consumer.id] = left;
        if (left === 0) this.#ready.push(consumer);
      }
    }
    this.#place();
  }

  #place(): void {
    const cluster = this.#cluster;
    if (!cluster) return;
    this.#ready.sort((a, b) => (this.#order[a.id] ?? 0) - (this.#order[b.id] ?? 0));
    this.#ready = this.#ready.filter((task) => {
      let best = -1;
      let fewest = Infinity;
      for (const [governor, free] of this.#free.entries()) {
        if (free < task.cpus) continue;
        let bytes = 0;
        for (const input of task.inputs) if (!cluster.has(governor, input)) bytes += input.size;
        const isRoomier = bytes === fewest && free > (this.#free[best] ?? 0);
        if (bytes > fewest || (bytes === fewest && !isRoomier)) continue;
        fewest = bytes;
        best = governor;
      }
      if (best === -1) return true;
      this.#free[best] = (this.#free[best] ?? 0) - task.cpus;
      cluster.assign(task, best, this.#order[task.id] ?? 0);
      return false;
    });
  }
}
