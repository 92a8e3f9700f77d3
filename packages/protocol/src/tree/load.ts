import { Buffer } from "node:buffer";
import { constants, close as closeFd, fstat as fstatFd, open as openFd, read as readFd } from "node:fs";
import { promisify } from "node:util";
import { RainError } from "../errors.ts";
import { shown } from "./names.ts";
import type { TreeEntry } from "./types.ts";
import type { Ready } from "./write.ts";

/** File descriptors rather than file handles: half the time for many small files. */
const open = promisify(openFd);
const close = promisify(closeFd);
const fstat = promisify(fstatFd);
const read = promisify(readFd);

/** Files up to this size are read ahead whole; larger ones in pieces of PIECE_BYTES when their turn comes. */
const SMALL_BYTES = 131_072;
const PIECE_BYTES = 262_144;
const READ_AHEAD = 16;

/** An entry to load. A file without `executable` takes it from the file's mode. */
export type Item =
  | Exclude<TreeEntry, { kind: "file" }>
  | (Omit<Extract<TreeEntry, { kind: "file" }>, "executable"> & { readonly executable?: boolean });

interface Loaded {
  readonly ready: Ready;
  /** Descriptor that stays open until the entry was passed on. */
  readonly fd?: number;
}

/** Opens and reads files some steps ahead, in order. Closes what it opened, however it ends. */
export async function* loadAll(items: AsyncIterable<Item> | Iterable<Item>): AsyncGenerator<Ready, void> {
  const ahead: Promise<Loaded>[] = [];
  try {
    for await (const item of items) {
      const loading = load(item);
      // Its error is reported when its turn comes; until then nobody waits for it.
      loading.catch(() => undefined);
      ahead.push(loading);
      if (ahead.length >= READ_AHEAD) yield* passOn(ahead.shift());
    }
    while (ahead.length > 0) yield* passOn(ahead.shift());
  } finally {
    for (const each of await Promise.allSettled(ahead))
      if (each.status === "fulfilled" && each.value.fd !== undefined) await close(each.value.fd);
  }
}

async function* passOn(loading: Promise<Loaded> | undefined): AsyncGenerator<Ready, void> {
  if (loading === undefined) return;
  const { ready, fd } = await loading;
  try {
    yield ready;
  } finally {
    if (fd !== undefined) await close(fd);
  }
}

async function load(item: Item): Promise<Loaded> {
  if (item.kind !== "file") return { ready: item };
  const fd = await openPlain(item.source, item.path);
  let keep = false;
  try {
    const found = await fstat(fd);
    if (!found.isFile()) throw problem(item.path, `${shown(item.source)} is not a plain file`);
    const { start, size } = item.part ?? { start: 0, size: found.size };
    if (start + size > found.size)
      throw problem(item.path, `${shown(item.source)} has ${found.size} bytes, not ${start + size}`);
    const executable = item.executable ?? (found.mode & 0o111) !== 0;
    const file = { path: item.path, kind: "file", executable, size } as const;
    const whole = item.part === undefined;
    if (size <= SMALL_BYTES)
      return { ready: { ...file, data: await readSmall(fd, item, start, size, whole) } };
    keep = true;
    return { ready: { ...file, data: pieces(fd, item, start, size, whole) }, fd };
  } finally {
    if (!keep) await close(fd);
  }
}

async function openPlain(source: string, path: string): Promise<number> {
  try {
    // NONBLOCK: opening a FIFO would wait for its writer.
    return await open(source, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = errorCode(error);
    if (code === "ELOOP") throw problem(path, `${shown(source)} has become a symbolic link`);
    if (code === "ENXIO") throw problem(path, `${shown(source)} is not a plain file`);
    throw problem(path, `${shown(source)} cannot be opened (${code ?? String(error)})`, error);
  }
}

/** Reads one byte more than there should be, so that a file that grew is noticed as well as one that shrank. */
async function readSmall(
  fd: number,
  item: Item,
  start: number,
  size: number,
  whole: boolean,
): Promise<Buffer> {
  const wanted = whole ? size + 1 : size;
  const buffer = Buffer.allocUnsafe(wanted);
  let filled = 0;
  while (filled < wanted) {
    const { bytesRead } = await read(fd, buffer, filled, wanted - filled, start + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
    if (whole && filled === size) break;
  }
  if (whole && filled === size) await expectEnd(fd, item, size);
  if (filled !== size) throw changed(item.path, size, filled);
  return buffer.subarray(0, size);
}

async function* pieces(
  fd: number,
  item: Item,
  start: number,
  size: number,
  whole: boolean,
): AsyncGenerator<Buffer, void> {
  for (let done = 0; done < size;) {
    const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, size - done));
    const { bytesRead } = await read(fd, buffer, 0, buffer.length, start + done);
    if (bytesRead === 0) throw changed(item.path, size, done);
    done += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
  if (whole) await expectEnd(fd, item, size);
}

async function expectEnd(fd: number, item: Item, size: number): Promise<void> {
  const { size: now } = await fstat(fd);
  if (now !== size) throw changed(item.path, size, now);
}

const changed = (path: string, before: number, now: number): RainError =>
  problem(
    path,
    `it changed while it was read: ${before} bytes before, then ${now}; let its writer finish first`,
  );
const problem = (path: string, why: string, cause?: unknown): RainError =>
  new RainError(
    "bad-request",
    `${shown(path)} cannot go into the tree: ${why}`,
    { entry: path.slice(0, 300) },
    { cause },
  );

const errorCode = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
