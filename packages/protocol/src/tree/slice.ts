import type { Readable } from "node:stream";
import type { TreeOptions } from "./types.ts";

/** One file's bytes (`a/b`), or the canonical tar of one folder (`a/b/`). */
export function sliceTree(source: Readable, path: string, options: TreeOptions = {}): Readable {
  throw new Error(`not yet: ${String(source.readable)} ${path} ${Object.keys(options).join()}`);
}
