/**
 * Plain values as bytes and back, for what is kept of many settled tasks: numbers, texts, booleans, null, bytes, lists
 * and records. A field that is undefined is left out. Names of fields are numbers into a table that grows with use.
 * In memory only: nothing of it reaches a disk or another process.
 */

const NULL = 0;
const FALSE = 1;
const TRUE = 2;
/** 0 to 2^32 - 1, 7 bits a byte. */
const WHOLE = 3;
const DOUBLE = 4;
const ASCII = 5;
const WIDE = 6;
/** 64 lower-case hex digits. */
const DIGEST = 7;
const BYTES = 8;
const LIST = 9;
const RECORD = 10;
/** Up to 2^32 - 1. */
const MAX_WHOLE = 0xffff_ffff;

/** The names of fields, by their number. */
export class FieldNames {
  readonly #numbers: Map<string, number> = new Map();
  readonly names: string[] = [];
  numberOf(name: string): number {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.names.push(name) - 1;
      this.#numbers.set(name, number);
    }
    return number;
  }
}

/** Writes one value after another into a buffer of its own; `take` gives its bytes until the next `begin`. */
export class ByteWriter {
  readonly #fields: FieldNames;
  #bytes: Uint8Array = new Uint8Array(4_096);
  #view: DataView = new DataView(this.#bytes.buffer);
  #at = 0;

  constructor(fields: FieldNames) {
    this.#fields = fields;
  }

  /** One byte and then those of a value; they are of this writer until the next call. */
  write(head: number, value: unknown): Uint8Array {
    this.#bytes[0] = head;
    this.#at = 1;
    this.#value(value);
    return this.#bytes.subarray(0, this.#at);
  }

  #room(more: number): void {
    if (this.#at + more <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + more));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
  #whole(value: number): void {
    this.#room(5);
    let rest = value;
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#at++] = rest;
  }
  #tag(tag: number): void {
    this.#room(1);
    this.#bytes[this.#at++] = tag;
  }

  #value(value: unknown): void {
    if (value === null || value === undefined) this.#tag(NULL);
    else if (typeof value === "boolean") this.#tag(value ? TRUE : FALSE);
    else if (typeof value === "number") this.#number(value);
    else if (typeof value === "string") this.#text(value);
    else if (value instanceof Uint8Array) {
      this.#tag(BYTES);
      this.#whole(value.length);
      this.#room(value.length);
      this.#bytes.set(value, this.#at);
      this.#at += value.length;
    } else if (Array.isArray(value)) {
      this.#tag(LIST);
      this.#whole(value.length);
      for (const each of value) this.#value(each);
    } else this.#record(value);
  }
  #number(value: number): void {
    if (value >= 0 && value <= MAX_WHOLE && Number.isInteger(value) && !Object.is(value, -0)) {
      this.#tag(WHOLE);
      this.#whole(value);
      return;
    }
    this.#room(9);
    this.#bytes[this.#at++] = DOUBLE;
    this.#view.setFloat64(this.#at, value);
    this.#at += 8;
  }
  #record(value: object): void {
    this.#tag(RECORD);
    const record = value as Readonly<Record<string, unknown>>;
    let count = 0;
    for (const name in record) if (record[name] !== undefined) count++;
    this.#whole(count);
    for (const name in record) {
      const each = record[name];
      if (each === undefined) continue;
      this.#whole(this.#fields.numberOf(name));
      this.#value(each);
    }
  }
  #text(value: string): void {
    if (value.length === 64 && this.#digest(value)) return;
    this.#room(2 * value.length + 6);
    const start = this.#at;
    this.#bytes[this.#at++] = ASCII;
    this.#whole(value.length);
    for (let at = 0; at < value.length; at++) {
      const code = value.charCodeAt(at);
      if (code > 0x7f) {
        this.#at = start;
        return this.#wide(value);
      }
      this.#bytes[this.#at++] = code;
    }
  }
  #wide(value: string): void {
    this.#bytes[this.#at++] = WIDE;
    this.#whole(value.length);
    for (let at = 0; at < value.length; at++, this.#at += 2)
      this.#view.setUint16(this.#at, value.charCodeAt(at));
  }
  #digest(value: string): boolean {
    this.#room(33);
    const start = this.#at;
    this.#bytes[this.#at++] = DIGEST;
    for (let at = 0; at < 64; at += 2) {
      const high = hexDigit(value.charCodeAt(at));
      const low = hexDigit(value.charCodeAt(at + 1));
      if (high < 0 || low < 0) {
        this.#at = start;
        return false;
      }
      this.#bytes[this.#at++] = high * 16 + low;
    }
    return true;
  }
}

const hexDigit = (code: number): number =>
  code >= 0x30 && code <= 0x39 ? code - 0x30 : code >= 0x61 && code <= 0x66 ? code - 0x57 : -1;
const hexPairs: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, "0"),
);

/** Reads what a `ByteWriter` with the same names wrote. Bytes inside are copied. */
export function readBytes(bytes: Uint8Array, fields: FieldNames): unknown {
  return new ByteReader(bytes, fields).value();
}

class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fields: FieldNames;
  #at = 0;

  constructor(bytes: Uint8Array, fields: FieldNames) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fields = fields;
  }

  value(): unknown {
    const tag = this.#bytes[this.#at++];
    switch (tag) {
      case NULL:
        return null;
      case FALSE:
        return false;
      case TRUE:
        return true;
      case WHOLE:
        return this.#whole();
      case DOUBLE:
        this.#at += 8;
        return this.#view.getFloat64(this.#at - 8);
      case ASCII:
        return this.#text(this.#whole(), 1);
      case WIDE:
        return this.#text(this.#whole(), 2);
      case DIGEST: {
        let text = "";
        for (const end = this.#at + 32; this.#at < end; this.#at++)
          text += hexPairs[this.#bytes[this.#at] ?? 0];
        return text;
      }
      case BYTES: {
        const length = this.#whole();
        this.#at += length;
        return this.#bytes.slice(this.#at - length, this.#at);
      }
      case LIST:
        return Array.from({ length: this.#whole() }, () => this.value());
      case RECORD: {
        const record: Record<string, unknown> = {};
        for (let left = this.#whole(); left > 0; left--) {
          const name = this.#fields.names[this.#whole()] ?? "";
          record[name] = this.value();
        }
        return record;
      }
      case undefined:
      default:
        throw new Error(`byte ${this.#at - 1} of a settled task is no value: ${tag}`);
    }
  }
  #whole(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }
  #text(length: number, width: 1 | 2): string {
    const codes: number[] = [];
    let text = "";
    for (let left = length; left > 0; left--, this.#at += width) {
      codes.push(width === 1 ? (this.#bytes[this.#at] ?? 0) : this.#view.getUint16(this.#at));
      if (codes.length < 4_096 && left > 1) continue;
      text += String.fromCharCode(...codes);
      codes.length = 0;
    }
    return text;
  }
}

const SLAB_BYTES = 1_048_576;
/** Before each piece: how long it is, and how much room it has. */
const HEAD_BYTES = 8;

interface Slab {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Many small pieces of bytes in a few large buffers. */
export class Slabs {
  readonly #slabs: Slab[] = [];
  #used = SLAB_BYTES;

  /** Keeps a copy; answers where it is, from 1. `at`: the place of the piece that it takes the place of. */
  put(piece: Uint8Array, at?: number): number {
    if (at !== undefined) {
      const offset = offsetOf(at);
      const slab = this.#slabOf(at);
      if (slab.view.getUint32(offset + 4) >= piece.length) {
        write(slab, offset, piece);
        return at;
      }
    }
    const size = HEAD_BYTES + piece.length;
    if (this.#used + size > SLAB_BYTES) {
      // A piece that is too large for a slab has one of its own.
      const bytes = new Uint8Array(Math.max(SLAB_BYTES, size));
      this.#slabs.push({ bytes, view: new DataView(bytes.buffer) });
      this.#used = 0;
    }
    const place = (this.#slabs.length - 1) * SLAB_BYTES + this.#used + 1;
    const offset = this.#used;
    this.#used += size;
    const slab = this.#slabOf(place);
    slab.view.setUint32(offset + 4, piece.length);
    write(slab, offset, piece);
    return place;
  }

  /** The first byte of a piece. */
  head(at: number): number {
    return this.#slabOf(at).bytes[offsetOf(at) + HEAD_BYTES] ?? 0;
  }

  /** The bytes themselves: to be read before the next `put`. */
  get(at: number): Uint8Array {
    const { bytes, view } = this.#slabOf(at);
    const offset = offsetOf(at);
    const start = offset + HEAD_BYTES;
    return bytes.subarray(start, start + view.getUint32(offset));
  }

  #slabOf(at: number): Slab {
    const slab = this.#slabs[Math.floor((at - 1) / SLAB_BYTES)];
    if (!slab) throw new Error(`nothing is kept at ${at}`);
    return slab;
  }
}

const offsetOf = (at: number): number => (at - 1) % SLAB_BYTES;

function write({ bytes, view }: Slab, offset: number, piece: Uint8Array): void {
  view.setUint32(offset, piece.length);
  bytes.set(piece, offset + HEAD_BYTES);
}
