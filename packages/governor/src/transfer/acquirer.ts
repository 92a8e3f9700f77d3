import { RainError, type Digest, type ObjectSource } from "@rain/protocol";
import { Agents, type Pin } from "@rain/protocol/tls";
import { createHash } from "node:crypto";
import type { GovernorEffect } from "../core/types.ts";
import type { BlobStore } from "../store/index.ts";
import { download } from "./download.ts";
import { SourceProblem } from "./get.ts";
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
}

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
  readonly #running = new Map<Digest, Promise<void>>();

  constructor(options: AcquirerOptions) {
    this.#store = options.store;
    this.#serverUrl = options.serverUrl;
    this.#serverPin = options.serverPin;
    this.#serverHost = options.serverHost;
    this.#progressMs = options.progressMs ?? 30_000;
    this.#slots = new Slots(options.concurrency ?? 8);
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
    for (const source of effect.sources) {
      const problem = await this.#readFrom(source, effect);
      if (problem === undefined) return;
      problems.push(problem);
    }
    const why = problems.length > 0 ? problems.join("; ") : "the server named no place to read it from";
    throw new RainError("object-lost", why, { sha256: effect.sha256, sources: effect.sources.length });
  }

  /** Answers what was wrong with the source, with its host's name. */
  async #readFrom(source: ObjectSource, effect: AcquireEffect): Promise<string | undefined> {
    const { sha256, size } = effect;
    if (!URL.canParse(source.url, this.#serverUrl)) return "the address of a source is not a URL";
    const url = new URL(source.url, this.#serverUrl);
    const path = this.#store.incomingPath();
    const patient = source.url.startsWith("/");
    const { signal } = this.#stopping;
    const hostHeader = patient ? this.#serverHost : undefined;
    const { fingerprint } = source;
    const named = fingerprint === undefined ? undefined : { fingerprint, from: "the server's word" };
    const pin = patient ? this.#serverPin : named;
    const common = { hostHeader, agents: this.#agents, pin, progressMs: this.#progressMs, signal };
    try {
      await download({ url, ticket: source.ticket, sha256, size, path, patient, ...common });
    } catch (error) {
      if (error instanceof SourceProblem) return `${url.host} ${error.message}`;
      throw error;
    }
    await this.#store.install(path, sha256);
    return undefined;
  }
}
