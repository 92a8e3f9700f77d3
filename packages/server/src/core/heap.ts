/** A binary heap: the item that is before all others is on top. */
export class Heap<T> {
  readonly #items: T[] = [];
  readonly #isBefore: (a: T, b: T) => boolean;

  constructor(isBefore: (a: T, b: T) => boolean) {
    this.#isBefore = isBefore;
  }

  get top(): T | undefined {
    return this.#items[0];
  }

  get size(): number {
    return this.#items.length;
  }

  push(item: T): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const above = items[up];
      if (above === undefined || !this.#isBefore(item, above)) break;
      items[at] = above;
      at = up;
    }
    items[at] = item;
  }

  removeTop(): void {
    const items = this.#items;
    const last = items.pop();
    if (last === undefined || items.length === 0) return;
    this.#sink(last);
  }

  /** The item on top is not before as many others as it was. */
  topMoved(): void {
    const top = this.#items[0];
    if (top !== undefined) this.#sink(top);
  }

  /** Puts an item into the place of the one on top, and from there as far down as it belongs. */
  #sink(item: T): void {
    const items = this.#items;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      let below = items[down];
      if (below === undefined) break;
      const right = items[down + 1];
      if (right !== undefined && this.#isBefore(right, below)) {
        down++;
        below = right;
      }
      if (!this.#isBefore(below, item)) break;
      items[at] = below;
      at = down;
    }
    items[at] = item;
  }
}
