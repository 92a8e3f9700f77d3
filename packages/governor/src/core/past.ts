import type { AttemptRef } from "@rain/protocol";

/** The last attempts that are over and acknowledged, by key; when there are too many, the oldest goes. */
export class Past {
  readonly #all: Map<string, { readonly ref: AttemptRef; readonly place: number }> = new Map();
  /** Keys in the order of their coming, in a ring: a map from which the first is taken again and again becomes slow. */
  readonly #ring: string[] = [];
  readonly #most: number;
  #next = 0;

  constructor(most: number) {
    this.#most = most;
  }

  has(key: string): boolean {
    return this.#all.has(key);
  }
  delete(key: string): void {
    this.#all.delete(key);
  }

  /** Answers the one that goes for it. */
  add(key: string, ref: AttemptRef): AttemptRef | undefined {
    const place = this.#next;
    this.#next = (place + 1) % this.#most;
    const before = this.#ring[place];
    this.#ring[place] = key;
    const oldest = before === undefined ? undefined : this.#all.get(before);
    // It may have been deleted, and have come again, meanwhile.
    const goes = before !== undefined && oldest?.place === place;
    if (goes) this.#all.delete(before);
    this.#all.set(key, { ref, place });
    return goes ? oldest.ref : undefined;
  }
}
