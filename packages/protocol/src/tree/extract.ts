import type { Readable } from "node:stream";
import type { TreeEnvelope, TreeOptions } from "./types.ts";

export interface ExtractedTree {
  readonly entries: number;
  /** Bytes of all files together. */
  readonly bytes: number;
}
/** Unpacks a tar to the folder `into`, which must not exist. */
export async function extractTree(
  source: Readable,
  into: string,
  expected?: TreeEnvelope,
  options: TreeOptions = {},
): Promise<ExtractedTree> {
  throw new Error(
    `not yet: ${String(source.readable)} ${into} ${expected?.size} ${Object.keys(options).join()}`,
  );
}
