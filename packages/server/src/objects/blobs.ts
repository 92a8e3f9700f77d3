import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { Transform, type Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout } from "node:timers/promises";
import { asDigest, digest, pieceBytes, RainError, type Digest } from "@rain/protocol";
import { sendFile } from "@rain/protocol/bytes";
import { nanoid } from "nanoid";

/** An upload that nothing has named yet is not removed for this long, milliseconds. */
const UPLOAD_GRACE_MS = 10 * 60_000;
/** Bytes that wait to be written: they go to the disk together. */
const WRITE_BYTES = 1_048_576;

export interface BlobOptions {
  /** Does a session or a datastore use these bytes? */
  readonly isUsed: (sha256: Digest) => boolean;
  readonly graceMs?: number | undefined;
}

/**
 * Constants that clients uploaded, by content, on the server's disk. An upload is durable before it is acknowledged,
 * so that a submit may name it.
 */
export class BlobFolder {
  readonly #folder: string;
  /** Sizes of what is here. */
  readonly #sizes: Map<Digest, number> = new Map();
  readonly #uploaded: Map<Digest, number> = new Map();
  /** Files that are just being removed. */
  readonly #removing: Map<Digest, Promise<void>> = new Map();
  readonly #isUsed: (sha256: Digest) => boolean;
  readonly #graceMs: number;
  /** Files that are being sent. */
  #sending = 0;

  private constructor(folder: string, { isUsed, graceMs = UPLOAD_GRACE_MS }: BlobOptions) {
    this.#folder = folder;
    this.#isUsed = isUsed;
    this.#graceMs = graceMs;
  }

  /** Opens the folder and removes what nothing uses. */
  static async open(folder: string, options: BlobOptions): Promise<BlobFolder> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const blobs = new BlobFolder(folder, options);
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      if (digest.safeParse(name).success && options.isUsed(asDigest(name))) {
        blobs.#sizes.set(asDigest(name), (await stat(path)).size);
      } else await rm(path, { force: true, recursive: true });
    }
    return blobs;
  }

  size(sha256: Digest): number | undefined {
    return this.#sizes.get(sha256);
  }

  /** Sends bytes `start` to `end` (included) as the body of an answer, and ends it. */
  async send(
    sha256: Digest,
    range: { readonly start: number; readonly end: number },
    response: ServerResponse,
  ): Promise<void> {
    const file = await open(join(this.#folder, sha256), "r");
    this.#sending += 1;
    try {
      await sendFile(file, range, response, pieceBytes(this.#sending));
    } finally {
      this.#sending -= 1;
      await file.close();
    }
  }

  /** Takes the bytes in; refuses them when their digest is not the promised one. Returns false when they were here. */
  async write(sha256: Digest, source: Readable): Promise<boolean> {
    this.#uploaded.set(sha256, performance.now());
    if (this.#sizes.has(sha256)) {
      source.resume();
      return false;
    }
    await this.#removing.get(sha256);
    const partial = join(this.#folder, `upload-${nanoid()}`);
    try {
      const hash = createHash("sha256");
      let size = 0;
      const meter = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          hash.update(chunk);
          size += chunk.length;
          done(null, chunk);
        },
      });
      await pipeline(
        source,
        meter,
        createWriteStream(partial, { mode: 0o600, flags: "wx", highWaterMark: WRITE_BYTES }),
      );
      const measured = hash.digest("hex");
      if (measured !== sha256) {
        throw new RainError("bad-digest", `the uploaded bytes have the SHA-256 ${measured}, not ${sha256}`);
      }
      await syncPath(partial);
      await rename(partial, join(this.#folder, sha256));
      await syncPath(this.#folder);
      this.#sizes.set(sha256, size);
      return true;
    } finally {
      await rm(partial, { force: true });
    }
  }

  /** Removes what is not used: at once, or when a client can no longer be about to name what it uploaded. */
  async remove(sha256: Digest): Promise<void> {
    // Named again since this was decided.
    if (this.#isUsed(sha256)) return;
    const uploaded = this.#uploaded.get(sha256);
    const graceLeft = uploaded === undefined ? 0 : uploaded + this.#graceMs - performance.now();
    if (graceLeft > 0) {
      await setTimeout(graceLeft, undefined, { ref: false });
      return await this.remove(sha256);
    }
    this.#uploaded.delete(sha256);
    this.#sizes.delete(sha256);
    const removed = rm(join(this.#folder, sha256), { force: true });
    this.#removing.set(sha256, removed);
    try {
      await removed;
    } finally {
      this.#removing.delete(sha256);
    }
  }
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
