import { AsyncLocalStorage } from "node:async_hooks";
import type { Digest } from "@rain/protocol";
import type { BlobStore, Store, Stored } from "./blob-store.ts";

/**
 * The store as runs see it: what a run takes in stays until the run has ended and the core knows of it. Without this,
 * an output whose bytes were here already as some other object could be deleted with that object while its run is
 * still collecting the rest.
 */
export class RunStore implements Store {
  readonly #store: BlobStore;
  /** Blobs that the run of the current chain of calls has taken in. */
  readonly #taken = new AsyncLocalStorage<Digest[]>();

  constructor(store: BlobStore) {
    this.#store = store;
  }

  /** Begins a run: what follows from `begin`, also later, belongs to it until `end`. */
  run(begin: () => void): void {
    this.#taken.run([], begin);
  }

  /** To be called by what follows from `run`, when the core has been told how the run ended. */
  async end(): Promise<void> {
    for (const sha256 of this.#current().splice(0)) await this.#store.unpin(sha256);
  }

  has(sha256: Digest): boolean {
    return this.#store.has(sha256);
  }
  path(sha256: Digest): string {
    return this.#store.path(sha256);
  }

  async putBytes(bytes: Uint8Array): Promise<Stored> {
    return await this.#store.putBytes(bytes, this.#pin());
  }
  async adoptFile(path: string): Promise<Stored> {
    return await this.#store.adoptFile(path, this.#pin());
  }
  async install(path: string, sha256: Digest): Promise<void> {
    await this.#store.install(path, sha256, this.#pin());
  }
  remove(sha256: Digest): Promise<void> {
    return this.#store.remove(sha256);
  }
  discard(sha256: Digest): Promise<void> {
    return this.#store.discard(sha256);
  }

  #pin(): (sha256: Digest) => void {
    const taken = this.#current();
    return (sha256) => {
      this.#store.pin(sha256);
      taken.push(sha256);
    };
  }

  #current(): Digest[] {
    const taken = this.#taken.getStore();
    if (!taken) throw new Error("a run used the store outside RunStore.run");
    return taken;
  }
}
