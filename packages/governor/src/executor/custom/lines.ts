const NEWLINE = 0x0a;

/** Cuts a stream of bytes into lines. `onTooLong` is called once, and nothing after it. */
export class LineReader {
  readonly #limit: number;
  readonly #onLine: (line: string) => void;
  readonly #onTooLong: () => void;
  #parts: Buffer[] = [];
  #length = 0;
  #over = false;

  constructor(limit: number, onLine: (line: string) => void, onTooLong: () => void) {
    this.#limit = limit;
    this.#onLine = onLine;
    this.#onTooLong = onTooLong;
  }

  push(bytes: Buffer): void {
    for (let at = 0; at < bytes.length && !this.#over;) {
      const end = bytes.indexOf(NEWLINE, at);
      const part = bytes.subarray(at, end === -1 ? bytes.length : end);
      this.#parts.push(part);
      this.#length += part.length;
      if (this.#length > this.#limit) {
        this.#over = true;
        this.#parts = [];
        this.#onTooLong();
        return;
      }
      if (end === -1) return;
      const line = Buffer.concat(this.#parts).toString("utf8");
      this.#parts = [];
      this.#length = 0;
      this.#onLine(line);
      at = end + 1;
    }
  }
}
