import type { Readable } from "node:stream";
import type { ListedEntry, TreeOptions } from "./types.ts";

/** The entries of a tar, in its order. */
export async function* listTree(
  source: Readable,
  options: TreeOptions = {},
): AsyncGenerator<ListedEntry, void> {
  throw new Error(`not yet: ${String(source.readable)} ${Object.keys(options).join()}`);
}
