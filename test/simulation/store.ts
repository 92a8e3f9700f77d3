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

/** The bytes on one governor, by digest. Gone with its process. */
export class Store {
  readonly #world: World;
  readonly #network: Network;
  readonly #cluster: Cluster;
  readonly #name: string;
  readonly #blobs: Set<Digest> = new Set();
  readonly #pins: Map<Digest, number> = new Map();

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

  add(sha256: Digest): void {
    this.#blobs.add(sha256);
  }
  /** A run made these bytes, and its governor does not know of them yet: they stay until it does. */
  pin(sha256: Digest): void {
    this.#pins.set(sha256, (this.#pins.get(sha256) ?? 0) + 1);
    this.add(sha256);
  }
  unpin(sha256: Digest): void {
    const pins = (this.#pins.get(sha256) ?? 0) - 1;
    if (pins > 0) this.#pins.set(sha256, pins);
    else this.#pins.delete(sha256);
  }
  remove(sha256: Digest): void {
    if (this.#pins.has(sha256)) return;
    this.#world.check(this.has(sha256), "store", () => `${this.#name} removes ${sha256}, which is not there`);
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
