import {
  asTaskId,
  countSettled,
  eachSettled,
  type ReplyOf,
  type SettledItem,
  type SettledState,
  type TaskFailure,
  type TaskId,
} from "@rain/protocol";
import { delay } from "./delay.ts";
import { IdSet } from "./id-set.ts";
import { TaskStates } from "./task-states.ts";
import { withLimits, type WaitOptions } from "./wait-limit.ts";

/** Someone who waits for tasks. */
interface Waiter {
  readonly tasks: IdSet;
  /** Until one of them has settled; else, until all have. */
  readonly forOne: boolean;
  /** Those that are left to settle; counted for few tasks only. */
  left: number;
  /** Of many: the one by which it is found. */
  watched?: TaskId;
  /** Told of a task that did not finish: an error ends the wait. */
  readonly problem: (item: SettledItem) => Error | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export interface SettledSource {
  /** Asks the server for the log from an entry on; answered when there is one, or the session has failed. */
  readonly poll: (from: number) => Promise<ReplyOf<"next">>;
  /** Told of each new entry, before those who wait. */
  readonly onSettled: (task: TaskId, state: SettledState, failure: TaskFailure | undefined) => void;
  /** The error of a reply that says that the session has failed. */
  readonly failureOf: (reply: ReplyOf<"next">) => Error | undefined;
}

/** Up to here a waiter is found by each of its tasks. */
const FEW = 16;

/**
 * The settled log of a session, as far as it is known here, and all who wait for more of it. There is one long poll for
 * all of them, and only while somebody waits.
 *
 * Who waits for many tasks is found by one of them only, the first that has not settled; when it has, by the next one.
 * So a wait for a million tasks costs a step for each of them, and no memory. All are looked at only when a task did
 * not finish.
 */
export class SettledLog {
  readonly states: TaskStates = new TaskStates();
  readonly #source: SettledSource;
  readonly #failures = new Map<TaskId, TaskFailure>();
  readonly #causes = new Map<TaskId, TaskId>();
  readonly #waiters = new Set<Waiter>();
  readonly #byTask = new Map<TaskId, Waiter | Set<Waiter>>();
  /** Those of `#waiters` with more than a few tasks. */
  readonly #many = new Set<Waiter>();
  /** Those of `#many` that wait for one of their tasks. */
  #forOne = 0;
  readonly #readers = new Set<() => void>();
  #next = 0;
  #polling = false;
  #error: unknown;

  constructor(source: SettledSource) {
    this.#source = source;
  }

  get(task: TaskId): SettledItem | undefined {
    const state = this.states.get(task);
    return state && { task, state, failure: this.#failures.get(task), cause: this.#causes.get(task) };
  }
  /** Why nothing more will come. */
  get error(): unknown {
    return this.#error;
  }

  /** One of these that has failed. */
  failed(tasks: IdSet): SettledItem | undefined {
    const candidates = tasks.size > this.#failures.size ? this.#failures.keys() : tasks;
    for (const id of candidates) {
      const task = asTaskId(id);
      if (this.states.get(task) === "failed" && tasks.has(task)) return this.get(task);
    }
    return undefined;
  }

  /** Have all of these settled? */
  has(tasks: IdSet): boolean {
    for (const task of tasks) if (this.states.get(asTaskId(task)) === undefined) return false;
    return true;
  }

  /** Until all of these have settled; at the first of them for which `problem` returns an error, that is thrown. */
  async all(
    what: string,
    tasks: IdSet,
    problem: (item: SettledItem) => Error | undefined,
    options: WaitOptions,
  ): Promise<void> {
    for (const id of tasks) {
      const state = this.states.get(asTaskId(id));
      if (state === undefined || state === "finished") continue;
      const item = this.get(asTaskId(id));
      const error = item && problem(item);
      if (error) throw error;
    }
    await this.rest(what, tasks, problem, options);
  }

  /** The same, of which only what is still to come is told to `problem`. */
  async rest(
    what: string,
    tasks: IdSet,
    problem: (item: SettledItem) => Error | undefined,
    options: WaitOptions,
  ): Promise<void> {
    const left = this.#open(tasks);
    if (left > 0) await this.#wait(what, { tasks, forOne: false, left, problem }, options);
  }

  /** Until all tasks of at least one of these sets have settled. */
  async someOf(what: string, sets: readonly IdSet[], options: WaitOptions): Promise<void> {
    if (sets.length === 0 || sets.some((tasks) => this.has(tasks))) return;
    if (this.#error !== undefined) throw this.#error;
    const single = new IdSet();
    single.addAll(sets.filter(({ size }) => size === 1).map((tasks) => tasks.start(0)));
    const none = (): undefined => undefined;
    const waits = sets
      .filter(({ size }) => size > 1)
      .map((tasks) => ({ tasks, forOne: false, left: this.#open(tasks), problem: none }));
    if (single.size > 0) waits.push({ tasks: single, forOne: true, left: 1, problem: none });
    await withLimits<void>(what, options, (resolve, reject) => {
      const stop = (): void => {
        for (const waiter of waiters) this.#end(waiter, none);
      };
      const done = (tell: () => void) => (): void => {
        stop();
        tell();
      };
      const waiters = waits.map((of): Waiter => ({
        ...of,
        resolve: done(resolve),
        reject: (error) => done(() => reject(error))(),
      }));
      for (const waiter of waiters) this.#add(waiter);
      this.#startPolling();
      return stop;
    });
  }

  #open(tasks: IdSet): number {
    let open = 0;
    for (const task of tasks) if (this.states.get(asTaskId(task)) === undefined) open++;
    return open;
  }

  /** Until more than `count` tasks have settled, or there is an error. */
  async longerThan(count: number): Promise<void> {
    if (this.states.settled > count || this.#error !== undefined) return;
    await new Promise<void>((resolve) => {
      this.#readers.add(resolve);
      this.#startPolling();
    });
  }

  /** Nothing more will come: all who wait are told. */
  fail(error: unknown): void {
    this.#error ??= error;
    for (const waiter of [...this.#waiters]) this.#end(waiter, () => waiter.reject(this.#error));
    this.#wakeReaders();
  }

  async #wait(what: string, of: Omit<Waiter, "resolve" | "reject">, options: WaitOptions): Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    await withLimits<void>(what, options, (resolve, reject) => {
      const waiter: Waiter = { ...of, resolve, reject };
      this.#add(waiter);
      this.#startPolling();
      return () => this.#end(waiter, () => undefined);
    });
  }

  #add(waiter: Waiter): void {
    this.#waiters.add(waiter);
    if (waiter.tasks.size <= FEW) {
      for (const task of waiter.tasks)
        if (this.states.get(asTaskId(task)) === undefined) this.#watch(asTaskId(task), waiter);
      return;
    }
    this.#many.add(waiter);
    if (waiter.forOne) this.#forOne++;
    else this.#watchNext(waiter, 0);
  }

  #watch(task: TaskId, waiter: Waiter): void {
    const there = this.#byTask.get(task);
    if (there === undefined) this.#byTask.set(task, waiter);
    else if (there instanceof Set) there.add(waiter);
    else this.#byTask.set(task, new Set([there, waiter]));
  }
  #unwatch(task: TaskId, waiter: Waiter): void {
    const there = this.#byTask.get(task);
    if (there instanceof Set) there.delete(waiter);
    if (there === waiter || (there instanceof Set && there.size === 0)) this.#byTask.delete(task);
  }

  /** Finds a waiter for many by its first task from `from` on that has not settled; false when there is none. */
  #watchNext(waiter: Waiter, from: number): boolean {
    const { tasks } = waiter;
    for (let range = tasks.rangeFrom(from); range < tasks.ranges; range++)
      for (let id = Math.max(from, tasks.start(range)); id < tasks.end(range); id++) {
        if (this.states.get(asTaskId(id)) !== undefined) continue;
        waiter.watched = asTaskId(id);
        this.#watch(waiter.watched, waiter);
        return true;
      }
    return false;
  }

  /** The wait is over. */
  #end(waiter: Waiter, tell: () => void): void {
    if (!this.#waiters.delete(waiter)) return;
    if (!this.#many.delete(waiter)) for (const task of waiter.tasks) this.#unwatch(asTaskId(task), waiter);
    else if (waiter.forOne) this.#forOne--;
    else if (waiter.watched !== undefined) this.#unwatch(waiter.watched, waiter);
    tell();
  }

  #wakeReaders(): void {
    const readers = [...this.#readers];
    this.#readers.clear();
    for (const wake of readers) wake();
  }

  #startPolling(): void {
    if (this.#polling || this.#error !== undefined) return;
    this.#polling = true;
    void this.#poll();
  }

  async #poll(): Promise<void> {
    try {
      while (this.#error === undefined && (this.#waiters.size > 0 || this.#readers.size > 0)) {
        const reply = await this.#source.poll(this.#next);
        const failure = this.#source.failureOf(reply); // before the items, whose meaning it changes
        const count = this.#take(reply);
        this.#next += count;
        if (count > 0) this.#wakeReaders();
        if (failure) this.fail(failure);
        else if (count === 0) await delay(EMPTY_PAUSE_MS);
        else await this.#rest();
      }
    } catch (error) {
      this.fail(error);
    } finally {
      this.#polling = false;
    }
  }

  /** A question has its price for both sides, whatever comes of it. */
  async #rest(): Promise<void> {
    const { open } = this.states;
    if (open >= CROWD) await delay(Math.min(LONGEST_PAUSE_MS, open / CROWD_A_MS));
  }

  /** Applies the entries of a reply; their number. */
  #take({ items, columns }: ReplyOf<"next">): number {
    for (const { task, state, failure, cause } of items) this.#apply(task, state, failure, cause);
    if (!columns) return items.length;
    eachSettled(columns, (task, state, failure, cause) => this.#apply(task, state, failure, cause));
    return items.length + countSettled(columns);
  }

  #apply(
    task: TaskId,
    state: SettledState,
    failure: TaskFailure | undefined,
    cause: TaskId | undefined,
  ): void {
    const isFirst = this.states.settle(task, state);
    if (failure) this.#failures.set(task, failure);
    if (cause !== undefined) this.#causes.set(task, cause);
    this.#source.onSettled(task, state, failure);
    // A task that ran again to rebuild a lost object settles twice; for those who wait, only the first time counts.
    if (!isFirst || this.#waiters.size === 0) return;
    if (state !== "finished" || this.#forOne > 0) this.#tellMany(task, state);
    const found = this.#byTask.get(task);
    if (found === undefined) return;
    this.#byTask.delete(task);
    if (!(found instanceof Set)) this.#tell(found, task, state);
    else for (const waiter of [...found]) this.#tell(waiter, task, state);
  }

  /** To one that is found by this task. */
  #tell(waiter: Waiter, task: TaskId, state: SettledState): void {
    if (!this.#waiters.has(waiter)) return;
    const isMany = this.#many.has(waiter);
    if (!isMany && this.#hasProblem(waiter, task, state)) return;
    const isDone = isMany ? !this.#watchNext(waiter, task + 1) : --waiter.left === 0 || waiter.forOne;
    if (isDone) this.#end(waiter, waiter.resolve);
  }

  /** To those who wait for many, of whatever they are found by. */
  #tellMany(task: TaskId, state: SettledState): void {
    for (const waiter of [...this.#many]) {
      if (!waiter.tasks.has(task)) continue;
      if (waiter.forOne) this.#end(waiter, waiter.resolve);
      else this.#hasProblem(waiter, task, state);
    }
  }

  /** Does the end of this task end the wait with an error? */
  #hasProblem(waiter: Waiter, task: TaskId, state: SettledState): boolean {
    const item = state === "finished" ? undefined : this.get(task);
    const error = item && waiter.problem(item);
    if (error) this.#end(waiter, () => waiter.reject(error));
    return error !== undefined;
  }
}

/** With at least so many open tasks, news of many of them are better asked for together. */
const CROWD = 1_000;
/** Open tasks for each millisecond that is waited, so that it is no time beside what they take. */
const CROWD_A_MS = 400;
const LONGEST_PAUSE_MS = 25;
/** A server should not answer with nothing; should it, it is not asked in a circle. */
const EMPTY_PAUSE_MS = 50;
