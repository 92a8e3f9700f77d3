import { Heap } from "../../packages/server/src/core/heap.ts";
import type { Graph, GraphObject, GraphTask } from "./graph.ts";
import { Network } from "./network.ts";

/** Objects that a governor reads at once, as the production governor does. */
const READS = 8;

/** Who decides where tasks run; told of what happens, in virtual time. */
export interface Scheduler {
  begin(cluster: Cluster): void;
  /** It started on its governor. */
  started?(task: GraphTask, governor: number): void;
  /** It ended, and its outputs are there. */
  finished(task: GraphTask, governor: number): void;
  /** An input came there. */
  copied?(object: GraphObject, governor: number): void;
}

interface Attempt {
  readonly task: GraphTask;
  /** The smaller, the earlier it may start and its inputs are read. */
  readonly order: number;
  readonly missing: Set<GraphObject>;
  isRunning: boolean;
}
interface Governor {
  readonly id: number;
  free: number;
  readonly attempts: Map<GraphTask, Attempt>;
  readonly has: Set<GraphObject>;
  readonly reads: Set<GraphObject>;
  sends: number;
}
interface Timer {
  readonly at: number;
  readonly order: number;
  readonly act: () => void;
}

/**
 * Governors with cpus and a network between them, without faults. A governor reads the inputs of what it was assigned
 * while other tasks run, and starts what has all inputs and room, in order; one without room holds up nobody.
 */
export class Cluster {
  readonly graph: Graph;
  readonly cpus: readonly number[];
  readonly bandwidth: number;
  now = 0;
  readonly #scheduler: Scheduler;
  readonly #governors: Governor[];
  readonly #network: Network;
  readonly #timers: Heap<Timer> = new Heap<Timer>((a, b) =>
    a.at !== b.at ? a.at < b.at : a.order < b.order,
  );
  readonly #holders: Map<GraphObject, Governor[]> = new Map();
  readonly #toLook: Set<Governor> = new Set();
  #timerCount = 0;
  #left: number;

  constructor(graph: Graph, cpus: readonly number[], bandwidth: number, scheduler: Scheduler) {
    this.graph = graph;
    this.cpus = cpus;
    this.bandwidth = bandwidth;
    this.#scheduler = scheduler;
    this.#network = new Network(cpus.length, bandwidth);
    this.#left = graph.tasks.length;
    this.#governors = cpus.map((free, id) => {
      return { id, free, attempts: new Map(), has: new Set(), reads: new Set(), sends: 0 };
    });
  }

  /** Runs the graph; answers how many seconds of virtual time that took. */
  run(): number {
    this.#scheduler.begin(this);
    this.#look();
    while (this.#left > 0) {
      const { top } = this.#timers;
      const ended = this.now + this.#network.next;
      const next = Math.min(top?.at ?? Infinity, ended);
      if (next === Infinity) throw new Error(`${this.#left} tasks of ${this.graph.name} never run`);
      const passed = next - this.now;
      this.now = next;
      this.#network.pass(passed);
      for (let timer = this.#timers.top; timer && timer.at <= this.now; timer = this.#timers.top) {
        this.#timers.removeTop();
        timer.act();
      }
      this.#look();
    }
    return this.now;
  }

  after(seconds: number, act: () => void): void {
    this.#timers.push({ at: this.now + seconds, order: this.#timerCount++, act });
  }

  /** `here`: inputs that come with the assignment. */
  assign(task: GraphTask, to: number, order: number, here: readonly GraphObject[] = []): void {
    const governor = this.#at(to);
    for (const object of here) governor.has.add(object);
    const missing = new Set(task.inputs.filter((input) => !governor.has.has(input)));
    for (const input of missing) if (input.size === 0 && this.#holders.has(input)) missing.delete(input);
    governor.attempts.set(task, { task, order, missing, isRunning: false });
    this.#toLook.add(governor);
  }
  /** Takes an assignment back; false when it runs already, or has run. */
  retract(task: GraphTask, from: number): boolean {
    const governor = this.#at(from);
    const attempt = governor.attempts.get(task);
    if (!attempt || attempt.isRunning) return false;
    governor.attempts.delete(task);
    return true;
  }
  has(governor: number, object: GraphObject): boolean {
    return this.#at(governor).has.has(object);
  }

  #at(id: number): Governor {
    const governor = this.#governors[id];
    if (!governor) throw new Error(`there is no governor ${id}`);
    return governor;
  }

  #look(): void {
    while (this.#toLook.size > 0) {
      const [governor] = this.#toLook;
      if (!governor) return;
      this.#toLook.delete(governor);
      const waiting = [...governor.attempts.values()]
        .filter(({ isRunning }) => !isRunning)
        .toSorted((a, b) => a.order - b.order);
      for (const attempt of waiting) this.#read(governor, attempt);
      for (const attempt of waiting) this.#start(governor, attempt);
    }
  }

  #read(governor: Governor, { missing }: Attempt): void {
    for (const object of missing) {
      if (governor.reads.size >= READS) return;
      if (governor.reads.has(object)) continue;
      let source: Governor | undefined;
      for (const holder of this.#holders.get(object) ?? [])
        if (!source || holder.sends < source.sends) source = holder;
      if (!source) continue;
      const from = source;
      from.sends++;
      governor.reads.add(object);
      this.#network.start(from.id, governor.id, object.size, () => {
        from.sends--;
        governor.reads.delete(object);
        this.#arrive(governor, object);
        this.#scheduler.copied?.(object, governor.id);
      });
    }
  }

  #arrive(governor: Governor, object: GraphObject): void {
    governor.has.add(object);
    const holders = this.#holders.get(object);
    if (holders) holders.push(governor);
    else this.#holders.set(object, [governor]);
    for (const { missing } of governor.attempts.values()) missing.delete(object);
    this.#toLook.add(governor);
  }

  #start(governor: Governor, attempt: Attempt): void {
    const { task, missing } = attempt;
    if (missing.size > 0 || governor.free < task.cpus) return;
    governor.free -= task.cpus;
    attempt.isRunning = true;
    this.#scheduler.started?.(task, governor.id);
    this.after(task.durationS, () => {
      governor.free += task.cpus;
      governor.attempts.delete(task);
      this.#left--;
      for (const output of task.outputs) this.#make(governor, output);
      this.#toLook.add(governor);
      this.#scheduler.finished(task, governor.id);
    });
  }

  /** Others that were assigned its consumers can read it from now on. */
  #make(governor: Governor, object: GraphObject): void {
    this.#arrive(governor, object);
    for (const other of this.#governors) {
      for (const consumer of object.consumers) {
        const attempt = other.attempts.get(consumer);
        if (!attempt) continue;
        if (object.size === 0) attempt.missing.delete(object);
        this.#toLook.add(other);
      }
    }
  }
}
