import { Buffer } from "node:buffer";
import type { Readable } from "node:stream";
import { extract, type Extract, type Header } from "tar-stream";
import { RainError } from "../errors.ts";
import { TarGuard, type GuardedHeader } from "./guard.ts";
import { linkProblem, pathProblem, shown } from "./names.ts";
import { EntryOrder } from "./order.ts";
import { treeLimits, type EntryKind, type ListedEntry, type TreeOptions } from "./types.ts";
import { Watchdog } from "./watchdog.ts";

/** An entry as it passes by. `body` is to be read before the next entry is asked for, or not at all. */
export interface ReadEntry extends ListedEntry {
  readonly body: AsyncIterable<Buffer>;
  /** Parent folders that the tar has no entry for, outermost first. */
  readonly missing: readonly string[];
}

/** tar-stream's stream of one entry. */
type Source = Extract extends AsyncIterable<infer Entry> ? Entry : never;

/** Sees every byte of the tar before it is read, and its end. Either may throw. */
export interface Tap {
  push(chunk: Buffer): void;
  end(): void;
}

/**
 * A source may fail before anyone reads it, and then nobody listens. The error is not lost: reading a failed stream
 * throws what it failed with.
 */
export function keepErrors(source: Readable): void {
  source.on("error", () => undefined);
}

/**
 * Reads a tar by every rule of trees. Throws RainError("bad-file", "limit-exceeded" or "timeout") that names the entry,
 * and whatever `source` fails with. Ends `source` in any case.
 */
export async function* readEntries(
  source: Readable,
  options: TreeOptions = {},
  tap?: Tap,
): AsyncGenerator<ReadEntry, void> {
  const limits = { ...treeLimits, ...options };
  const tar = extract();
  // The iterator below reports errors; a listener of our own keeps one that comes between two of its steps from being thrown.
  let failure: unknown;
  const fail = (error: unknown): void => {
    failure ??= error;
    tar.destroy(error instanceof Error ? error : new Error(String(error)));
    source.destroy();
  };
  tar.on("error", fail);
  const heads: GuardedHeader[] = [];
  const guard = new TarGuard(limits, (header) => heads.push(header));
  const watchdog = new Watchdog(limits.idleMs, fail);
  const fed = feed(source, tar, guard, watchdog, tap).catch(fail);
  const iterator = tar[Symbol.asyncIterator]();
  const order = new EntryOrder();
  try {
    for (;;) {
      const step = await watchdog.during(iterator.next());
      if (step.done === true) break;
      const { entry, body } = checked(step.value, heads.shift(), order, watchdog, () => failure);
      yield entry;
      // tar-stream goes on only when the bytes of an entry were taken.
      if (!body.begun) step.value.resume();
    }
    await fed;
    if (failure !== undefined) throw failure;
  } catch (error) {
    throw failure ?? error;
  } finally {
    watchdog.stop();
    tar.destroy();
    source.destroy();
    await fed;
  }
}

async function feed(
  source: Readable,
  tar: Extract,
  guard: TarGuard,
  watchdog: Watchdog,
  tap: Tap | undefined,
): Promise<void> {
  for await (const chunk of source as AsyncIterable<unknown>) {
    if (tar.destroying) return;
    if (!(chunk instanceof Uint8Array))
      throw new TypeError("a tar is read from a stream of bytes, not of text or objects");
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    watchdog.progress();
    tap?.push(bytes);
    guard.push(bytes);
    if (!tar.write(bytes)) await drained(tar);
  }
  if (tar.destroying) return;
  tap?.end();
  guard.end();
  tar.end(null);
}

function drained(tar: Extract): Promise<void> {
  return new Promise((resolve) => {
    if (tar.destroying) return resolve();
    const done = (): void => {
      tar.off("drain", done);
      tar.off("close", done);
      resolve();
    };
    tar.on("drain", done);
    tar.on("close", done);
  });
}

/** Has anyone begun to read this body? */
interface BodyState {
  begun: boolean;
}

function checked(
  stream: Source,
  head: GuardedHeader | undefined,
  order: EntryOrder,
  watchdog: Watchdog,
  failure: () => unknown,
): { entry: ReadEntry; body: BodyState } {
  const { header } = stream;
  const kind = kinds[header.type];
  if (head === undefined || kind !== head.kind || header.name !== head.path || header.size !== head.size)
    throw bad(header.name, "is read differently by the two readers of tars here");
  const path = kind === "directory" && header.name.endsWith("/") ? header.name.slice(0, -1) : header.name;
  const target = kind === "link" ? header.linkname : undefined;
  const problem = pathProblem(path) ?? (kind === "link" ? linkProblem(path, target ?? "") : undefined);
  if (problem !== undefined) {
    const to = target === undefined || target === null ? "" : ` (a link to ${shown(target)})`;
    throw bad(path, `${problem}${to}`);
  }
  const missing = order.next(path, kind);
  if ("problem" in missing) throw bad(path, missing.problem);
  const body: BodyState = { begun: false };
  const entry: ReadEntry = {
    path,
    kind,
    size: header.size,
    executable: kind === "file" && (header.mode & 0o111) !== 0,
    ...(kind === "link" ? { target: target ?? "" } : {}),
    offset: byteOffset(header),
    missing,
    body: header.size === 0 ? nothing : bodyOf(stream, body, watchdog, failure),
  };
  return { entry, body };
}

const kinds: Readonly<Record<string, EntryKind>> = { file: "file", directory: "directory", symlink: "link" };

/** tar-stream sets this on every header it reads; its types do not say so. */
const byteOffset = (header: Header): number => (header as Header & { byteOffset: number }).byteOffset;

const nothing: AsyncIterable<Buffer> = {
  // eslint-disable-next-line no-empty-function
  async *[Symbol.asyncIterator]() {},
};

async function* bodyOf(
  stream: Source,
  state: BodyState,
  watchdog: Watchdog,
  failure: () => unknown,
): AsyncGenerator<Buffer, void> {
  state.begun = true;
  const iterator = (stream as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  try {
    for (;;) {
      const step = await watchdog.during(iterator.next());
      if (step.done === true) return;
      yield step.value;
    }
  } catch (error) {
    // What ended the reading says more than "closed prematurely".
    throw failure() ?? error;
  } finally {
    await iterator.return?.();
  }
}

const bad = (path: string, problem: string): RainError =>
  new RainError("bad-file", `not a tree of Rain: entry ${shown(path)} ${problem}`, {
    entry: path.slice(0, 300),
  });
