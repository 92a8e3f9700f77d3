import { Buffer, isUtf8 } from "node:buffer";
import { RainError } from "../errors.ts";
import { shown } from "./names.ts";
import { readPax, type PaxRecords } from "./pax.ts";
import type { EntryKind, TreeLimits } from "./types.ts";

const BLOCK = 512;
const ZEROS = Buffer.alloc(BLOCK);
const MAGIC = Buffer.from("ustar\x0000", "latin1");
/** Types that a tar may hold and a tree may not. */
const refusedTypes: Readonly<Record<string, string>> = {
  "1": "a hard link",
  "3": "a character device",
  "4": "a block device",
  "6": "a FIFO",
  "7": "a contiguous file",
  S: "a sparse file",
  L: "a GNU long name",
  K: "a GNU long link name",
  g: "a global extended header",
};

/** What the guard read in one header: the facts that tar-stream must come to as well. */
export interface GuardedHeader {
  readonly path: string;
  readonly kind: EntryKind;
  readonly size: number;
}

type State =
  | { readonly at: "header" }
  | { readonly at: "pax"; readonly parts: Buffer[]; left: number; readonly size: number }
  | { readonly at: "body"; left: number }
  | { readonly at: "second-zero" }
  | { readonly at: "end" };

/**
 * Reads the bytes of a tar ahead of tar-stream and lets through only the strict POSIX form: exact octal fields and
 * checksums, known types, well-formed extended headers, no data behind folders and links, two zero blocks at the end and
 * nothing after them. What comes through has one meaning, so tar-stream cannot hang on it or read it differently.
 */
export class TarGuard {
  readonly #limits: TreeLimits;
  readonly #onHeader: (header: GuardedHeader) => void;
  #state: State = { at: "header" };
  #pax: PaxRecords | undefined;
  readonly #block: Buffer = Buffer.alloc(BLOCK);
  #filled = 0;
  #bytes = 0;
  #entries = 0;
  #last = "";

  constructor(limits: TreeLimits, onHeader: (header: GuardedHeader) => void = () => undefined) {
    this.#limits = limits;
    this.#onHeader = onHeader;
  }

  /** Entries so far. */
  get entries(): number {
    return this.#entries;
  }
  /** Path of the last entry that was begun, "" before the first. */
  get lastPath(): string {
    return this.#last;
  }

  /** Takes the next bytes of the tar. Throws RainError("bad-file" or "limit-exceeded") that names the entry. */
  push(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#limits.bytes)
      throw tooMuch(`the tar is larger than ${this.#limits.bytes} bytes`, this.#limits.bytes);
    for (let at = 0; at < chunk.length;) {
      const state = this.#state;
      if (state.at === "body") {
        const taken = Math.min(state.left, chunk.length - at);
        state.left -= taken;
        at += taken;
        if (state.left === 0) this.#state = { at: "header" };
      } else if (state.at === "pax") {
        at += this.#takePax(state, chunk.subarray(at));
      } else at += this.#takeBlock(chunk, at);
    }
  }

  /** To be called at the end of the bytes. Throws RainError("bad-file") when the tar is not complete there. */
  end(): void {
    if (this.#state.at === "end" && this.#filled === 0) return;
    throw bad(
      this.#last === ""
        ? "the tar ends before its first entry is complete"
        : `the tar is cut off at or after entry ${shown(this.#last)}`,
      this.#last,
    );
  }

  #takeBlock(chunk: Buffer, at: number): number {
    if (this.#state.at === "end")
      throw bad(`the tar has bytes after its end (last entry ${shown(this.#last)})`, this.#last);
    if (this.#filled === 0 && chunk.length - at >= BLOCK) {
      this.#header(chunk.subarray(at, at + BLOCK));
      return BLOCK;
    }
    const taken = Math.min(BLOCK - this.#filled, chunk.length - at);
    chunk.copy(this.#block, this.#filled, at, at + taken);
    this.#filled += taken;
    if (this.#filled === BLOCK) {
      this.#filled = 0;
      this.#header(this.#block);
    }
    return taken;
  }

  #takePax(state: Extract<State, { at: "pax" }>, chunk: Buffer): number {
    const taken = Math.min(state.left, chunk.length);
    state.parts.push(Buffer.from(chunk.subarray(0, taken)));
    state.left -= taken;
    if (state.left > 0) return taken;
    const records = readPax(Buffer.concat(state.parts).subarray(0, state.size));
    if (typeof records === "string") throw bad(`the entry after ${shown(this.#last)} ${records}`, this.#last);
    this.#pax = records;
    this.#state = { at: "header" };
    return taken;
  }

  #header(block: Buffer): void {
    if (block.equals(ZEROS)) return this.#zeros();
    if (this.#state.at === "second-zero")
      throw bad(`the tar has an entry after a zero block (last entry ${shown(this.#last)})`, this.#last);
    const where = this.#last === "" ? "the first header" : `the header after entry ${shown(this.#last)}`;
    if (block.compare(MAGIC, 0, MAGIC.length, 257, 265) !== 0)
      throw bad(`${where} is not of a POSIX tar (ustar or PAX)`, this.#last);
    if (octal(block, 148, 8) !== checksum(block)) throw bad(`${where} has a wrong checksum`, this.#last);
    const type = block[156] === 0 ? "0" : String.fromCharCode(block[156] ?? 0);
    const path = this.#pax?.path ?? headerPath(block);
    if (path === undefined || !isUtf8(field(block, 157, 100)))
      throw bad(`${where} has a name that is not valid UTF-8`, this.#last);
    const size = octal(block, 124, 12);
    if (size === undefined) throw bad(`entry ${shown(path)} has a malformed size`, path);
    if (octal(block, 100, 8) === undefined) throw bad(`entry ${shown(path)} has a malformed mode`, path);
    if (type === "x") this.#beginPax(path, size);
    else this.#beginEntry(path, type, size);
  }

  #zeros(): void {
    if (this.#pax !== undefined)
      throw bad(
        `the tar ends with an extended header without its entry (after ${shown(this.#last)})`,
        this.#last,
      );
    this.#state = this.#state.at === "second-zero" ? { at: "end" } : { at: "second-zero" };
  }

  #beginPax(path: string, size: number): void {
    if (this.#pax !== undefined) throw bad(`two extended headers before one entry, ${shown(path)}`, path);
    if (size > this.#limits.paxBytes)
      throw tooMuch(
        `the extended header after entry ${shown(this.#last)} has ${size} bytes; ${this.#limits.paxBytes} are allowed`,
        this.#limits.paxBytes,
      );
    if (size === 0) throw bad(`the extended header after entry ${shown(this.#last)} is empty`, this.#last);
    this.#state = { at: "pax", parts: [], left: padded(size), size };
  }

  #beginEntry(path: string, type: string, headerSize: number): void {
    const kind = type === "0" ? "file" : type === "5" ? "directory" : type === "2" ? "link" : undefined;
    if (kind === undefined) {
      const what = refusedTypes[type] ?? `of the unknown type ${JSON.stringify(type)}`;
      throw bad(`entry ${shown(path)} is ${what}; only files, folders and symbolic links are accepted`, path);
    }
    const size = this.#pax?.size ?? headerSize;
    if (headerSize !== 0 && headerSize !== size)
      throw bad(`entry ${shown(path)} has two sizes, ${headerSize} and ${size} bytes`, path);
    if (kind !== "file" && size !== 0)
      throw bad(`entry ${shown(path)} is a ${kind} and yet has ${size} bytes of data`, path);
    if (size > this.#limits.bytes)
      throw tooMuch(
        `entry ${shown(path)} has ${size} bytes, more than the ${this.#limits.bytes} that the tar may have`,
        this.#limits.bytes,
      );
    if (++this.#entries > this.#limits.entries)
      throw tooMuch(
        `the tar has more than ${this.#limits.entries} entries, at ${shown(path)}`,
        this.#limits.entries,
      );
    this.#pax = undefined;
    this.#last = path;
    if (size > 0) this.#state = { at: "body", left: padded(size) };
    this.#onHeader({ path, kind, size });
  }
}

const bad = (message: string, entry: string): RainError =>
  new RainError(
    "bad-file",
    `not a tree of Rain: ${message}`,
    entry === "" ? {} : { entry: entry.slice(0, 300) },
  );
const tooMuch = (message: string, limit: number): RainError =>
  new RainError("limit-exceeded", `tree: ${message}`, { limit });

const padded = (size: number): number => Math.ceil(size / BLOCK) * BLOCK;

/** A text field: up to its first NUL. */
function field(block: Buffer, at: number, length: number): Buffer {
  const whole = block.subarray(at, at + length);
  const end = whole.indexOf(0);
  return end === -1 ? whole : whole.subarray(0, end);
}

function headerPath(block: Buffer): string | undefined {
  const name = field(block, 0, 100);
  const prefix = field(block, 345, 155);
  if (!isUtf8(name) || !isUtf8(prefix)) return undefined;
  return prefix.length === 0 ? name.toString("utf8") : `${prefix.toString("utf8")}/${name.toString("utf8")}`;
}

/** A number field: octal digits ended by spaces or NULs, or GNU's base-256 below 2^53. */
function octal(block: Buffer, at: number, length: number): number | undefined {
  if (block[at] === 0x80) {
    if (!block.subarray(at + 1, at + length - 6).equals(ZEROS.subarray(0, length - 7))) return undefined;
    const value = block.readUIntBE(at + length - 6, 6);
    return length >= 8 ? value : undefined;
  }
  let value = 0;
  let index = at;
  for (; index < at + length; index++) {
    const digit = (block[index] ?? 0) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  if (index === at) return undefined;
  for (; index < at + length; index++) if (block[index] !== 0 && block[index] !== 0x20) return undefined;
  return value;
}

function checksum(block: Buffer): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < 148; at++) sum += block[at] ?? 0;
  for (let at = 156; at < BLOCK; at++) sum += block[at] ?? 0;
  return sum;
}
