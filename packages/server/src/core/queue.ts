import { Heap } from "./heap.ts";
import { expectedMs, type LiveTask } from "./live.ts";

/** What the order of tasks goes by. */
type Ranked = Pick<LiveTask, "task" | "level" | "order">;

/** Within a class: larger user priority, then longer path to the end of the graph, then earlier submit. */
function isBeforeInClass(a: Ranked, b: Ranked): boolean {
  const priority = (a.task.spec.priority ?? 0) - (b.task.spec.priority ?? 0);
  if (priority !== 0) return priority > 0;
  if (a.level !== b.level) return a.level > b.level;
  return a.order < b.order;
}

/**
 * Is `a` to run before `b`, of any class? Larger user priority; then, in a session, the longer path to the end of the
 * graph, its own run included; then the earlier submit.
 */
export function isBefore(a: LiveTask, b: LiveTask): boolean {
  const priority = (a.task.spec.priority ?? 0) - (b.task.spec.priority ?? 0);
  if (priority !== 0) return priority > 0;
  if (a.session === b.session) {
    const path = a.level + expectedMs(a.class) - (b.level + expectedMs(b.class));
    if (path !== 0) return path > 0;
  }
  return a.order < b.order;
}

/** A place in the queue, by the level of its time; stale when the task's `entry` has moved on. */
interface Place extends Ranked {
  readonly live: LiveTask;
  readonly entry: number;
}

/**
 * Ready tasks of one resource class. A task that is no longer ready stays inside until it comes to the top, so that
 * leaving the queue costs nothing.
 */
export class ReadyQueue {
  readonly #heap = new Heap<Place>(isBeforeInClass);
  #size = 0;

  /** Tasks that are ready. */
  get size(): number {
    return this.#size;
  }

  push(live: LiveTask): void {
    live.entry++;
    this.#size++;
    const { task, level, order, entry } = live;
    this.#heap.push({ live, entry, task, level, order });
  }

  /** The task leaves the queue for a state other than ready. */
  leave(live: LiveTask): void {
    live.entry++;
    this.#size--;
  }

  peek(): LiveTask | undefined {
    for (let top = this.#heap.top; top; top = this.#heap.top) {
      if (top.entry === top.live.entry) return top.live;
      this.#heap.removeTop();
    }
    return undefined;
  }
}
