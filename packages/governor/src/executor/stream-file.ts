import { createWriteStream } from "node:fs";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

/** Writes all bytes of a stream to a file that is not there yet. */
export async function writeStream(source: Readable, file: string, signal?: AbortSignal): Promise<void> {
  const target = createWriteStream(file, { flags: "wx", mode: 0o600 });
  await pipeline(source, target, ...(signal === undefined ? [] : [{ signal }]));
}
