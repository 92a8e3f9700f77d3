const newline = 0x0a;

/** Puts a prefix before each line of a stream of bytes; what comes is passed on line by line. */
export class LinePrefixer {
  readonly #prefix: Uint8Array;
  /** What came of a line that has not ended. */
  #rest: Buffer = Buffer.alloc(0);

  constructor(prefix: string) {
    this.#prefix = Buffer.from(prefix);
  }

  /** The whole lines, prefixed. A line that does not end is passed on in pieces of 64 KiB at most. */
  push(bytes: Uint8Array): Buffer {
    const all = Buffer.concat([this.#rest, bytes]);
    const parts: Uint8Array[] = [];
    let start = 0;
    for (let end = all.indexOf(newline); end >= 0; end = all.indexOf(newline, start)) {
      parts.push(this.#prefix, all.subarray(start, end + 1));
      start = end + 1;
    }
    this.#rest = all.subarray(start);
    if (this.#rest.length > longestLine) parts.push(this.end());
    return Buffer.concat(parts);
  }

  /** The last line, which has no end of its own. */
  end(): Buffer {
    const rest = this.#rest;
    this.#rest = Buffer.alloc(0);
    return rest.length === 0 ? rest : Buffer.concat([this.#prefix, rest, Buffer.of(newline)]);
  }
}
const longestLine = 65_536;
