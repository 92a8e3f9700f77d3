import type { Readable } from "node:stream";
import type { TreeEntry, TreeOptions } from "./types.ts";

/** The canonical tar of these entries, in any order. */
export function packEntries(
  entries: AsyncIterable<TreeEntry> | Iterable<TreeEntry>,
  options: TreeOptions = {},
): Readable {
  throw new Error(`not yet: ${typeof entries} ${Object.keys(options).join()}`);
}
