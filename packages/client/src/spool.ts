import { close, closeSync, openSync, read, readSync, unlinkSync, write } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { nanoid } from "nanoid";

const readAsync = promisify(read);
const writeAsync = promisify(write);
const closeAsync = promisify(close);
const CHUNK_BYTES = 262_144;

/**
 * Bytes in a file without a name: it is removed as soon as it is open, so that nothing is left behind however the
 * process ends. The descriptor is closed with the object, or when that is collected.
 */
export class Spool {
  readonly #fd: number;
  #size = 0;
  #closed = false;

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

  async writeAt(chunk: Uint8Array, at: number): Promise<void> {
    // A write may be short: the rest follows, or the error of a full disk comes.
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await writeAsync(this.#fd, chunk, done, chunk.length - done, at + done);
      done += bytesWritten;
    }
    this.#size = Math.max(this.#size, at + chunk.length);
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
    await closeAsync(this.#fd);
  }

  #check(): void {
    if (this.#closed) throw new Error("the fetched data is closed");
  }
}

const forgotten = new FinalizationRegistry<number>((fd) => closeSync(fd));
