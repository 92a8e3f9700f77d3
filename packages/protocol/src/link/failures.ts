import { limits } from "../limits.ts";

interface Bucket {
  left: number;
  at: number;
  suppressed: number;
}
const MAX_ADDRESSES = 4_096;

/**
 * A token bucket of failed attempts for each address. It bounds what a failure costs (a reply, a line of the audit
 * log), and never keeps out a peer that has the key: on one machine, all share an address.
 */
export class FailureLimit {
  readonly #buckets: Map<string, Bucket> = new Map();
  readonly #now: () => number;

  /** `now`: milliseconds that never go back. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Counts a failure. The number of failures since the last answered one; undefined when this one gets no answer. */
  count(address: string): number | undefined {
    const rate = limits.failedHandshakesPerSecond;
    const now = this.#now();
    const bucket = this.#buckets.get(address) ?? { left: rate, at: now, suppressed: 0 };
    bucket.left = Math.min(rate, bucket.left + ((now - bucket.at) / 1_000) * rate);
    bucket.at = now;
    this.#remember(address, bucket);
    if (bucket.left < 1) {
      bucket.suppressed++;
      return undefined;
    }
    bucket.left--;
    const { suppressed } = bucket;
    bucket.suppressed = 0;
    return suppressed;
  }

  #remember(address: string, bucket: Bucket): void {
    this.#buckets.delete(address);
    const [oldest] = this.#buckets.keys();
    if (oldest !== undefined && this.#buckets.size >= MAX_ADDRESSES) this.#buckets.delete(oldest);
    this.#buckets.set(address, bucket);
  }
}
