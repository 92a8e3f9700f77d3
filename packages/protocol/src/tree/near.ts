import { parentOf } from "./names.ts";
import type { EntryKind } from "./types.ts";

const KEPT = 3;
/** Spellings further apart than this are no misses. */
const MAX_DISTANCE = 3;
const MAX_LENGTH = 128;
/** Comparing is slow: this many are enough for a hint. */
const MAX_COMPARED = 10_000;

/** Remembers the few entries that are spelled most like a wanted path. */
export class NearMisses {
  readonly #wanted: string;
  readonly #name: string;
  readonly #parent: string;
  #compared = 0;
  #found: { readonly text: string; readonly distance: number }[] = [];

  constructor(wanted: string) {
    this.#wanted = wanted;
    this.#name = nameOf(wanted);
    this.#parent = parentOf(wanted);
  }

  see(path: string, kind: EntryKind): void {
    const distance = this.#distance(path);
    const worst = this.#found.length < KEPT ? MAX_DISTANCE : (this.#found.at(-1)?.distance ?? 0) - 1;
    if (distance > worst) return;
    this.#found = [...this.#found, { text: kind === "directory" ? `${path}/` : path, distance }]
      .toSorted((a, b) => a.distance - b.distance)
      .slice(0, KEPT);
  }

  /** Of an entry elsewhere with the same name, or of a neighbour spelled alike. */
  #distance(path: string): number {
    if (nameOf(path) === this.#name) return 0;
    if (parentOf(path) !== this.#parent || ++this.#compared > MAX_COMPARED) return Number.POSITIVE_INFINITY;
    return spelling(path, this.#wanted);
  }

  get best(): string[] {
    return this.#found.map((each) => each.text);
  }
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/** Letters to change, add or leave out to come from one to the other; upper and lower case are alike. */
function spelling(one: string, other: string): number {
  if (Math.abs(one.length - other.length) > MAX_DISTANCE) return Number.POSITIVE_INFINITY;
  if (Math.max(one.length, other.length) > MAX_LENGTH) return Number.POSITIVE_INFINITY;
  const a = one.toLowerCase();
  const b = other.toLowerCase();
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
