import type { Readable } from "node:stream";
import { keepErrors, readEntries } from "./read.ts";
import type { ListedEntry, TreeOptions } from "./types.ts";

/**
 * The entries of a tar, in its order. The whole tar is checked by the rules of extraction while it is listed; throws
 * RainError("bad-file", "limit-exceeded" or "timeout").
 */
export function listTree(source: Readable, options: TreeOptions = {}): AsyncGenerator<ListedEntry, void> {
  keepErrors(source);
  return listed(source, options);
}

async function* listed(source: Readable, options: TreeOptions): AsyncGenerator<ListedEntry, void> {
  for await (const { body: _body, missing: _missing, ...entry } of readEntries(source, options)) yield entry;
}
