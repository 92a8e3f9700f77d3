import { randomBytes } from "node:crypto";
import { lstat, mkdir, rename, rm, statfs } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { RainError } from "../errors.ts";
import { EnvelopeTap } from "./envelope.ts";
import { keepErrors, readEntries } from "./read.ts";
import { treeLimits, type ExpectedTree, type TreeOptions } from "./types.ts";
import { TreeWriter } from "./unpack.ts";

export interface ExtractedTree {
  readonly entries: number;
  /** Bytes of all files together. */
  readonly bytes: number;
}

/**
 * Unpacks a tar to the folder `into`, which must not exist and is made 0700. It is filled under another name beside it
 * (`.NAME.RANDOM.partial`) and gets its own only when the whole tar was read and is what `expected` says, so nothing is
 * ever visible of one that is not. Modes become 0755 or 0644; owners and times are not taken over.
 *
 * Throws RainError: "bad-file" for a tar that breaks a rule (names the entry), "bad-digest" for one that is not the
 * expected one, "limit-exceeded", "timeout" when nothing came for `idleMs`; otherwise what `source` or the system fails
 * with. Then nothing is left behind, and `source` is destroyed.
 */
export async function extractTree(
  source: Readable,
  into: string,
  expected?: ExpectedTree,
  options: TreeOptions = {},
): Promise<ExtractedTree> {
  const target = resolve(into);
  const partial = join(
    dirname(target),
    `.${basename(target).slice(0, 200)}.${randomBytes(8).toString("hex")}.partial`,
  );
  keepErrors(source);
  try {
    await refuseExisting(target);
    await refuseFull(dirname(target), expected?.size ?? 0, options);
    await mkdir(partial, { mode: 0o700 });
    const result = await fill(source, partial, expected, options);
    await refuseExisting(target);
    await rename(partial, target);
    return result;
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  } finally {
    source.destroy();
  }
}

async function fill(
  source: Readable,
  folder: string,
  expected: ExpectedTree | undefined,
  options: TreeOptions,
): Promise<ExtractedTree> {
  const bytes = Math.min(options.bytes ?? treeLimits.bytes, expected?.size ?? Number.POSITIVE_INFINITY);
  const writer = new TreeWriter(folder, { ...treeLimits, ...options });
  let entries = 0;
  try {
    for await (const entry of readEntries(source, { ...options, bytes }, new EnvelopeTap(expected))) {
      entries++;
      await writer.put(entry);
    }
    await writer.finish();
  } finally {
    await writer.settle();
  }
  return { entries, bytes: writer.bytes };
}

async function refuseExisting(path: string): Promise<void> {
  try {
    await lstat(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
    throw error;
  }
  throw new RainError("bad-request", `${path} is there already; a tree is unpacked to a new folder`, {
    path,
  });
}

async function refuseFull(folder: string, size: number, options: TreeOptions): Promise<void> {
  const { bavail, blocks, bsize } = await statfs(folder);
  const reserve = options.reserveBytes ?? Math.min(2 ** 30, blocks * bsize * 0.05);
  const free = Math.max(0, bavail * bsize - reserve);
  if (size > free)
    throw new RainError(
      "limit-exceeded",
      `a tree of ${size} bytes does not fit into ${folder}: ${Math.floor(free)} bytes are free beyond the reserve; make room there`,
      { size, free: Math.floor(free) },
    );
}
