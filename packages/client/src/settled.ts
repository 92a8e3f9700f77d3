import type { ReplyOf, SettledItem, TaskId } from "@rain/protocol";
import { delay } from "./delay.ts";
import { withLimits, type WaitOptions } from "./wait-limit.ts";

/** Someone who waits for tasks. */
interface Waiter {
  readonly tasks: readonly TaskId[];
  /** Told of each task of the list that settles; true ends the wait. */
  readonly settle: (item: SettledItem) => boolean;
  readonly fail: (error: unknown) => void;
}

export interface SettledSource {
  /** Asks the server for the log from an entry on; answered when there is one, or the session has failed. */
  readonly poll: (from: number) => Promise<ReplyOf<"next">>;
  /** Told of each new entry, before those who wait. */
  readonly onItem: (item: SettledItem) => void;
  /** The error of a reply that says that the session has failed. */
  readonly failureOf: (reply: ReplyOf<"next">) => Error | undefined;
}

/**
 * The settled log of a session, as far as it is known here, and all who wait for more of it. There is one long poll
 * for all of them, and only while somebody waits. Each entry costs a look-up of those who wait for its task.
 */
export class SettledLog {
  readonly items: SettledItem[] = [];
  readonly #source: SettledSource;
  readonly #byTask = new Map<TaskId, SettledItem>();
  readonly #waiters = new Map<TaskId, Set<Waiter>>();
  readonly #readers = new Set<() => void>();
  #waiting = 0;
  #next = 0;
  #polling = false;
  #error: unknown;

  constructor(source: SettledSource) {
    this.#source = source;
  }

  get(task: TaskId): SettledItem | undefined {
    return this.#byTask.get(task);
  }
  /** Why nothing more will come. */
  get error(): unknown {
    return this.#error;
  }

  /** Until all of these have settled; at the first of them for which `problem` returns an error, that is thrown. */
  async all(
    what: string,
    tasks: readonly TaskId[],
    problem: (item: SettledItem) => Error | undefined,
    options: WaitOptions,
  ): Promise<void> {
    const open: TaskId[] = [];
    for (const task of new Set(tasks)) {
      const item = this.#byTask.get(task);
      const error = item && problem(item);
      if (error) throw error;
      if (!item) open.push(task);
    }
    if (open.length === 0) return;
    let left = open.length;
    await this.#wait(what, open, options, (item, reject) => {
      const error = problem(item);
      if (error) reject(error);
      return error !== undefined || --left === 0;
    });
  }

  /** Until at least one of these has settled. */
  async some(what: string, tasks: readonly TaskId[], options: WaitOptions): Promise<void> {
    if (tasks.length === 0 || tasks.some((task) => this.#byTask.has(task))) return;
    await this.#wait(what, [...new Set(tasks)], options, () => true);
  }

  /** Until there are more than `count` items, or an error. */
  async longerThan(count: number): Promise<void> {
    if (this.items.length > count || this.#error !== undefined) return;
    await new Promise<void>((resolve) => {
      this.#readers.add(resolve);
      this.#startPolling();
    });
  }

  /** Nothing more will come: all who wait are told. */
  fail(error: unknown): void {
    this.#error ??= error;
    const waiters = new Set([...this.#waiters.values()].flatMap((set) => [...set]));
    for (const waiter of waiters) waiter.fail(this.#error);
    this.#wakeReaders();
  }

  async #wait(
    what: string,
    tasks: readonly TaskId[],
    options: WaitOptions,
    settle: (item: SettledItem, reject: (error: unknown) => void) => boolean,
  ): Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    await withLimits<void>(what, options, (resolve, reject) => {
      const waiter: Waiter = {
        tasks,
        settle: (item) => {
          const done = settle(item, reject);
          if (done) this.#remove(waiter);
          if (done) resolve();
          return done;
        },
        fail: (error) => {
          this.#remove(waiter);
          reject(error);
        },
      };
      this.#add(waiter);
      this.#startPolling();
      return () => this.#remove(waiter);
    });
  }

  #add(waiter: Waiter): void {
    this.#waiting++;
    for (const task of waiter.tasks) {
      const set = this.#waiters.get(task);
      if (set) set.add(waiter);
      else this.#waiters.set(task, new Set([waiter]));
    }
  }

  #remove(waiter: Waiter): void {
    this.#waiting--;
    for (const task of waiter.tasks) {
      const set = this.#waiters.get(task);
      set?.delete(waiter);
      if (set?.size === 0) this.#waiters.delete(task);
    }
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
      while (this.#error === undefined && (this.#waiting > 0 || this.#readers.size > 0)) {
        const reply = await this.#source.poll(this.#next);
        const failure = this.#source.failureOf(reply); // before the items, whose meaning it changes
        this.#next += reply.items.length;
        for (const item of reply.items) this.#apply(item);
        if (reply.items.length > 0) this.#wakeReaders();
        if (failure) this.fail(failure);
        else if (reply.items.length === 0) await delay(EMPTY_PAUSE_MS);
      }
    } catch (error) {
      this.fail(error);
    } finally {
      this.#polling = false;
    }
  }

  #apply(item: SettledItem): void {
    // A task that ran again to rebuild a lost object settles twice; for those who wait, only the first time counts.
    const first = !this.#byTask.has(item.task);
    this.#byTask.set(item.task, item);
    this.#source.onItem(item);
    if (first) this.items.push(item);
    for (const waiter of this.#waiters.get(item.task) ?? []) waiter.settle(item);
  }
}

/** A server should not answer with nothing; should it, it is not asked in a circle. */
const EMPTY_PAUSE_MS = 50;
