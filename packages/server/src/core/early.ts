import { limits, type Digest } from "@rain/protocol";
import type { Kernel } from "./kernel.ts";
import { knows, type LiveGovernor } from "./live.ts";

/** Bytes that go to one governor ahead of their assignments at once; more of them so many milliseconds later. */
const BURST_BYTES = 16_777_216;
const BURST_MS = 2_000;

/**
 * Small inputs of one assignment that do not fit into it: their bytes go before it, many in a message, instead of one
 * request for each. Not more than a link takes in a while; the others are read from where they are.
 */
export class EarlyBytes {
  readonly #k: Kernel;
  readonly #governor: LiveGovernor;
  readonly #objects = new Map<Digest, Uint8Array>();
  #room: number;

  constructor(k: Kernel, governor: LiveGovernor) {
    this.#k = k;
    this.#governor = governor;
    const { at, bytes } = governor.early;
    const passed = ((k.now - at) / BURST_MS) * BURST_BYTES;
    this.#room = knows(governor, "bytes") ? Math.min(BURST_BYTES, BURST_BYTES - bytes + passed) : 0;
  }

  /** Answers whether these bytes go before the assignment. */
  take(sha256: Digest, data: Uint8Array): boolean {
    if (this.#objects.has(sha256)) return true;
    if (data.length > this.#room) return false;
    this.#room -= data.length;
    this.#objects.set(sha256, data);
    return true;
  }

  /** To be called before the assignment goes. */
  send(): void {
    if (this.#objects.size === 0) return;
    this.#governor.early = { at: this.#k.now, bytes: BURST_BYTES - this.#room };
    let objects: { readonly sha256: Digest; readonly data: Uint8Array }[] = [];
    let bytes = 0;
    const flush = (): void => this.#k.send(this.#governor, { type: "bytes", objects });
    for (const [sha256, data] of this.#objects) {
      if (bytes + data.length > limits.inlineBytesPerMessage || objects.length >= limits.batchItems) {
        flush();
        objects = [];
        bytes = 0;
      }
      objects.push({ sha256, data });
      bytes += data.length;
    }
    flush();
  }
}
