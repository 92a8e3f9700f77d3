import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import { errorCode } from "../../monitor/errno.ts";
import { Lines } from "./lines.ts";

const CHUNK_BYTES = 65_536;
// A program may put anything in the place of its files: no link is followed, and a FIFO is not waited for.
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Reads what is new in a file that grows, line by line. One that became shorter is read from its start again. */
export class Tail {
  readonly #path: string;
  readonly #longest: number;
  readonly #onLine: (line: string) => void;
  #lines: Lines;
  #offset = 0;
  /** Bytes that were passed over. */
  skipped = 0;

  constructor(path: string, longest: number, onLine: (line: string) => void) {
    this.#path = path;
    this.#longest = longest;
    this.#onLine = onLine;
    this.#lines = new Lines(longest);
  }

  /** Reads up to so many bytes. Answers how many they were. */
  async look(maxBytes: number): Promise<number> {
    const bytes = await this.#read(maxBytes, false);
    this.#tell(this.#lines.look());
    return bytes;
  }

  /** Nobody writes to the file any more: reads the rest of it, or of a long rest the last so many bytes. */
  async end(maxBytes: number): Promise<void> {
    await this.#read(maxBytes, true);
    this.#tell(this.#lines.end());
  }

  async #read(maxBytes: number, isLast: boolean): Promise<number> {
    const file = await open(this.#path, READ).catch((error: unknown) => {
      if (["ENOENT", "ELOOP", "ENXIO"].includes(errorCode(error) ?? "")) return undefined;
      throw error;
    });
    if (file === undefined) return 0;
    try {
      const found = await file.stat();
      if (!found.isFile()) return 0;
      if (found.size < this.#offset) this.#begin(0);
      if (isLast && found.size - this.#offset > maxBytes) {
        this.skipped += found.size - maxBytes - this.#offset;
        this.#begin(found.size - maxBytes);
      }
      const from = this.#offset;
      const end = Math.min(found.size, from + maxBytes);
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - from));
      while (this.#offset < end) {
        const length = Math.min(buffer.length, end - this.#offset);
        const { bytesRead } = await file.read(buffer, 0, length, this.#offset);
        if (bytesRead === 0) break;
        this.#offset += bytesRead;
        this.#tell(this.#lines.push(buffer.subarray(0, bytesRead)));
        if (this.#offset < end) await nextTurn();
      }
      return this.#offset - from;
    } finally {
      await file.close();
    }
  }

  #begin(offset: number): void {
    this.#offset = offset;
    this.#lines = new Lines(this.#longest);
  }

  #tell(lines: Iterable<string>): void {
    for (const line of lines) this.#onLine(line);
  }
}
