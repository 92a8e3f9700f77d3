import { setTimeout as delay } from "node:timers/promises";
import { signalProcess, type ProcessTable, type TaskProcess } from "./processes.ts";

/** A process that survives KILL for this long hangs in the kernel; its task is not held back any further. */
const GIVE_UP_MS = 10_000;

interface Ending {
  readonly attempt: string;
  readonly launcher: number;
  readonly since: number;
  readonly done: (clean: boolean) => void;
  readonly failed: (error: unknown) => void;
}

/**
 * Ends process families. A sweep is one pass over the machine's processes that kills what belongs to no living
 * attempt; there is one at a time, and all attempts that ended meanwhile are served by the next.
 */
export class Sweeper {
  readonly #table: ProcessTable;
  readonly #living = new Set<string>();
  #endings: Ending[] = [];
  #sweeping = false;

  constructor(table: ProcessTable) {
    this.#table = table;
  }

  /** From now on the processes of this attempt are wanted. */
  begin(attempt: string): void {
    this.#living.add(attempt);
  }

  /**
   * Kills what is left of the attempt, in its launcher's session and by its cookie, and waits until all of it is dead.
   * False: something cannot be killed, and may still run.
   */
  end(attempt: string, launcher: number): Promise<boolean> {
    this.#living.delete(attempt);
    return new Promise((done, failed) => {
      this.#endings.push({ attempt, launcher, since: performance.now(), done, failed });
      if (!this.#sweeping) void this.#sweep();
    });
  }

  /**
   * Did the last sweep see no process that may have got away from a task that began then (clock ticks since boot)? It
   * would be in a session that began later, and not known to belong to a task.
   */
  sawNobodySince(ticks: number): boolean {
    return this.#table.newestForeign < ticks;
  }

  /** Kills all processes that carry a cookie of this governor and belong to no living attempt. Answers their number. */
  async sweepLeftovers(): Promise<number> {
    const killed = new Set<number>();
    const since = performance.now();
    for (;;) {
      const stale = (await this.#table.scan()).filter((found) => this.#isStale(found, new Set()));
      if (stale.length === 0 || performance.now() - since > GIVE_UP_MS) return killed.size;
      for (const found of stale) {
        killed.add(found.pid);
        signalProcess(found, "SIGKILL");
      }
      await delay(5);
    }
  }

  #isStale(found: TaskProcess, ending: ReadonlySet<number>): boolean {
    if (found.attempt !== undefined && !this.#living.has(found.attempt)) return true;
    return found.launcher !== undefined && ending.has(found.launcher);
  }

  /** Never rejects: an error goes to the endings that it concerns. */
  async #sweep(): Promise<void> {
    this.#sweeping = true;
    let pause = 1;
    while (this.#endings.length > 0) {
      const batch = this.#endings;
      this.#endings = [];
      try {
        const left = await this.#pass(batch);
        this.#endings.push(...left);
        pause = left.length === 0 ? 1 : Math.min(50, pause * 2);
        if (left.length > 0) await delay(pause);
      } catch (error) {
        for (const ending of batch) ending.failed(error);
      }
    }
    this.#sweeping = false;
  }

  /** Answers the endings of which something was found alive. */
  async #pass(batch: readonly Ending[]): Promise<Ending[]> {
    const launchers = new Set(batch.map((ending) => ending.launcher));
    const hitLaunchers = new Set<number>();
    const hitAttempts = new Set<string>();
    for (const found of await this.#table.scan(launchers)) {
      if (!this.#isStale(found, launchers)) continue;
      if (found.launcher !== undefined) hitLaunchers.add(found.launcher);
      if (found.attempt !== undefined) hitAttempts.add(found.attempt);
      signalProcess(found, "SIGKILL");
    }
    const left: Ending[] = [];
    for (const ending of batch) {
      if (!hitLaunchers.has(ending.launcher) && !hitAttempts.has(ending.attempt)) ending.done(true);
      else if (performance.now() - ending.since > GIVE_UP_MS) ending.done(false);
      else left.push(ending);
    }
    return left;
  }
}
