import { statfs } from "node:fs/promises";
import type { Digest } from "@rain/protocol";

/** Bytes of blobs that nobody needs any more and that are kept, unless the governor is told otherwise. */
const CACHE_BYTES = 2_147_483_648;
/** Without a word from its operator it takes at most this part of the disk that would be free without it. */
const FREE_PART = 0.1;
/** How long a look at the free disk is taken for true, milliseconds. */
const LOOK_MS = 10_000;

/** Which blobs are kept although nobody needs them, and which of them go first: those not needed for longest. */
export class Cache {
  readonly #folder: string;
  readonly #given: number | undefined;
  readonly #sizes = new Map<Digest, number>();
  #bytes = 0;
  #limit: number;
  #lookedAt = Number.NEGATIVE_INFINITY;

  /** `folder`: on the disk in question. `bytes`: as many as these; default: CACHE_BYTES, less on a full disk. */
  constructor(folder: string, bytes: number | undefined) {
    this.#folder = folder;
    this.#given = bytes;
    this.#limit = bytes ?? CACHE_BYTES;
  }

  /** Somebody needs the blob again, or it is gone. Answers whether it was kept here. */
  delete(sha256: Digest): boolean {
    this.#bytes -= this.#sizes.get(sha256) ?? 0;
    return this.#sizes.delete(sha256);
  }

  /** Keeps a blob. Answers false for one that is too large. */
  add(sha256: Digest, size: number): boolean {
    if (size > this.#limit) return false;
    this.delete(sha256);
    this.#sizes.set(sha256, size);
    this.#bytes += size;
    return true;
  }

  /** The blobs that have to go now; they are not kept any more. */
  excess(): Digest[] {
    const gone: Digest[] = [];
    for (const sha256 of this.#sizes.keys()) {
      if (this.#bytes <= this.#limit) break;
      this.delete(sha256);
      gone.push(sha256);
    }
    return gone;
  }

  /** Finds out how many bytes may be kept now. */
  async look(): Promise<void> {
    if (this.#given !== undefined || performance.now() - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = performance.now();
    const { bavail, bsize } = await statfs(this.#folder);
    this.#limit = Math.min(CACHE_BYTES, FREE_PART * (bavail * bsize + this.#bytes));
  }
}
