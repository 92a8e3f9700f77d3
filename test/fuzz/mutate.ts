import type { Random } from "./random.ts";

/** Makes mutants of bytes in a memory of its own: what `mutate` returns is good until its next call. */
export class Mutator {
  readonly #bytes: Buffer;
  readonly #corpus: readonly Uint8Array[];
  readonly #interesting: readonly number[];
  #size = 0;

  /** `interesting`: byte values that mean something in this format. Mutants have at most `maxBytes`. */
  constructor(corpus: readonly Uint8Array[], interesting: readonly number[], maxBytes: number) {
    this.#corpus = corpus;
    this.#interesting = interesting;
    this.#bytes = Buffer.alloc(maxBytes);
  }

  /** A mutant of one of the corpus, with one change or a few. */
  mutate(random: Random): Buffer {
    return this.of(random.pick(this.#corpus), random);
  }

  of(original: Uint8Array, random: Random): Buffer {
    this.#size = Math.min(original.length, this.#bytes.length);
    this.#bytes.set(original.subarray(0, this.#size));
    do this.#change(random);
    while (random.oneIn(2));
    return this.#bytes.subarray(0, this.#size);
  }

  #change(random: Random): void {
    const bytes = this.#bytes;
    const size = this.#size;
    const at = random.below(size);
    switch (random.below(12)) {
      case 0:
      case 1:
        if (size > 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
        break;
      case 2:
        if (size > 0) bytes[at] = random.below(256);
        break;
      case 3:
      case 4:
      case 5:
        if (size > 0) bytes[at] = random.pick(this.#interesting);
        break;
      case 6: // a number of 2 or 4 bytes at an edge
        this.#number(at, random);
        break;
      case 7:
        this.#size = at;
        break;
      case 8: // a piece goes
        this.#splice(at, random.below(Math.min(16, size - at)), undefined);
        break;
      case 9: // a piece comes a second time
        this.#splice(at, 0, Buffer.from(bytes.subarray(at, at + 1 + random.below(16))));
        break;
      case 10: // a piece of another
        this.#graft(at, random);
        break;
      default: {
        const added = Buffer.alloc(1 + random.below(5), random.pick(this.#interesting));
        this.#splice(at, 0, added);
      }
    }
  }

  #number(at: number, random: Random): void {
    const value = random.pick([0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x10_0000]);
    if (at + 4 <= this.#size && random.oneIn(2)) this.#bytes.writeUInt32BE(value, at);
    else if (at + 2 <= this.#size) this.#bytes.writeUInt16BE(value & 0xffff, at);
  }

  #graft(at: number, random: Random): void {
    const other = random.pick(this.#corpus);
    const from = random.below(other.length);
    const piece = other.subarray(from, from + random.below(64));
    this.#splice(at, random.oneIn(2) ? Math.min(piece.length, this.#size - at) : 0, piece);
  }

  /** Takes `remove` bytes out at `at` and puts `added` there. */
  #splice(at: number, remove: number, added: Uint8Array | undefined): void {
    const more = added?.length ?? 0;
    if (this.#size - remove + more > this.#bytes.length) return;
    this.#bytes.copyWithin(at + more, at + remove, this.#size);
    if (added !== undefined) this.#bytes.set(added, at);
    this.#size += more - remove;
  }
}
