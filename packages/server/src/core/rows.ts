import { taskStates, type TaskCounts, type TaskState } from "@rain/protocol";
import type { Task } from "./state.ts";

/** Stale entries are swept when they are more than the tasks and these. */
const SLACK = 1_000;

/**
 * The table of a session's tasks: how many are in each state, and in which order they changed last. Every change of
 * what a row shows gives the task the next revision; reading from a revision on costs what has changed since.
 */
export class Rows {
  readonly counts: Record<TaskState, number>;
  /** The last revision given. */
  revision = 0;
  /** Entries by rising revision. One is stale when its task has a newer revision. */
  #revisions: number[] = [];
  #tasks: Task[] = [];
  #size = 0;

  constructor() {
    const none = taskStates.map((state): [TaskState, number] => [state, 0]);
    this.counts = Object.fromEntries(none) as Record<TaskState, number>;
  }

  /** The row of this task changed. A task that was replaced has a row, and counts no more. */
  show(task: Task, state: TaskState): void {
    const counted = task.replacedBy === undefined ? state : undefined;
    if (task.counted !== counted) {
      if (task.counted !== undefined) this.counts[task.counted]--;
      if (counted !== undefined) this.counts[counted]++;
      task.counted = counted;
    }
    if (task.revision === 0) this.#size++;
    task.revision = ++this.revision;
    this.#revisions.push(task.revision);
    this.#tasks.push(task);
    if (this.#tasks.length > 2 * this.#size + SLACK) this.#sweep();
  }

  #sweep(): void {
    const isFresh = (task: Task, at: number): boolean => task.revision === this.#revisions[at];
    const tasks = this.#tasks.filter(isFresh);
    this.#revisions = tasks.map(({ revision }) => revision);
    this.#tasks = tasks;
  }

  copyCounts(): TaskCounts {
    return { ...this.counts };
  }

  /** Tasks with a revision above `since`, by rising revision. */
  *after(since: number): Generator<Task, void> {
    let low = 0;
    for (let high = this.#revisions.length; low < high;) {
      const middle = (low + high) >> 1;
      if ((this.#revisions[middle] ?? 0) <= since) low = middle + 1;
      else high = middle;
    }
    for (let at = low; at < this.#tasks.length; at++) {
      const task = this.#tasks[at];
      if (task !== undefined && task.revision === this.#revisions[at]) yield task;
    }
  }
}
