import seedrandom from "seedrandom";

/** The one source of chance in a history. The same seed gives the same history, event by event. */
export class Random {
  readonly #next: () => number;

  constructor(seed: number | string) {
    this.#next = seedrandom.alea(String(seed));
  }

  /** In [0, 1). */
  unit(): number {
    return this.#next();
  }
  /** In [from, to). */
  between(from: number, to: number): number {
    return from + (to - from) * this.#next();
  }
  /** Mostly near `from`, sometimes near `to`: as delays are. */
  skewed(from: number, to: number): number {
    const x = this.#next();
    return from + (to - from) * x * x * x;
  }
  /** An integer in [from, to]. */
  int(from: number, to: number): number {
    return from + Math.floor(this.#next() * (to - from + 1));
  }
  chance(probability: number): boolean {
    return this.#next() < probability;
  }
  pick<T>(list: readonly T[]): T {
    const item = list[Math.floor(this.#next() * list.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }
  /** A text that no other call gives, made of the seed alone. */
  token(prefix: string): string {
    return `${prefix}-${Math.floor(this.#next() * 2 ** 32).toString(16)}-${Math.floor(this.#next() * 2 ** 32).toString(16)}`;
  }
}
