/** What an item of a `Waiting` list has for it. */
export interface Waits<T> {
  /** It is in the list. */
  isAhead: boolean;
  before: T | undefined;
  behind: T | undefined;
}

/**
 * Attempts in the order of their coming, linked to one another: the first goes, and others from wherever they are, at
 * the same cost. (A map whose first entry is taken again and again looks at all that it had before.) An item is in one
 * list at most.
 */
export class Waiting<T extends Waits<T>> implements Iterable<T> {
  #first: T | undefined;
  #last: T | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }
  get first(): T | undefined {
    return this.#first;
  }

  add(item: T): void {
    if (item.isAhead) return;
    item.isAhead = true;
    item.before = this.#last;
    if (this.#last) this.#last.behind = item;
    else this.#first = item;
    this.#last = item;
    this.#size++;
  }

  /** Answers whether it was there. */
  delete(item: T): boolean {
    if (!item.isAhead) return false;
    const { before, behind } = item;
    if (before) before.behind = behind;
    else this.#first = behind;
    if (behind) behind.before = before;
    else this.#last = before;
    item.isAhead = false;
    item.before = undefined;
    item.behind = undefined;
    this.#size--;
    return true;
  }

  clear(): void {
    for (const item of this) this.delete(item);
  }

  /** The item that was given last may be deleted meanwhile. */
  *[Symbol.iterator](): Generator<T, void> {
    for (let item = this.#first; item;) {
      const { behind } = item;
      yield item;
      item = behind;
    }
  }
}
