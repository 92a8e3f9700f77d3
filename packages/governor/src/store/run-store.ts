import type { Digest } from "@rain/protocol";
import type { BlobStore, Store, Stored } from "./blob-store.ts";

/**
 * The store as one run sees it: what the run takes in stays until it has ended and the core knows of it. Without this,
 * an output whose bytes were here already as some other object could be deleted with that object while its run is
 * still collecting the rest.
 */
export class RunStore implements Store {
  readonly #store: BlobStore;
  /** Blobs that this run has taken in. */
  readonly #taken: Digest[] = [];
  #ended = false;

  constructor(store: BlobStore) {
    this.#store = store;
  }

  /** The run is over, and the core has been told how. */
  async end(): Promise<void> {
    this.#ended = true;
    for (const sha256 of this.#taken.splice(0)) await this.#store.unpin(sha256);
  }

  has(sha256: Digest): boolean {
    return this.#store.has(sha256);
  }
  path(sha256: Digest): string {
    return this.#store.path(sha256);
  }
  bytes(sha256: Digest): Uint8Array | undefined {
    return this.#store.bytes(sha256);
  }
  onDisk(sha256: Digest): Promise<string> {
    return this.#store.onDisk(sha256);
  }

  async putBytes(bytes: Uint8Array): Promise<Stored> {
    this.#check();
    return await this.#store.putBytes(bytes, this.#pin);
  }
  async adoptFile(path: string): Promise<Stored> {
    this.#check();
    return await this.#store.adoptFile(path, this.#pin);
  }
  async install(path: string, sha256: Digest): Promise<void> {
    this.#check();
    await this.#store.install(path, sha256, this.#pin);
  }
  remove(sha256: Digest): Promise<void> {
    return this.#store.remove(sha256);
  }
  discard(sha256: Digest): Promise<void> {
    return this.#store.discard(sha256);
  }

  readonly #pin = (sha256: Digest): void => {
    this.#store.pin(sha256);
    this.#taken.push(sha256);
  };

  #check(): void {
    if (this.#ended) throw new Error("a run used the store after its end");
  }
}
