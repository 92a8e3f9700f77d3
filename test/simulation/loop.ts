import { Heap } from "../../packages/server/src/core/heap.ts";

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
  readonly #heap = new Heap<Timer>((a, b) => a.at < b.at || (a.at === b.at && a.order < b.order));

  at(time: number, run: () => void): Timer {
    const timer = { at: Math.max(time, this.now), order: this.#order++, run, cancelled: false };
    this.#heap.push(timer);
    return timer;
  }
  after(ms: number, run: () => void): Timer {
    return this.at(this.now + ms, run);
  }

  /** Runs the next event, unless it lies after `until`: then the time is `until`. Answers whether there was one. */
  step(until: number): boolean {
    for (let next = this.#heap.top; next && next.at <= until; next = this.#heap.top) {
      this.#heap.removeTop();
      if (next.cancelled) continue;
      this.now = next.at;
      this.events++;
      next.run();
      return true;
    }
    this.now = until;
    return false;
  }
}
