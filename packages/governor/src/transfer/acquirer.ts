import { RainError, type Digest, type ObjectSource } from "@rain/protocol";
import { Agents, type Pin } from "@rain/protocol/tls";
import { createHash } from "node:crypto";
import type { GovernorEffect } from "../core/types.ts";
import type { BlobStore } from "../store/index.ts";
import { HASH_HERE_BYTES } from "../store/hasher.ts";
import { downloadBytes, downloadFile, type DownloadOptions, type Streams } from "./download.ts";
import { SourceProblem } from "./get.ts";
import type { Source } from "./read.ts";
import { Slots } from "./slots.ts";

export type AcquireEffect = Extract<GovernorEffect, { readonly type: "acquire" }>;

export interface AcquirerOptions {
  readonly store: BlobStore;
  /** `http://host:port` of the server: where source addresses that start with '/' are. */
  readonly serverUrl: string;
  /** The certificate that the server must show, with https. */
  readonly serverPin?: Pin | undefined;
  /** `host:port` of the server as it knows itself, when `serverUrl` is the near end of a tunnel. */
  readonly serverHost?: string;
  /** Objects that are read at once; default 8. */
  readonly concurrency?: number;
  /** Longest time without a byte, milliseconds; default 30 s. */
  readonly progressMs?: number;
  /** An object of two parts and more is read in parts of so many bytes; default 32 MiB. */
  readonly partBytes?: number;
}

const PART_BYTES = 33_554_432;

/** Brings objects into the store: performs the effect `acquire` of the governor's core. */
export class Acquirer {
  readonly #store: BlobStore;
  readonly #serverUrl: string;
  readonly #serverHost: string | undefined;
  readonly #progressMs: number;
  readonly #slots: Slots;
  readonly #serverPin: Pin | undefined;
  readonly #agents = new Agents({ keepAlive: true, maxSockets: 16, maxFreeSockets: 4 });
  readonly #stopping = new AbortController();
  /** Streams beside the first of each object. */
  readonly #streams: Streams;
  readonly #running = new Map<Digest, Promise<void>>();

  constructor(options: AcquirerOptions) {
    this.#store = options.store;
    this.#serverUrl = options.serverUrl;
    this.#serverPin = options.serverPin;
    this.#serverHost = options.serverHost;
    this.#progressMs = options.progressMs ?? 30_000;
    const concurrency = options.concurrency ?? 8;
    this.#slots = new Slots(concurrency);
    let free = concurrency;
    this.#streams = {
      partBytes: options.partBytes ?? PART_BYTES,
      take: () => free > 0 && free-- > 0,
      give: () => void free++,
    };
  }

  /**
   * Resolves when the bytes are in the store. Throws RainError "object-lost" that says for every source why it did not
   * give them; any other error is of this machine.
   */
  acquire(effect: AcquireEffect): Promise<void> {
    const { sha256 } = effect;
    const running = this.#running.get(sha256);
    if (running) return running;
    const begun = this.#bring(effect).finally(() => this.#running.delete(sha256));
    this.#running.set(sha256, begun);
    return begun;
  }

  /** Breaks off what is under way. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.allSettled(this.#running.values());
    this.#agents.destroy();
  }

  async #bring(effect: AcquireEffect): Promise<void> {
    const { sha256, data } = effect;
    if (this.#store.keep(sha256)) return;
    if (data === undefined) return await this.#slots.run(() => this.#read(effect));
    const measured = createHash("sha256").update(data).digest("hex");
    if (measured !== sha256) {
      throw new RainError("object-lost", `the bytes that the server sent along have the SHA-256 ${measured}`);
    }
    await this.#store.putBytes(data);
  }

  async #read(effect: AcquireEffect): Promise<void> {
    const problems: string[] = [];
    const sources: Source[] = [];
    for (const source of effect.sources) {
      const read = this.#sourceOf(source);
      if (read === undefined) problems.push("the address of a source is not a URL");
      else sources.push(read);
    }
    // What is large comes from all governors that have it at once. If it comes wrong, nobody knows from whom.
    const holders = sources.filter(({ patient }) => !patient);
    if (effect.size >= 2 * this.#streams.partBytes && holders.length > 1) {
      if ((await this.#bringFrom(holders, effect)) === undefined) return;
    }
    for (const source of sources) {
      const problem = await this.#bringFrom([source], effect);
      if (problem === undefined) return;
      problems.push(`${source.url.host} ${problem.message}`);
    }
    const why = problems.length > 0 ? problems.join("; ") : "the server named no place to read it from";
    throw new RainError("object-lost", why, { sha256: effect.sha256, sources: effect.sources.length });
  }

  /** Undefined when its address is none. */
  #sourceOf({ url: address, ticket, fingerprint }: ObjectSource): Source | undefined {
    if (!URL.canParse(address, this.#serverUrl)) return undefined;
    const url = new URL(address, this.#serverUrl);
    const patient = address.startsWith("/");
    const hostHeader = patient ? this.#serverHost : undefined;
    const named = fingerprint === undefined ? undefined : { fingerprint, from: "the server's word" };
    return { url, ticket, hostHeader, pin: patient ? this.#serverPin : named, patient };
  }

  /** Answers what was wrong with the sources. */
  async #bringFrom(sources: readonly Source[], effect: AcquireEffect): Promise<SourceProblem | undefined> {
    const { sha256, size } = effect;
    const { signal } = this.#stopping;
    const options = { sha256, size, agents: this.#agents, progressMs: this.#progressMs, signal };
    try {
      const [source] = sources;
      if (source && size <= HASH_HERE_BYTES) await this.#store.putBytes(await downloadBytes(source, options));
      else await this.#bringFile(sources, options);
      return undefined;
    } catch (error) {
      if (error instanceof SourceProblem) return error;
      throw error;
    }
  }

  async #bringFile(sources: readonly Source[], options: DownloadOptions): Promise<void> {
    const path = this.#store.incomingPath();
    try {
      await downloadFile(sources, path, options, this.#streams);
    } catch (error) {
      if (!(error instanceof SourceProblem) || error.again !== "whole" || sources.length > 1) throw error;
      await downloadFile(sources, path, options, undefined);
    }
    await this.#store.install(path, options.sha256);
  }
}
