import { randomBytes } from "node:crypto";
import { limits } from "../limits.ts";

/** Challenge nonces that were given out: each good for one attempt, for a short time. */
export class NonceTable {
  /** Nonce -> when it was given out. Oldest first. */
  readonly #given: Map<string, number> = new Map();
  readonly #now: () => number;

  /** `now`: milliseconds that never go back. */
  constructor(now: () => number) {
    this.#now = now;
  }

  give(): string {
    const nonce = randomBytes(32).toString("base64url");
    // Full: the oldest goes. To refuse new ones instead would let anyone lock everyone out for longer.
    const [oldest] = this.#given.keys();
    if (oldest !== undefined && this.#given.size >= limits.nonces) this.#given.delete(oldest);
    this.#given.set(nonce, this.#now());
    return nonce;
  }

  /** Was this given out lately, and not taken yet? It is taken now. */
  take(nonce: string): boolean {
    const at = this.#given.get(nonce);
    this.#given.delete(nonce);
    return at !== undefined && this.#now() - at <= limits.nonceMs;
  }
}
