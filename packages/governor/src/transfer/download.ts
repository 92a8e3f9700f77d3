import { createHash } from "node:crypto";
import { open, rm, type FileHandle } from "node:fs/promises";
import { isLoopbackHost, type Digest } from "@rain/protocol";
import { FileHash } from "../store/hasher.ts";
import { SourceProblem } from "./get.ts";
import { readSpan, type ReadOptions, type Source, type Span } from "./read.ts";

export interface DownloadOptions extends Omit<ReadOptions, "isLarge"> {
  readonly sha256: Digest;
}

/** How an object is read in parts. */
export interface Streams {
  /** What one request brings. */
  readonly partBytes: number;
  /** May one more stream be read now? One that was taken is given back. */
  readonly take: () => boolean;
  readonly give: () => void;
}

/** Streams of one object from one source on another machine. On this one more of them only cost more. */
const STREAMS = 4;
/** Bytes that are written at once. */
const BATCH_BYTES = 1_048_576;

/** Reads an object from one source into memory. It has the promised size and digest. Throws SourceProblem. */
export async function downloadBytes(source: Source, options: DownloadOptions): Promise<Buffer> {
  const { size, sha256 } = options;
  const bytes = Buffer.allocUnsafeSlow(size);
  const span = { from: 0, to: size, at: 0 };
  const take = (chunk: Buffer): undefined => {
    bytes.set(chunk, span.at);
  };
  await readSpan(source, { ...options, isLarge: false }, span, { take, restart: () => undefined });
  check(createHash("sha256").update(bytes).digest("hex"), sha256);
  return bytes;
}

/**
 * Reads an object into a file that is not there yet: a large one in parts, over several streams and from all sources at
 * once; a part that a source fails to give is taken over by the others. The file has the promised size and digest when
 * this resolves, and is not there otherwise. Throws SourceProblem, with `whole` when the object must be asked for as a
 * whole; any other error is of this machine (a full disk).
 */
export async function downloadFile(
  sources: readonly Source[],
  path: string,
  options: DownloadOptions,
  streams: Streams | undefined,
): Promise<void> {
  const file = await open(path, "wx+", 0o600);
  const download = new Download(file, sources, options, streams);
  try {
    await download.run();
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await download.end();
    await file.close();
  }
}

const check = (measured: string, sha256: Digest): void => {
  if (measured === sha256) return;
  throw new SourceProblem(`sent other bytes: their SHA-256 is ${measured}, not ${sha256}`, "no");
};

/** A part, with how far it is in the file. */
interface Part extends Span {
  written: number;
}

class Download {
  readonly #file: FileHandle;
  readonly #sources: readonly Source[];
  readonly #options: DownloadOptions;
  readonly #streams: Streams | undefined;
  readonly #parts: readonly Part[];
  /** Parts that nobody reads, the next one first. */
  readonly #waiting: Part[];
  readonly #failed: Set<Source> = new Set();
  /** Set when the disk fails: then the other streams end too. */
  readonly #broken = new AbortController();
  /** Of the parts before this one everything is written. */
  #done = 0;
  #hash: FileHash;

  constructor(
    file: FileHandle,
    sources: readonly Source[],
    options: DownloadOptions,
    streams: Streams | undefined,
  ) {
    this.#file = file;
    this.#sources = sources;
    this.#streams = streams;
    const { size } = options;
    this.#options = { ...options, signal: AbortSignal.any([options.signal, this.#broken.signal]) };
    const partBytes = streams === undefined || size < 2 * streams.partBytes ? size : streams.partBytes;
    this.#parts = Array.from({ length: Math.ceil(size / partBytes) }, (_, index) => {
      const from = index * partBytes;
      return { from, to: Math.min(size, from + partBytes), at: from, written: from };
    });
    this.#waiting = [...this.#parts];
    this.#hash = new FileHash(file);
  }

  async run(): Promise<void> {
    const { size, sha256 } = this.#options;
    for (let problem: SourceProblem | undefined; this.#waiting.length > 0;) {
      const sources = this.#sources.filter((source) => !this.#failed.has(source));
      if (sources.length === 0) throw problem ?? new SourceProblem("there is no source", "no");
      const isNear = sources.every(({ url }) => isLoopbackHost(url.hostname));
      const most = isNear ? sources.length : Math.max(STREAMS, sources.length);
      const streams = Array.from({ length: Math.min(this.#waiting.length, most) }, (_, index) =>
        this.#stream(sources, index),
      );
      const errors = (await Promise.allSettled(streams)).flatMap((end) =>
        end.status === "rejected" ? [end.reason as unknown] : [],
      );
      const own = errors.find((error) => !(error instanceof SourceProblem));
      if (own !== undefined) throw own;
      problem = errors.find((error) => error instanceof SourceProblem) ?? problem;
    }
    check((await this.#hash.finish(size)).sha256, sha256);
  }

  /** Nothing reads the file any more. */
  async end(): Promise<void> {
    await this.#hash.drop();
  }

  /** Reads part after part from one source. The first stream is always allowed. */
  async #stream(sources: readonly Source[], index: number): Promise<void> {
    const source = sources[index % sources.length];
    if (source === undefined) throw new Error("a stream without a source");
    if (index > 0 && this.#streams?.take() !== true) return;
    try {
      for (let part = this.#waiting.shift(); part; part = this.#waiting.shift())
        await this.#readPart(source, part);
    } catch (error) {
      this.#failed.add(source);
      throw error;
    } finally {
      if (index > 0) this.#streams?.give();
    }
  }

  async #readPart(source: Source, part: Part): Promise<void> {
    const batch = new Batch(this.#file, part, () => this.#hashOn());
    try {
      const take = (chunk: Buffer): Promise<void> | undefined => batch.take(chunk);
      await readSpan(source, { ...this.#options, isLarge: true }, part, {
        take,
        restart: () => this.#restart(part, batch),
      });
      await batch.end();
    } catch (error) {
      if (!(error instanceof SourceProblem)) this.#broken.abort();
      else await batch.end();
      this.#waiting.unshift(part);
      throw error;
    }
  }

  /** All bytes come again, and may be others. */
  async #restart(part: Part, batch: Batch): Promise<void> {
    await batch.end();
    part.written = part.from;
    await this.#hash.drop();
    this.#hash = new FileHash(this.#file);
  }

  /** The hash follows what is written without a gap. */
  #hashOn(): void {
    for (let part = this.#parts[this.#done]; part?.written === part?.to; part = this.#parts[this.#done]) {
      if (part === undefined) return;
      this.#done += 1;
    }
    this.#hash.upTo(this.#parts[this.#done]?.written ?? this.#options.size);
  }
}

/** The largest piece that comes at once fits behind a batch that is not full. */
const ROOM_BYTES = BATCH_BYTES + 262_144;

/** Bytes of one part on their way into the file: a batch is written while the next one comes. */
class Batch {
  readonly #file: FileHandle;
  readonly #part: Part;
  readonly #onWritten: () => void;
  #coming: Buffer;
  #spare: Buffer;
  #bytes = 0;
  /** Until the batch before is written; of a disk that failed for ever. */
  #writing: Promise<void> | undefined;

  constructor(file: FileHandle, part: Part, onWritten: () => void) {
    this.#file = file;
    this.#part = part;
    this.#onWritten = onWritten;
    const room = Math.min(ROOM_BYTES, part.to - part.from);
    this.#coming = Buffer.allocUnsafeSlow(room);
    this.#spare = Buffer.allocUnsafeSlow(room);
  }

  /** A promise while two batches are under way. */
  take(chunk: Buffer): Promise<void> | undefined {
    if (chunk.length > this.#coming.length - this.#bytes) return this.#takeParts(chunk);
    this.#coming.set(chunk, this.#bytes);
    this.#bytes += chunk.length;
    if (this.#bytes < BATCH_BYTES) return undefined;
    if (this.#writing) return this.#flush();
    this.#begin();
    return undefined;
  }

  /** Until all is written. */
  async end(): Promise<void> {
    await this.#flush();
    await this.#writing;
  }

  async #takeParts(chunk: Buffer): Promise<void> {
    const own = Buffer.from(chunk);
    for (let at = 0; at < own.length; at += BATCH_BYTES) {
      await this.#flush();
      await this.take(own.subarray(at, at + BATCH_BYTES));
    }
  }

  async #flush(): Promise<void> {
    await this.#writing;
    if (this.#bytes > 0) this.#begin();
  }

  #begin(): void {
    const batch = this.#coming.subarray(0, this.#bytes);
    [this.#coming, this.#spare] = [this.#spare, this.#coming];
    this.#bytes = 0;
    this.#writing = this.#write(batch);
    this.#writing.catch(() => undefined); // whoever waits for it next is told
  }

  async #write(batch: Buffer): Promise<void> {
    const at = this.#part.written;
    // A write may be short: the rest follows, or the error of a full disk comes.
    for (let done = 0; done < batch.length;)
      done += (await this.#file.write(batch, done, batch.length - done, at + done)).bytesWritten;
    this.#part.written += batch.length;
    this.#writing = undefined;
    this.#onWritten();
  }
}
