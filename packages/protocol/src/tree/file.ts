import type { Readable } from "node:stream";
import type { TreeEnvelope } from "./types.ts";

export interface PackedTree extends TreeEnvelope {
  readonly entries: number;
}
/** Writes a tree's tar to `file`, which must not exist, and says what it is. */
export async function packToFile(tar: Readable, file: string): Promise<PackedTree> {
  throw new Error(`not yet: ${String(tar.readable)} ${file}`);
}
