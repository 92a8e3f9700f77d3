import { Buffer } from "node:buffer";
import { parentOf, shown } from "./names.ts";
import type { EntryKind } from "./types.ts";

/**
 * Watches that entries come in ascending order of their paths' bytes, each beneath folders only. In that order all
 * paths that begin with the same text are neighbours, so it is enough to remember the entries whose path begins the
 * current one: memory stays flat, and no path can come twice.
 */
export class EntryOrder {
  #last = Buffer.alloc(0);
  #lastPath = "";
  /** Paths that begin the last one, shortest first, and what they are. */
  readonly #open: string[] = [];
  readonly #kinds = new Map<string, EntryKind>();

  /** Takes the next entry. Returns its parent folders that had no entry of their own, outermost first, or a problem. */
  next(path: string, kind: EntryKind): readonly string[] | { readonly problem: string } {
    const bytes = Buffer.from(path);
    const order = Buffer.compare(this.#last, bytes);
    if (order === 0) return { problem: "is there twice" };
    if (order > 0)
      return {
        problem: `comes after ${shown(this.#lastPath)}; entries must be sorted by the bytes of their paths`,
      };
    this.#last = bytes;
    this.#lastPath = path;
    for (let top = this.#open.at(-1); top !== undefined && !path.startsWith(top); top = this.#open.at(-1)) {
      this.#open.pop();
      this.#kinds.delete(top);
    }
    const missing: string[] = [];
    for (let folder = parentOf(path); folder !== ""; folder = parentOf(folder)) {
      const found = this.#kinds.get(folder);
      if (found === "directory") break;
      if (found !== undefined)
        return { problem: `is beneath ${shown(folder)}, which is a ${found} in this tree` };
      missing.unshift(folder);
    }
    for (const folder of missing) this.#insert(folder, "directory");
    this.#insert(path, kind);
    return missing;
  }

  #insert(path: string, kind: EntryKind): void {
    const at = this.#open.findLastIndex((each) => each.length < path.length) + 1;
    this.#open.splice(at, 0, path);
    this.#kinds.set(path, kind);
  }
}
