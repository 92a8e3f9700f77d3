import { constants } from "node:fs";
import { open, unlink } from "node:fs/promises";
import type { Buffer } from "node:buffer";
import type { Readable } from "node:stream";
import { EnvelopeTap } from "./envelope.ts";
import { TarGuard } from "./guard.ts";
import { treeLimits, type TreeEnvelope } from "./types.ts";

export interface PackedTree extends TreeEnvelope {
  readonly entries: number;
}

/**
 * Writes a tree's tar to `file`, which must not exist (made 0600), and says what it is. Fails with what `tar` fails with,
 * RainError("bad-file") when it is no complete tar, or the system's error; then there is no file.
 */
export async function packToFile(tar: Readable, file: string): Promise<PackedTree> {
  const guard = new TarGuard(treeLimits);
  const tap = new EnvelopeTap();
  try {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const handle = await open(file, flags, 0o600);
    try {
      for await (const chunk of tar as AsyncIterable<Buffer>) {
        guard.push(chunk);
        tap.push(chunk);
        for (let at = 0; at < chunk.length;) at += (await handle.write(chunk, at)).bytesWritten;
      }
      guard.end();
      tap.end();
    } catch (error) {
      await unlink(file);
      throw error;
    } finally {
      await handle.close();
    }
  } finally {
    tar.destroy();
  }
  return { ...tap.measured, entries: guard.entries };
}
