import { asDigest, blobPath, type Digest } from "@rain/protocol";
import type { GovernorEffect } from "@rain/governor/core";
import type { Network } from "./network.ts";
import { contentOf } from "./programs.ts";
import type { World } from "./world.ts";

/** Where bytes are read from: the stores of running governors by name, and the server's blobs. */
export interface Cluster {
  store(governor: string): Store | undefined;
  serverHas(sha256: Digest): boolean;
  /** A governor is about to delete bytes. */
  removing(governor: string, sha256: Digest): void;
  /** Probability that a transfer arrives damaged. */
  corruption: number;
  /** Probability that a source answers that it does not have the bytes. */
  forgetfulness: number;
}

export const sourceUrl = (governor: string, sha256: Digest): string => `http://${governor}/${sha256}`;
type Acquire = Extract<GovernorEffect, { type: "acquire" }>;

/** The bytes on one governor, by digest, with the number of claims on them. Gone with its process. */
export class Store {
  readonly #world: World;
  readonly #network: Network;
  readonly #cluster: Cluster;
  readonly #name: string;
  readonly #blobs: Map<Digest, { claims: number; readonly size: number }> = new Map();

  constructor(world: World, network: Network, cluster: Cluster, name: string) {
    this.#world = world;
    this.#network = network;
    this.#cluster = cluster;
    this.#name = name;
  }

  has(sha256: Digest): boolean {
    return this.#blobs.has(sha256);
  }
  get size(): number {
    return this.#blobs.size;
  }
  digests(): Digest[] {
    return [...this.#blobs.keys()];
  }

  claim(sha256: Digest, size: number): void {
    const blob = this.#blobs.get(sha256);
    if (blob) blob.claims++;
    else this.#blobs.set(sha256, { claims: 1, size });
  }
  release(sha256: Digest, claims: number): void {
    const blob = this.#blobs.get(sha256);
    const has = blob?.claims ?? 0;
    this.#world.check(
      has >= claims,
      "claims",
      () => `${this.#name} gives back ${claims} claims on ${sha256} and has ${has}`,
    );
    if (!blob) return;
    blob.claims -= claims;
    if (blob.claims > 0) return;
    this.#cluster.removing(this.#name, sha256);
    this.#blobs.delete(sha256);
  }

  /** Brings bytes here; `done` gets what went wrong, or nothing. */
  acquire(effect: Acquire, done: (why: string | undefined) => void): void {
    const { loop, random } = this.#world;
    if (effect.data) loop.after(random.skewed(0.1, 3), () => done(undefined));
    else this.#from(effect, 0, done);
  }
  #from(effect: Acquire, at: number, done: (why: string | undefined) => void): void {
    const source = effect.sources[at];
    if (!source) return done(`none of ${effect.sources.length} sources had it`);
    const { sha256, size } = effect;
    const isServer = source.url.startsWith("/");
    const from = isServer ? "server" : (/^http:\/\/([^/]+)\//.exec(source.url)?.[1] ?? "");
    this.#network.transfer(from, this.#name, size, (arrived) => {
      const has = isServer
        ? source.url === blobPath(sha256) && this.#cluster.serverHas(sha256)
        : (this.#cluster.store(from)?.has(sha256) ?? false);
      const { random } = this.#world;
      const forgets = !isServer && random.chance(this.#cluster.forgetfulness);
      if (!arrived || !has || forgets) return this.#from(effect, at + 1, done);
      const got = random.chance(this.#cluster.corruption) ? contentOf("damage", size).sha256 : sha256;
      if (got !== sha256 && !this.#world.bugs.acceptCorrupt) return this.#from(effect, at + 1, done);
      if (got !== sha256) this.damaged.add(sha256);
      done(undefined);
    });
  }
  /** Bytes that are not what their digest says; only with a planted bug. */
  readonly damaged: Set<Digest> = new Set();
  /** The digest that reading the bytes would give. */
  realDigest(sha256: Digest): Digest {
    return this.damaged.has(sha256) ? asDigest("0".repeat(64)) : sha256;
  }
}
