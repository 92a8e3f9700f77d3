import { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import { pack, type Header, type Pack } from "tar-stream";
import { RainError } from "../errors.ts";
import { linkProblem, pathProblem, shown } from "./names.ts";
import { treeLimits, type EntryKind, type TreeOptions } from "./types.ts";

/** An entry whose bytes are at hand, whole or as a stream of exactly `size` bytes. */
export type Ready =
  | { readonly path: string; readonly kind: "directory" }
  | { readonly path: string; readonly kind: "link"; readonly target: string }
  | {
      readonly path: string;
      readonly kind: "file";
      readonly executable: boolean;
      readonly size: number;
      readonly data: Buffer | AsyncIterable<Buffer>;
    };

/** Smaller pieces are put together before they leave. */
const CHUNK_BYTES = 65_536;
const EPOCH = new Date(0);

/** The canonical tar of entries that come in canonical order. */
export function writeTar(entries: AsyncIterable<Ready>, options: TreeOptions): Readable {
  const maxEntries = options.entries ?? treeLimits.entries;
  return Readable.from(chunks(entries, maxEntries), { objectMode: false, highWaterMark: 4 * CHUNK_BYTES });
}

async function* chunks(entries: AsyncIterable<Ready>, maxEntries: number): AsyncGenerator<Buffer, void> {
  const tar = pack({ highWaterMark: CHUNK_BYTES });
  let failure: unknown;
  // Every failure of it comes through the promise below; without a listener it would be thrown as well.
  tar.on("error", () => undefined);
  const filled = fill(tar, entries, maxEntries).catch((error: unknown) => {
    failure ??= error;
    tar.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  try {
    yield* together(tar as AsyncIterable<Buffer>);
  } catch (error) {
    throw failure ?? error;
  } finally {
    tar.destroy();
    await filled;
  }
}

async function* together(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  let waiting: Buffer[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    waiting.push(piece);
    bytes += piece.length;
    if (bytes < CHUNK_BYTES) continue;
    yield joined(waiting, bytes);
    waiting = [];
    bytes = 0;
  }
  if (bytes > 0) yield joined(waiting, bytes);
}
const joined = (pieces: readonly Buffer[], bytes: number): Buffer => {
  const [first] = pieces;
  return pieces.length === 1 && first !== undefined ? first : Buffer.concat(pieces, bytes);
};

async function fill(tar: Pack, entries: AsyncIterable<Ready>, maxEntries: number): Promise<void> {
  let count = 0;
  for await (const entry of entries) {
    if (tar.destroying) return;
    if (++count > maxEntries)
      throw new RainError(
        "limit-exceeded",
        `tree: more than ${maxEntries} entries, at ${shown(entry.path)}`,
        {
          limit: maxEntries,
        },
      );
    checkEntry(entry);
    await put(tar, entry);
  }
  tar.finalize();
}

/** Throws RainError("bad-request") when no tree may hold an entry of this name or target. */
export function checkEntry(entry: { path: string; kind: EntryKind; target?: string }): void {
  const { path, kind, target = "" } = entry;
  const problem = pathProblem(path) ?? (kind === "link" ? linkProblem(path, target) : undefined);
  if (problem === undefined) return;
  const to = kind === "link" ? ` (a link to ${shown(target)})` : "";
  throw new RainError("bad-request", `${shown(path)} cannot be in a tree: it ${problem}${to}`, {
    entry: path.slice(0, 300),
  });
}

async function put(tar: Pack, entry: Ready): Promise<void> {
  const header = headerOf(entry);
  const { promise: finished, done } = outcome();
  if (entry.kind !== "file") tar.entry(header, done);
  else if (Buffer.isBuffer(entry.data)) tar.entry(header, entry.data, done);
  else await pour(entry.data, tar.entry(header, done));
  await finished;
}

/** A promise for what a callback is told. */
function outcome(): { promise: Promise<void>; done: (error?: Error | null) => void } {
  let done: (error?: Error | null) => void = () => undefined;
  const promise = new Promise<void>((resolve, reject) => {
    done = (error) => (error ? reject(error) : resolve());
  });
  // Nobody waits for it when reading the file fails first.
  promise.catch(() => undefined);
  return { promise, done };
}

async function pour(data: AsyncIterable<Buffer>, sink: ReturnType<Pack["entry"]>): Promise<void> {
  // The entry's callback is told of every failure; without a listener it would be thrown as well.
  sink.on("error", () => undefined);
  let resume: () => void = () => undefined;
  sink.on("drain", () => resume());
  sink.on("close", () => resume());
  for await (const piece of data) {
    if (sink.destroying) return;
    const drained = new Promise<void>((resolve) => {
      resume = resolve;
    });
    if (!sink.write(piece)) await drained;
  }
  sink.end(null);
}

function headerOf(entry: Ready): Partial<Header> & Pick<Header, "name"> {
  const name = entry.kind === "directory" ? `${entry.path}/` : entry.path;
  const target = entry.kind === "link" ? entry.target : "";
  return {
    name,
    type: entry.kind === "link" ? "symlink" : entry.kind,
    size: entry.kind === "file" ? entry.size : 0,
    mode: entry.kind === "directory" || (entry.kind === "file" && entry.executable) ? 0o755 : 0o644,
    mtime: EPOCH,
    uid: 0,
    gid: 0,
    ...(entry.kind === "link" ? { linkname: target } : {}),
    // Not ASCII, or a last name that does not fit: tar-stream would write raw bytes, or an empty name field.
    ...(/[^\x20-\x7e]/.test(target) || name.length - name.lastIndexOf("/", name.length - 2) - 1 > 100
      ? { pax: {} }
      : {}),
  };
}
