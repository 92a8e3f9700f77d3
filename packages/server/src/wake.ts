import type { Clock } from "./driver.ts";

/** Longest time that a Node timer takes; a longer wish is asked again. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * The driver's clock on Node: milliseconds since 1970 at the start of the process, then the monotonic clock, so that a
 * step of the wall clock changes nothing.
 */
export class NodeClock implements Clock {
  #wish: { readonly at: number; readonly wake: () => void } | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** When it ends. */
  #timerAt = 0;
  #immediate: NodeJS.Immediate | undefined;

  now(): number {
    return performance.timeOrigin + performance.now();
  }

  wakeAt(at: number, wake: () => void): void {
    this.#wish = { at, wake };
    if (at <= this.now()) {
      this.#immediate ??= setImmediate(() => {
        this.#immediate = undefined;
        this.#fire();
      });
      return;
    }
    // There is a wish with every input: a timer that ends before it is good enough, and asks then.
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    const wait = Math.min(at - this.now() + 1, MAX_TIMER_MS);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#fire();
    }, wait);
  }

  stop(): void {
    this.#wish = undefined;
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
  }

  #fire(): void {
    const wish = this.#wish;
    if (!wish) return;
    if (wish.at > this.now()) return this.wakeAt(wish.at, wish.wake);
    this.#wish = undefined;
    wish.wake();
  }
}
