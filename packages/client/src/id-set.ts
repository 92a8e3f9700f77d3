/** Whole numbers as ranges: tasks of one session have consecutive numbers more often than not. */
export class IdSet {
  /** Sorted and apart: range k has the numbers from `#starts[k]` to before `#ends[k]`. */
  readonly #starts: number[];
  readonly #ends: number[];
  #size = 0;

  constructor(of?: IdSet) {
    this.#starts = of ? [...of.#starts] : [];
    this.#ends = of ? [...of.#ends] : [];
    this.#size = of?.size ?? 0;
  }

  get size(): number {
    return this.#size;
  }
  /** Number of the ranges. */
  get ranges(): number {
    return this.#starts.length;
  }
  /** First number of a range. */
  start(range: number): number {
    return this.#starts[range] ?? Infinity;
  }
  /** The number behind the last one of a range. */
  end(range: number): number {
    return this.#ends[range] ?? Infinity;
  }

  has(id: number): boolean {
    return this.start(this.rangeFrom(id)) <= id;
  }

  /** The first range that has this number or a later one. */
  rangeFrom(id: number): number {
    let low = 0;
    for (let high = this.#ends.length; low < high;) {
      const middle = (low + high) >> 1;
      if (this.end(middle) <= id) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Adds `first` and the numbers that follow on, `count` in all. */
  add(first: number, count = 1): void {
    if (count === 0) return;
    let [start, end] = [first, first + count];
    // Those that it touches become one with it.
    const from = this.rangeFrom(first - 1);
    let to = from;
    for (; this.start(to) <= end; to++) {
      start = Math.min(start, this.start(to));
      end = Math.max(end, this.end(to));
      this.#size -= this.end(to) - this.start(to);
    }
    this.#starts.splice(from, to - from, start);
    this.#ends.splice(from, to - from, end);
    this.#size += end - start;
  }

  /** Adds many at once, in any order. */
  addAll(ids: readonly number[]): void {
    const isSorted = ids.every((id, at) => at === 0 || id > (ids[at - 1] ?? 0));
    const sorted = isSorted ? ids : Float64Array.from(ids).toSorted();
    let [first, count] = [0, 0];
    for (const id of sorted) {
      if (count > 0 && id <= first + count) {
        count = id - first + 1;
        continue;
      }
      this.add(first, count);
      [first, count] = [id, 1];
    }
    this.add(first, count);
  }

  *[Symbol.iterator](): Generator<number, void> {
    for (let range = 0; range < this.ranges; range++)
      for (let id = this.start(range); id < this.end(range); id++) yield id;
  }
}
