import { Buffer } from "node:buffer";
import type { Readable } from "node:stream";
import { RainError } from "../errors.ts";
import { loadAll } from "./load.ts";
import { parentOf, shown } from "./names.ts";
import type { TreeEntry, TreeOptions } from "./types.ts";
import { checkEntry, writeTar } from "./write.ts";

/**
 * The canonical tar of these entries, in any order; missing parent folders are added. The stream fails with
 * RainError("bad-request") that names both of two entries at one path, or of a file or link and what is beneath it. Two
 * entries for the same folder are one.
 */
export function packEntries(
  entries: AsyncIterable<TreeEntry> | Iterable<TreeEntry>,
  options: TreeOptions = {},
): Readable {
  return writeTar(loadAll(sorted(entries)), options);
}

async function* sorted(
  entries: AsyncIterable<TreeEntry> | Iterable<TreeEntry>,
): AsyncGenerator<TreeEntry, void> {
  const byPath = new Map<string, TreeEntry>();
  for await (const entry of entries) {
    checkEntry(entry);
    const other = byPath.get(entry.path);
    if (other === undefined) byPath.set(entry.path, entry);
    else if (other.kind !== "directory" || entry.kind !== "directory")
      throw overlap(
        `two entries are at ${shown(entry.path)}: ${described(other)} and ${described(entry)}`,
        entry.path,
      );
  }
  for (const entry of byPath.values()) addParents(byPath, entry);
  const keyed = Array.from(byPath.values(), (entry) => ({ key: Buffer.from(entry.path), entry }));
  keyed.sort((a, b) => Buffer.compare(a.key, b.key));
  for (const { entry } of keyed) yield entry;
}

function addParents(byPath: Map<string, TreeEntry>, entry: TreeEntry): void {
  for (let path = parentOf(entry.path); path !== ""; path = parentOf(path)) {
    const found = byPath.get(path);
    if (found?.kind === "directory") return;
    if (found !== undefined)
      throw overlap(
        `${described(entry)} at ${shown(entry.path)} is beneath ${shown(path)}, which is ${described(found)}`,
        entry.path,
      );
    byPath.set(path, { path, kind: "directory" });
  }
}

function described(entry: TreeEntry): string {
  if (entry.kind === "directory") return "a folder";
  return entry.kind === "link" ? `a link to ${shown(entry.target)}` : "a file";
}
const overlap = (what: string, path: string): RainError =>
  new RainError("bad-request", `the tree's entries overlap: ${what}; give each a path of its own`, {
    entry: path.slice(0, 300),
  });
