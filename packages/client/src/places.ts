import type { ObjectKind } from "@rain/protocol";
import { badRequest, show } from "./check.ts";

/** The places of a task's inputs, or of its outputs: one path, one thing, and no file where a folder is needed. */
export class Places {
  readonly #what: string;
  /** May things lie in a folder that is one of them? Outputs may: a part can be taken beside the whole. */
  readonly #inside: "nested" | "apart";
  readonly #files = new Set<string>();
  readonly #directories = new Set<string>();
  /** Folders above the others. */
  readonly #parents = new Set<string>();

  constructor(what: string, inside: "nested" | "apart") {
    this.#what = what;
    this.#inside = inside;
  }

  take(path: string, kind: ObjectKind): void {
    if (this.#files.has(path) || this.#directories.has(path))
      throw badRequest(`${this.#what}: the path ${show(path)} is used twice`);
    const mayHold = kind === "directory" && this.#inside === "nested";
    if (this.#parents.has(path) && !mayHold)
      throw badRequest(`${this.#what}: the path ${show(path)} is a folder of another path`);
    for (const folder of foldersOf(path)) {
      this.#refuseFile(path, folder);
      if (this.#inside === "apart" && this.#directories.has(folder))
        throw badRequest(
          `${this.#what}: the path ${show(path)} lies in ${show(folder)}, which is another input`,
        );
      this.#parents.add(folder);
    }
    (kind === "directory" ? this.#directories : this.#files).add(path);
  }

  /** Throws when something here lies where the others have a file. */
  checkAgainst(others: Places): void {
    for (const path of [...this.#files, ...this.#directories])
      for (const folder of foldersOf(path)) others.#refuseFile(path, folder);
  }

  #refuseFile(path: string, folder: string): void {
    if (!this.#files.has(folder)) return;
    throw badRequest(`${this.#what}: the path ${show(path)} lies in ${show(folder)}, which is a file`);
  }
}

/** `a`, `a/b` of `a/b/c`. */
function* foldersOf(path: string): Generator<string, void> {
  for (let slash = path.indexOf("/"); slash !== -1; slash = path.indexOf("/", slash + 1))
    yield path.slice(0, slash);
}
