import type { TaskSpec } from "@rain/protocol";
import { Heap } from "./heap.ts";
import { expectedMs, type LiveSession, type LiveTask, type ResourceClass } from "./live.ts";
import type { ArrayState } from "./task-array.ts";

/** What the order of tasks goes by. */
interface Ranked {
  readonly task: { readonly spec: Pick<TaskSpec, "priority"> };
  readonly level: number;
  readonly order: number;
}

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

/** Level of a task whose outputs nobody reads. */
export const LAST_LEVEL = 0;

/**
 * The ready tasks of an array, as one entry of the queue: the place of the first of them. It gives them one after
 * another, and each is expanded when it comes to the top.
 */
export class ReadyArray {
  readonly array: ArrayState;
  readonly class: ResourceClass;
  readonly session: LiveSession;
  readonly since: number;
  /** Age of its first task. */
  readonly order: number;
  readonly #liveOf: (index: number) => LiveTask | undefined;
  /** Tasks before this one are not ready as the array's. */
  #next = 0;
  #head: LiveTask | undefined;

  /** `liveOf` expands a task, if it is virtual, and answers its live side, if it is open. */
  constructor(
    fields: Pick<ReadyArray, "array" | "class" | "session" | "since" | "order">,
    liveOf: (index: number) => LiveTask | undefined,
  ) {
    this.array = fields.array;
    this.class = fields.class;
    this.session = fields.session;
    this.since = fields.since;
    this.order = fields.order;
    this.#liveOf = liveOf;
  }

  /** The first of them; undefined when there is none. */
  head(): LiveTask | undefined {
    if (this.#head?.inArray) return this.#head;
    this.#head = undefined;
    for (; this.#next < this.array.count; this.#next++) {
      const form = this.array.formAt(this.#next);
      if (form !== "virtual" && form !== "expanded") continue;
      const live = this.#liveOf(this.#next);
      if (!live?.inArray) continue;
      this.#head = live;
      return live;
    }
    return undefined;
  }
  /** Its session is closed: it gives no more. */
  end(): void {
    this.#head = undefined;
    this.#next = this.array.count;
    this.class.queue.leaveMany(this.array.virtual);
  }
  isHead(live: LiveTask | undefined): boolean {
    return live !== undefined && live === this.#head;
  }
}

/** A place in the queue, by the level of its time; stale when the task's `entry` has moved on. */
interface Place extends Ranked {
  readonly live: LiveTask;
  readonly entry: number;
  readonly array?: undefined;
}
/** The place of the first ready task of an array, or of one that was before it. */
interface ArrayPlace extends Ranked {
  readonly array: ReadyArray;
  order: number;
}

/**
 * Ready tasks of one resource class. A task that is no longer ready stays inside until it comes to the top, so that
 * leaving the queue costs nothing.
 */
export class ReadyQueue {
  readonly #heap = new Heap<Place | ArrayPlace>(isBeforeInClass);
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

  /** So many tasks of this array are ready. */
  pushArray(array: ReadyArray, count: number): void {
    this.#size += count;
    this.#heap.push({ array, task: { spec: array.array.spec.task }, level: LAST_LEVEL, order: array.order });
  }

  /** The task leaves the queue for a state other than ready. */
  leave(live: LiveTask): void {
    live.entry++;
    live.inArray = false;
    this.#size--;
  }
  /** So many virtual tasks of an array are ready no more. */
  leaveMany(count: number): void {
    this.#size -= count;
  }

  peek(): LiveTask | undefined {
    for (let top = this.#heap.top; top; top = this.#heap.top) {
      if (top.array) {
        const head = top.array.head();
        if (head?.order === top.order) return head;
        if (head) {
          top.order = head.order;
          this.#heap.topMoved();
        } else this.#heap.removeTop();
      } else {
        if (top.entry === top.live.entry) return top.live;
        this.#heap.removeTop();
      }
    }
    return undefined;
  }
}
