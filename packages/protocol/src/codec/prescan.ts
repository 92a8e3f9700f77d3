import { randomInt } from "node:crypto";
import { RainError } from "../errors.ts";
import { forbiddenKeys, messageBounds, type Bounds } from "./bounds.ts";
import { validUtf8 } from "./utf8.ts";

/**
 * Walks the structure of msgpack bytes before anything is built from them, so that a hostile message costs its own
 * length and no more: no recursion, nothing allocated but the list of the open maps' keys.
 * Throws RainError("bad-message") with the problem and its byte offset.
 */
export function prescan(bytes: Uint8Array, bounds: Bounds = messageBounds): void {
  new Scanner(bytes, bounds).run();
}

/** Not known to a sender, so that it cannot prepare keys that collide. */
const hashSeed = randomInt(2 ** 32);
/** More keys of one map with the same 32-bit hash than chance could give. */
const MAX_COLLISIONS = 16;
/** Above this number of keys, sorting is cheaper than comparing each with each. */
const PAIRWISE_KEYS = 12;
/** Factor that puts a key's index below its hash in one exact number. */
const INDEX_SPACE = 2 ** 21;

class Scanner {
  readonly #bytes: Uint8Array;
  readonly #bounds: Bounds;
  #at = 0;
  #items = 1;
  #depth = 0;
  // One entry for each open container: values (and keys) still to come, and where a map's keys start in the list.
  readonly #left: number[] = [0];
  readonly #firstKey: number[] = [-1];
  // Keys of the open maps, innermost last.
  readonly #keyStarts: number[] = [];
  readonly #keyEnds: number[] = [];
  readonly #keyHashes: number[] = [];
  #keys = 0;

  constructor(bytes: Uint8Array, bounds: Bounds) {
    this.#bytes = bytes;
    this.#bounds = bounds;
  }

  run(): void {
    const { length } = this.#bytes;
    if (length > this.#bounds.bytes) this.#fail(0, `${length} bytes; at most ${this.#bounds.bytes}`);
    this.#value();
    while (this.#depth > 0) {
      const left = this.#left[this.#depth] ?? 0;
      if (left === 0) {
        this.#leave();
        continue;
      }
      this.#left[this.#depth] = left - 1;
      // A map holds an even number of things: an even number left means that a key is next.
      if ((this.#firstKey[this.#depth] ?? 0) >= 0 && left % 2 === 0) this.#key();
      else this.#value();
    }
    if (this.#at !== length) this.#fail(this.#at, `${length - this.#at} bytes after the end of the message`);
  }

  #value(): void {
    const token = this.#token();
    if (token < 0x80 || token >= 0xe0) this.#skip(1);
    else if (token < 0x90) this.#enter(1, token & 0x0f, true);
    else if (token < 0xa0) this.#enter(1, token & 0x0f, false);
    else if (token < 0xc0) this.#text(1, token & 0x1f);
    else this.#tagged(token);
  }

  #tagged(token: number): void {
    switch (token) {
      case 0xc0: // nil
      case 0xc2: // false
      case 0xc3: // true
        return this.#skip(1);
      case 0xcc: // uint 8
      case 0xd0: // int 8
        return this.#skip(2);
      case 0xcd: // uint 16
      case 0xd1: // int 16
        return this.#skip(3);
      case 0xca: // float 32
      case 0xce: // uint 32
      case 0xd2: // int 32
        return this.#skip(5);
      case 0xcb: // float 64
      case 0xcf: // uint 64
      case 0xd3: // int 64
        return this.#skip(9);
      case 0xc4: // bin 8
      case 0xc5: // bin 16
      case 0xc6: // bin 32
        return this.#skip(1 + 2 ** (token - 0xc4) + this.#uint(2 ** (token - 0xc4)));
      case 0xd9: // str 8
      case 0xda: // str 16
      case 0xdb: // str 32
        return this.#text(1 + 2 ** (token - 0xd9), this.#uint(2 ** (token - 0xd9)));
      case 0xdc: // array 16
        return this.#enter(3, this.#uint(2), false);
      case 0xdd: // array 32
        return this.#enter(5, this.#uint(4), false);
      case 0xde: // map 16
        return this.#enter(3, this.#uint(2), true);
      case 0xdf: // map 32
        return this.#enter(5, this.#uint(4), true);
      case 0xc1:
        return this.#fail(this.#at, "byte c1, which msgpack never uses");
      default: // c7-c9, d4-d8
        return this.#fail(this.#at, "an extension type; none is allowed");
    }
  }

  #token(): number {
    const token = this.#bytes[this.#at];
    return token ?? this.#fail(this.#at, "ends in the middle");
  }

  /** The number in the `size` bytes after the current one, big-endian. */
  #uint(size: number): number {
    let value = 0;
    for (let i = 1; i <= size; i++)
      value = value * 256 + (this.#bytes[this.#at + i] ?? this.#fail(this.#at, "ends in the middle"));
    return value;
  }

  #skip(length: number): void {
    const left = this.#bytes.length - this.#at;
    if (length > left) this.#fail(this.#at, `a value of ${length} bytes where only ${left} are left`);
    this.#at += length;
  }

  /** Passes a text of `length` bytes after `header` bytes. */
  #text(header: number, length: number): void {
    const at = this.#at;
    if (length > this.#bounds.stringBytes)
      this.#fail(at, `a text of ${length} bytes; at most ${this.#bounds.stringBytes}`);
    this.#skip(header + length);
    if (!validUtf8(this.#bytes, at + header, this.#at)) this.#fail(at, "a text that is not valid UTF-8");
  }

  #enter(header: number, count: number, map: boolean): void {
    const at = this.#at;
    const things = map ? count * 2 : count;
    this.#skip(header);
    const left = this.#bytes.length - this.#at;
    const what = map ? "a map" : "a list";
    if (things > left) this.#fail(at, `${what} of ${count} entries where only ${left} bytes are left`);
    if (map && count > this.#bounds.mapKeys)
      this.#fail(at, `a map of ${count} keys; at most ${this.#bounds.mapKeys}`);
    this.#items += things;
    if (this.#items > this.#bounds.items) this.#fail(at, `more than ${this.#bounds.items} values`);
    if (this.#depth >= this.#bounds.depth) this.#fail(at, `nested deeper than ${this.#bounds.depth}`);
    this.#depth++;
    this.#left[this.#depth] = things;
    this.#firstKey[this.#depth] = map ? this.#keys : -1;
  }

  #leave(): void {
    const first = this.#firstKey[this.#depth] ?? 0;
    this.#depth--;
    if (first < 0) return;
    if (this.#keys - first > PAIRWISE_KEYS) this.#checkManyKeys(first);
    else this.#checkFewKeys(first);
    this.#keys = first;
  }

  #key(): void {
    const at = this.#at;
    const token = this.#token();
    let header = 1;
    if (token >= 0xa0 && token < 0xc0) this.#text(1, token & 0x1f);
    else if (token >= 0xd9 && token <= 0xdb) {
      header += 2 ** (token - 0xd9);
      this.#text(header, this.#uint(header - 1));
    } else this.#fail(at, "a map key that is not a text");
    this.#rememberKey(at + header, this.#at);
  }

  #rememberKey(start: number, end: number): void {
    let hash = hashSeed;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ (this.#bytes[i] ?? 0), 0x01000193);
    if (end - start >= 9 && end - start <= 11) {
      const name = String.fromCharCode(...this.#bytes.subarray(start, end));
      if (forbiddenKeys.has(name)) this.#fail(start, `a map key ${name}, which is not allowed`);
    }
    this.#keyStarts[this.#keys] = start;
    this.#keyEnds[this.#keys] = end;
    this.#keyHashes[this.#keys] = hash >>> 0;
    this.#keys++;
  }

  #checkFewKeys(first: number): void {
    for (let a = first; a < this.#keys; a++) for (let b = a + 1; b < this.#keys; b++) this.#checkPair(a, b);
  }

  #checkManyKeys(first: number): void {
    const sorted = Float64Array.from(
      { length: this.#keys - first },
      (_, i) => (this.#keyHashes[first + i] ?? 0) * INDEX_SPACE + i,
    ).toSorted();
    let run = 0;
    for (let i = 1; i < sorted.length; i++) {
      const same = hashOf(sorted[i]) === hashOf(sorted[i - 1]);
      run = same ? run + 1 : 0;
      if (run > MAX_COLLISIONS) this.#fail(this.#keyStarts[first] ?? 0, "map keys made to collide");
      for (let back = 1; back <= run; back++)
        this.#checkPair(first + indexOf(sorted[i - back]), first + indexOf(sorted[i]));
    }
  }

  #checkPair(a: number, b: number): void {
    if (this.#keyHashes[a] !== this.#keyHashes[b]) return;
    const one = this.#bytes.subarray(this.#keyStarts[a], this.#keyEnds[a]);
    const other = this.#bytes.subarray(this.#keyStarts[b], this.#keyEnds[b]);
    if (one.length === other.length && one.every((byte, i) => byte === other[i]))
      this.#fail(this.#keyStarts[b] ?? 0, "a map key that is there twice");
  }

  #fail(offset: number, problem: string): never {
    throw new RainError("bad-message", `The message is not acceptable at byte ${offset}: ${problem}.`, {
      offset,
    });
  }
}

const hashOf = (entry: number | undefined): number => Math.floor((entry ?? 0) / INDEX_SPACE);
const indexOf = (entry: number | undefined): number => (entry ?? 0) % INDEX_SPACE;
