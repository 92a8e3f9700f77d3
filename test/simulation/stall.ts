import type { Loop } from "./loop.ts";

/** A process that may stand still for a while: what happens meanwhile waits, in order. */
export class Stall {
  readonly #loop: Loop;
  readonly #waiting: (() => void)[] = [];
  #until = 0;

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  /** When it goes on, or went on last. */
  get until(): number {
    return this.#until;
  }
  /** Stands still for `ms` from now on; a stall that lasts longer is not cut short. */
  stand(ms: number): void {
    this.#until = Math.max(this.#until, this.#loop.now + ms);
  }

  /** Runs `act` now, or when the stall is over. */
  awake(act: () => void): void {
    if (this.#loop.now >= this.#until && this.#waiting.length === 0) return act();
    this.#waiting.push(act);
    if (this.#waiting.length === 1) this.#drainLater();
  }
  #drainLater(): void {
    this.#loop.at(this.#until, () => {
      if (this.#loop.now < this.#until) return this.#drainLater();
      for (const act of this.#waiting.splice(0)) act();
    });
  }
}
