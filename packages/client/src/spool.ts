import { close, closeSync, openSync, read, readSync, unlinkSync, write, writev } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { nanoid } from "nanoid";

const readAsync = promisify(read);
const writeAsync = promisify(write);
const writevAsync = promisify(writev);
const closeAsync = promisify(close);
/** Bytes that are read or written at once. */
const CHUNK_BYTES = 1_048_576;

/** Bytes on their way into the file. */
interface Batch {
  readonly at: number;
  readonly chunks: Uint8Array[];
  bytes: number;
}

/**
 * Bytes in a file without a name: it is removed as soon as it is open, so that nothing is left behind however the
 * process ends. The descriptor is closed with the object, or when that is collected.
 */
export class Spool {
  readonly #fd: number;
  #size = 0;
  #closed = false;
  #batch: Batch = { at: 0, chunks: [], bytes: 0 };
  #writing: Promise<void> = Promise.resolve();

  constructor(folder: string = tmpdir()) {
    const path = join(folder, `rain-fetch-${nanoid()}`);
    this.#fd = openSync(path, "wx+", 0o600);
    unlinkSync(path);
    forgotten.register(this, this.#fd, this);
  }

  /** Bytes. */
  get size(): number {
    return this.#size;
  }

  /**
   * Takes bytes, which must not be changed any more; resolves when more may come. `flush` before they are read. An error
   * of the disk may be told by a later call.
   */
  async writeAt(chunk: Uint8Array, at: number): Promise<void> {
    if (at !== this.#batch.at + this.#batch.bytes) await this.#write(at);
    this.#batch.chunks.push(chunk);
    this.#batch.bytes += chunk.length;
    this.#size = Math.max(this.#size, at + chunk.length);
    if (this.#batch.bytes >= CHUNK_BYTES) await this.#write(at + chunk.length);
  }

  /** Until all bytes are in the file. */
  async flush(): Promise<void> {
    await this.#write(this.#size);
    await this.#writing;
  }

  /** Begins to write the batch once the one before is written; the next one is for `next`. */
  async #write(next: number): Promise<void> {
    const batch = this.#batch;
    this.#batch = { at: next, chunks: [], bytes: 0 };
    await this.#writing;
    if (batch.bytes === 0) return;
    this.#writing = writeBatch(this.#fd, batch);
    this.#writing.catch(() => undefined); // whoever waits for it next is told
  }

  readAll(): Buffer {
    this.#check();
    const all = Buffer.allocUnsafe(this.#size);
    for (let done = 0; done < all.length;) {
      const count = readSync(this.#fd, all, done, Math.min(all.length - done, 2 ** 30), done);
      if (count === 0) throw new Error("the spooled bytes were cut short");
      done += count;
    }
    return all;
  }

  async *chunks(): AsyncGenerator<Buffer, void, undefined> {
    for (let at = 0; at < this.#size;) {
      this.#check();
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, this.#size - at));
      const { bytesRead } = await readAsync(this.#fd, buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new Error("the spooled bytes were cut short");
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    forgotten.unregister(this);
    await this.#writing.catch(() => undefined); // who writes was told
    await closeAsync(this.#fd);
  }

  #check(): void {
    if (this.#closed) throw new Error("the fetched data is closed");
  }
}

const forgotten = new FinalizationRegistry<number>((fd) => closeSync(fd));

async function writeBatch(fd: number, { at, chunks, bytes }: Batch): Promise<void> {
  let { bytesWritten: done } = await writevAsync(fd, chunks, at);
  // Short: the rest follows, or the error of a full disk comes.
  const rest = done < bytes ? Buffer.concat(chunks) : Buffer.of();
  while (done < bytes) done += (await writeAsync(fd, rest, done, bytes - done, at + done)).bytesWritten;
}
