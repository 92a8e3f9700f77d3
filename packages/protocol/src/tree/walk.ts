import type { Readable } from "node:stream";
import type { TreeOptions } from "./types.ts";

/** The canonical tar of `folder`. */
export function packTree(folder: string, options: TreeOptions = {}): Readable {
  throw new Error(`not yet: ${folder} ${Object.keys(options).join()}`);
}
