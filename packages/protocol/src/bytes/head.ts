import { limits } from "../limits.ts";

/** The head of an HTTP answer. */
export interface Head {
  readonly status: number;
  /** By name in small letters. */
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes of the body; undefined when it comes in another form than a plain number of bytes. */
  readonly length: number | undefined;
}

const statusLine = /^HTTP\/1\.1 ([2-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const headerLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/;

/** Reads a head as it comes. It takes the strict form only; every other is an error. */
export class HeadReader {
  readonly #parts: Buffer[] = [];
  #bytes = 0;

  /** The head, once it is whole, and the bytes of the chunk that are behind it. Throws for what is none. */
  push(chunk: Buffer): { readonly head: Head; readonly rest: Buffer } | undefined {
    const before = this.#bytes;
    this.#parts.push(Buffer.from(chunk.subarray(0, limits.headerBytes)));
    this.#bytes += chunk.length;
    const text = Buffer.concat(this.#parts).toString("latin1");
    const end = text.indexOf("\r\n\r\n");
    if (end < 0 && this.#bytes <= limits.headerBytes) return undefined;
    if (end < 0) throw bad(`its head has more than ${limits.headerBytes} bytes`);
    return { head: parseHead(text.slice(0, end)), rest: chunk.subarray(end + 4 - before) };
  }
}

const bad = (why: string): Error =>
  Object.assign(new Error(`the answer is not HTTP: ${why}`), { code: "HPE_INVALID" });

function parseHead(text: string): Head {
  const [first = "", ...lines] = text.split("\r\n");
  const status = statusLine.exec(first)?.[1];
  if (status === undefined) throw bad(`it begins with ${JSON.stringify(first.slice(0, 100))}`);
  if (lines.length > limits.headerCount) throw bad(`it has more than ${limits.headerCount} headers`);
  const headers: Record<string, string> = Object.create(null);
  for (const line of lines) {
    const [, name, value] = headerLine.exec(line) ?? [];
    if (name === undefined || value === undefined) throw bad("a line of its head is no header");
    const key = name.toLowerCase();
    if (key in headers && (key === "content-length" || key === "content-range"))
      throw bad(`it has two headers ${key}`);
    headers[key] = value.trimEnd();
  }
  const length = headers["content-length"];
  if (length !== undefined && !/^\d{1,15}$/.test(length)) throw bad("its content-length is no number");
  const isPlain = length !== undefined && headers["transfer-encoding"] === undefined;
  return { status: Number(status), headers, length: isPlain ? Number(length) : undefined };
}
