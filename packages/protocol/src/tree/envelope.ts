import type { Buffer } from "node:buffer";
import { createHash, type Hash } from "node:crypto";
import { RainError } from "../errors.ts";
import type { Tap } from "./read.ts";
import type { ExpectedTree, TreeEnvelope } from "./types.ts";

/** Measures the bytes of a tar as they pass, and refuses any that are not what the envelope says. */
export class EnvelopeTap implements Tap {
  readonly #expected: ExpectedTree | undefined;
  readonly #hash: Hash | undefined;
  #size = 0;
  #sha256 = "";

  constructor(expected?: ExpectedTree) {
    this.#expected = expected;
    // A quarter of the time that it takes to unpack a tree.
    if (expected === undefined || expected.sha256 !== undefined) this.#hash = createHash("sha256");
  }

  /** Of all bytes, once they have ended. */
  get measured(): TreeEnvelope {
    return { size: this.#size, sha256: this.#sha256 };
  }

  push(chunk: Buffer): void {
    this.#size += chunk.length;
    if (this.#expected !== undefined && this.#size > this.#expected.size)
      throw mismatch(`more than its ${this.#expected.size} bytes came`, this.#expected.size);
    this.#hash?.update(chunk);
  }

  end(): void {
    if (this.#hash) this.#sha256 = this.#hash.digest("hex");
    if (this.#expected === undefined) return;
    const { size, sha256 } = this.#expected;
    if (this.#size !== size) throw mismatch(`${this.#size} of its ${size} bytes came`, size);
    if (sha256 !== undefined && this.#sha256 !== sha256)
      throw mismatch(`its SHA-256 is ${this.#sha256}, not ${sha256}`, size);
  }
}

const mismatch = (what: string, size: number): RainError =>
  new RainError("bad-digest", `the tar of a tree is damaged or incomplete: ${what}; fetch it again`, {
    size,
  });
