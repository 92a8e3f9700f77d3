import seedrandom from "seedrandom";

/** The same numbers in every run. */
export class Random {
  /** @param {number} seed */
  constructor(seed) {
    this.next = seedrandom(String(seed));
  }

  /**
   * A whole number from 0 to `limit` - 1.
   * @param {number} limit
   */
  below(limit) {
    return Math.floor(this.next() * limit);
  }
}
