import { createHash } from "node:crypto";
import { constants, statSync } from "node:fs";
import { chmod, copyFile, mkdir, open, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { asDigest, limits, RainError, type Digest } from "@rain/protocol";
import { nanoid } from "nanoid";
import { errorCode } from "../monitor/errno.ts";
import { Cache } from "./cache.ts";
import { FileHash, HASH_HERE_BYTES } from "./hasher.ts";
import { Turns } from "./turns.ts";
import { secureFolder } from "@rain/protocol/lock";

export interface Stored {
  readonly sha256: Digest;
  readonly size: number;
}

/** Data objects of this machine: read-only files named by their digest. */
export interface Store {
  has(sha256: Digest): boolean;
  /** Where the blob's file is (0444), when it has one: `onDisk` makes sure of that. */
  path(sha256: Digest): string;
  /** The bytes of a small blob that has no file. */
  bytes(sha256: Digest): Uint8Array | undefined;
  /** Gives the blob a file if it has none yet. Answers its path, also when there is no such blob. */
  onDisk(sha256: Digest): Promise<string>;
  putBytes(bytes: Uint8Array): Promise<Stored>;
  /** Takes a file in: it is hashed, made read-only and moved, or deleted when the bytes are here already. */
  adoptFile(path: string): Promise<Stored>;
  /** The same for a file whose digest the caller has measured. */
  install(path: string, sha256: Digest): Promise<void>;
  /** Deletes a blob; one that is pinned only once the last pin is gone. */
  remove(sha256: Digest): Promise<void>;
  /** Deletes a blob whose bytes are not what its digest says. */
  discard(sha256: Digest): Promise<void>;
}

export interface StoreOptions {
  /** Keep blobs that are removed as long as there is room for them: so many bytes, or as many as seem right. */
  readonly cache?: { readonly bytes?: number | undefined };
  /** Bytes on disk that go with a blob. */
  readonly besides?: (sha256: Digest) => number;
  /** The bytes of a blob are not here any more. */
  readonly onGone?: (sha256: Digest) => void;
}

/** Blobs up to this size get no file before somebody asks for it, ... */
const SMALL_BYTES = limits.inlineBytes;
/** ... as long as they are not more than this together. */
const MEMORY_BYTES = 33_554_432;

/**
 * The store on disk: `store/ab/<sha256>`, and `incoming/` for what is not whole yet. Which blobs there are is known in
 * memory only: a governor starts empty, and a file that is only half there is nobody's blob. Small blobs are themselves
 * in memory: most are read by the server alone, and a file costs as much as a program.
 */
export class BlobStore implements Store {
  readonly #root: string;
  readonly #incoming: string;
  readonly #blobs = new Set<Digest>();
  /** Those without a file. */
  readonly #memory = new Map<Digest, Uint8Array>();
  #memoryBytes = 0;
  /** Number of pins of each blob that has some. */
  readonly #pins = new Map<Digest, number>();
  /** Pinned blobs that go with their last pin. */
  readonly #condemned = new Set<Digest>();
  /** Blobs that are removed and whose file is still there. */
  readonly #leftovers = new Set<Digest>();
  /** Blobs whose bytes were changed. */
  readonly #spoilt = new Set<Digest>();
  /** Blobs that are removed and may come back. */
  readonly #cache: Cache | undefined;
  readonly #options: StoreOptions;
  readonly #folders = new Set<string>();
  readonly #turns = new Turns<Digest>();

  private constructor(workdir: string, options: StoreOptions) {
    this.#options = options;
    this.#cache = options.cache && new Cache(workdir, options.cache.bytes);
    this.#root = join(workdir, "store");
    this.#incoming = join(workdir, "incoming");
  }

  /**
   * Opens the store of a work folder, empty: what an earlier governor left is deleted.
   * Throws RainError "not-allowed" when others could tamper with the folder.
   */
  static async open(workdir: string, options: StoreOptions = {}): Promise<BlobStore> {
    await secureFolder(workdir, "the work folder");
    const store = new BlobStore(workdir, options);
    for (const folder of [store.#root, store.#incoming]) {
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { mode: 0o700 });
    }
    await store.#cache?.look();
    return store;
  }

  has(sha256: Digest): boolean {
    return this.#blobs.has(sha256) && !this.#condemned.has(sha256);
  }

  path(sha256: Digest): string {
    return join(this.#root, sha256.slice(0, 2), sha256);
  }

  bytes(sha256: Digest): Uint8Array | undefined {
    return this.#memory.get(sha256);
  }

  async onDisk(sha256: Digest): Promise<string> {
    const path = this.path(sha256);
    if (!this.#memory.has(sha256)) return path;
    return await this.#turns.run(sha256, async () => {
      const bytes = this.#memory.get(sha256);
      if (bytes === undefined) return path; // it got one, or was removed
      await this.#makeFolder(sha256);
      await writeBlob(path, bytes);
      this.#forget(sha256);
      return path;
    });
  }

  /** A fresh path for a file that will be adopted or installed. */
  incomingPath(): string {
    return join(this.#incoming, nanoid());
  }

  /** `taken` is called in the moment in which the blob is known to be here. */
  async putBytes(bytes: Uint8Array, taken?: (sha256: Digest) => void): Promise<Stored> {
    const sha256 = asDigest(createHash("sha256").update(bytes).digest("hex"));
    const write = async (path: string): Promise<void> => {
      if (bytes.length > SMALL_BYTES || this.#memoryBytes + bytes.length > MEMORY_BYTES) {
        await this.#makeFolder(sha256);
        return await writeBlob(path, bytes);
      }
      this.#memory.set(sha256, new Uint8Array(bytes)); // what came may be a part of something large
      this.#memoryBytes += bytes.length;
    };
    await this.#add(sha256, write, taken);
    return { sha256, size: bytes.length };
  }

  async adoptFile(path: string, taken?: (sha256: Digest) => void): Promise<Stored> {
    const stored = await hashFile(path);
    await this.install(path, stored.sha256, taken);
    return stored;
  }

  /** Takes in a file whose digest the caller has measured itself. */
  async install(path: string, sha256: Digest, taken?: (sha256: Digest) => void): Promise<void> {
    const move = async (target: string): Promise<void> => {
      await this.#makeFolder(sha256);
      await chmod(path, 0o444);
      await this.#move(path, target);
    };
    const isNew = await this.#add(sha256, move, taken);
    if (!isNew) await rm(path, { force: true });
  }

  async remove(sha256: Digest): Promise<void> {
    if (this.#pins.has(sha256)) {
      if (this.#blobs.has(sha256)) this.#condemned.add(sha256);
      return;
    }
    this.#condemned.delete(sha256);
    const isSpoilt = this.#spoilt.delete(sha256);
    if (isSpoilt && this.#cache?.delete(sha256) === true) return await this.#erase([sha256]);
    if (!this.#blobs.delete(sha256)) return;
    if (isSpoilt || !this.#remember(sha256)) return await this.#erase([sha256]);
    await this.#cache?.look();
    await this.#erase(this.#cache?.excess() ?? []);
  }

  async discard(sha256: Digest): Promise<void> {
    this.#spoilt.add(sha256);
    await this.remove(sha256);
  }

  /** Answers whether a removed blob is kept in case that it is needed again. */
  #remember(sha256: Digest): boolean {
    if (this.#cache === undefined) return false;
    const size = statSync(this.path(sha256), { throwIfNoEntry: false })?.size ?? 0;
    // What is small comes along with an assignment: it is not worth a place.
    if (size <= limits.inlineBytes) return false;
    return this.#cache.add(sha256, size + (this.#options.besides?.(sha256) ?? 0));
  }

  /** Deletes files of blobs that are not here any more. */
  async #erase(blobs: readonly Digest[]): Promise<void> {
    for (const sha256 of blobs) {
      this.#leftovers.add(sha256);
      this.#options.onGone?.(sha256);
    }
    for (const sha256 of blobs) await this.#turns.run(sha256, () => this.#clear(sha256));
  }

  /** Holds a blob, here or to come, against `remove` until `unpin`. */
  pin(sha256: Digest): void {
    this.#pins.set(sha256, (this.#pins.get(sha256) ?? 0) + 1);
  }

  async unpin(sha256: Digest): Promise<void> {
    const left = (this.#pins.get(sha256) ?? 0) - 1;
    if (left > 0) {
      this.#pins.set(sha256, left);
      return;
    }
    this.#pins.delete(sha256);
    if (this.#condemned.has(sha256)) await this.remove(sha256);
  }

  /** A blob that is to be removed with its last pin, or that was removed, stays after all. Answers whether it is here. */
  keep(sha256: Digest): boolean {
    this.#condemned.delete(sha256);
    if (this.#cache?.delete(sha256) === true) this.#blobs.add(sha256);
    return this.#blobs.has(sha256);
  }

  /** Answers whether the blob is new; `write` makes its file. */
  #add(
    sha256: Digest,
    write: (path: string) => Promise<void>,
    taken: ((sha256: Digest) => void) | undefined,
  ): Promise<boolean> {
    return this.#turns.run(sha256, async () => {
      if (this.keep(sha256)) {
        taken?.(sha256);
        return false;
      }
      await this.#clear(sha256);
      await write(this.path(sha256));
      this.#blobs.add(sha256);
      taken?.(sha256);
      return true;
    });
  }

  /** Deletes the file of a removed blob; within its turn. */
  async #clear(sha256: Digest): Promise<void> {
    if (!this.#leftovers.delete(sha256) || this.#forget(sha256)) return;
    await rm(this.path(sha256), { force: true });
  }

  /** The blob is not in memory any more. Answers whether it was. */
  #forget(sha256: Digest): boolean {
    this.#memoryBytes -= this.#memory.get(sha256)?.length ?? 0;
    return this.#memory.delete(sha256);
  }

  async #makeFolder(sha256: Digest): Promise<void> {
    const folder = join(this.#root, sha256.slice(0, 2));
    if (this.#folders.has(folder)) return;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    this.#folders.add(folder);
  }

  async #move(from: string, to: string): Promise<void> {
    try {
      await rename(from, to);
    } catch (error) {
      if (errorCode(error) !== "EXDEV") throw error;
      const copy = this.incomingPath();
      await copyFile(from, copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      await rename(copy, to);
      await rm(from, { force: true });
    }
  }
}

async function writeBlob(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await writeFile(path, bytes, { mode: 0o444, flag: "wx" });
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

async function hashFile(path: string): Promise<Stored> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(path, flags).catch((error: unknown) => {
    throw errorCode(error) === "ELOOP" ? notFile(path) : error;
  });
  try {
    const found = await file.stat();
    if (!found.isFile()) throw notFile(path);
    if (found.size > HASH_HERE_BYTES) return await new FileHash(file).finish();
    const bytes = await file.readFile();
    return { sha256: asDigest(createHash("sha256").update(bytes).digest("hex")), size: bytes.length };
  } finally {
    await file.close();
  }
}

const notFile = (path: string): RainError =>
  new RainError("bad-file", `${path} is not a plain file, so it cannot go into the store`);
