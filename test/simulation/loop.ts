/** An event that waits; `cancelled` ones are skipped. */
export interface Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

/** Virtual time: events in order of time, then in the order in which they were made. */
export class Loop {
  now = 0;
  events = 0;
  #order = 0;
  readonly #heap: Timer[] = [];

  at(time: number, run: () => void): Timer {
    const timer = { at: Math.max(time, this.now), order: this.#order++, run, cancelled: false };
    this.#push(timer);
    return timer;
  }
  after(ms: number, run: () => void): Timer {
    return this.at(this.now + ms, run);
  }

  /** Runs the next event, unless it lies after `until`: then the time is `until`. Answers whether there was one. */
  step(until: number): boolean {
    for (let next = this.#heap[0]; next && next.at <= until; next = this.#heap[0]) {
      this.#pop();
      if (next.cancelled) continue;
      this.now = next.at;
      this.events++;
      next.run();
      return true;
    }
    this.now = until;
    return false;
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(timer);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const above = heap[up];
      if (!above || !isBefore(timer, above)) break;
      heap[at] = above;
      at = up;
    }
    heap[at] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (!last || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      const left = heap[down];
      if (!left) break;
      const right = heap[down + 1];
      let least = left;
      if (right && isBefore(right, left)) {
        least = right;
        down++;
      }
      if (!isBefore(least, last)) break;
      heap[at] = least;
      at = down;
    }
    heap[at] = last;
  }
}

const isBefore = (a: Timer, b: Timer): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
