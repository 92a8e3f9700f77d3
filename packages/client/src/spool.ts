import { close, closeSync, openSync, read, readSync, unlinkSync, write } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { nanoid } from "nanoid";

const readAsync = promisify(read);
const writeAsync = promisify(write);
const closeAsync = promisify(close);
/** Bytes that are read or written at once. */
const CHUNK_BYTES = 1_048_576;
/** What comes at once fits behind a batch that is not full. */
const ROOM_BYTES = CHUNK_BYTES + 262_144;

/**
 * Bytes in a file without a name: it is removed as soon as it is open, so that nothing is left behind however the
 * process ends. The descriptor is closed with the object, or when that is collected.
 */
export class Spool {
  readonly #fd: number;
  #size = 0;
  #closed = false;
  /** Bytes on their way into the file, where they go, and memory for those after them. */
  #coming: Buffer = Buffer.of();
  #spare: Buffer = Buffer.of();
  #at = 0;
  #bytes = 0;
  /** Until the last batch is written; of a disk that failed for ever. */
  #writing: Promise<void> | undefined;

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
   * Takes bytes; a promise for when more may come. `flush` before they are read. An error of the disk may be told by a
   * later call.
   */
  writeAt(chunk: Uint8Array, at: number): Promise<void> | undefined {
    this.#size = Math.max(this.#size, at + chunk.length);
    if (this.#coming.length === 0) this.#coming = Buffer.allocUnsafeSlow(ROOM_BYTES);
    if (at !== this.#at + this.#bytes || chunk.length > ROOM_BYTES - this.#bytes)
      return this.#writeApart(Buffer.from(chunk), at);
    this.#coming.set(chunk, this.#bytes);
    this.#bytes += chunk.length;
    if (this.#bytes < CHUNK_BYTES) return undefined;
    if (this.#writing) return this.#write();
    this.#begin();
    return undefined;
  }

  /** Until all bytes are in the file. */
  async flush(): Promise<void> {
    await this.#write();
    await this.#writing;
    this.#coming = Buffer.of();
    this.#spare = Buffer.of();
  }

  /** Bytes that do not go on where the last ones ended, or are too many at once. */
  async #writeApart(bytes: Buffer, at: number): Promise<void> {
    await this.#write();
    await this.#writing;
    await writeAll(this.#fd, bytes, at);
    this.#at = at + bytes.length;
  }

  async #write(): Promise<void> {
    await this.#writing;
    if (this.#bytes > 0) this.#begin();
  }

  #begin(): void {
    const whole = this.#coming;
    const batch = whole.subarray(0, this.#bytes);
    const write = async (at: number): Promise<void> => {
      await writeAll(this.#fd, batch, at);
      this.#writing = undefined;
    };
    this.#writing = write(this.#at);
    this.#writing.catch(() => undefined); // whoever waits for it next is told
    this.#coming = this.#spare.length === 0 ? Buffer.allocUnsafeSlow(ROOM_BYTES) : this.#spare;
    this.#spare = whole;
    this.#at += batch.length;
    this.#bytes = 0;
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
    await this.#writing?.catch(() => undefined); // who writes was told
    await closeAsync(this.#fd);
  }

  #check(): void {
    if (this.#closed) throw new Error("the fetched data is closed");
  }
}

const forgotten = new FinalizationRegistry<number>((fd) => closeSync(fd));

/** A write may be short: the rest follows, or the error of a full disk comes. */
async function writeAll(fd: number, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;)
    done += (await writeAsync(fd, bytes, done, bytes.length - done, at + done)).bytesWritten;
}
