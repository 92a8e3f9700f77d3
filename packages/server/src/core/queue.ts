import type { LiveTask } from "./live.ts";

/** Is `a` to run before `b`? Larger user priority, then longer path to the end of the graph, then earlier submit. */
export function isBefore(a: LiveTask, b: LiveTask): boolean {
  const priority = (a.task.spec.priority ?? 0) - (b.task.spec.priority ?? 0);
  if (priority !== 0) return priority > 0;
  if (a.level !== b.level) return a.level > b.level;
  return a.order < b.order;
}

/**
 * Ready tasks of one resource class: a binary heap. A task that is no longer ready stays inside until it comes to the
 * top, so that leaving the queue costs nothing; `entry` tells a stale place from the current one.
 */
export class ReadyQueue {
  readonly #heap: { readonly live: LiveTask; readonly entry: number }[] = [];
  #size = 0;

  /** Tasks that are ready. */
  get size(): number {
    return this.#size;
  }

  push(live: LiveTask): void {
    live.entry++;
    this.#size++;
    const item = { live, entry: live.entry };
    const heap = this.#heap;
    let at = heap.length;
    heap.push(item);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const above = heap[up];
      if (!above || !isBefore(live, above.live)) break;
      heap[at] = above;
      at = up;
    }
    heap[at] = item;
  }

  /** The task leaves the queue for a state other than ready. */
  leave(live: LiveTask): void {
    live.entry++;
    this.#size--;
  }

  peek(): LiveTask | undefined {
    for (let top = this.#heap[0]; top; top = this.#heap[0]) {
      if (top.entry === top.live.entry) return top.live;
      this.#removeTop();
    }
    return undefined;
  }

  #removeTop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (!last || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      let below = heap[down];
      if (!below) break;
      const right = heap[down + 1];
      if (right && isBefore(right.live, below.live)) {
        down++;
        below = right;
      }
      if (!isBefore(below.live, last.live)) break;
      heap[at] = below;
      at = down;
    }
    heap[at] = last;
  }
}
