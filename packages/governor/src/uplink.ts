import { setTimeout as delay } from "node:timers/promises";
import {
  governorMessage,
  isReport,
  RainError,
  serverToGovernor,
  type ErrorCode,
  type GovernorMessage,
  type GovernorMessageOf,
  type Report,
  type ServerToGovernor,
} from "@rain/protocol";
import { parse } from "@rain/protocol/codec";
import { connectLink, type Link } from "@rain/protocol/link";
import type { Pin } from "@rain/protocol/tls";
import { reportsOf } from "./core/index.ts";

export interface UplinkOptions {
  readonly url: string;
  /** `host:port` of the server as it knows itself, when `url` is the near end of a tunnel. */
  readonly hostHeader?: string | undefined;
  /** The certificate that the server must show, with https. */
  readonly pin?: Pin | undefined;
  /** Asked for each connection: the key may have been changed meanwhile. */
  readonly key: () => Promise<string>;
  readonly clusterId?: string | undefined;
  readonly onUp: () => void;
  readonly onDown: () => void;
  readonly onMessage: (message: ServerToGovernor) => void;
  /** A report cannot be said: the server would refuse it, whenever it is sent. */
  readonly onRefused: (report: Report, why: string) => void;
  /** No connection can be: there is no further try. */
  readonly onHopeless: (error: unknown) => void;
  readonly log: (level: "info" | "warn" | "error", text: string) => void;
}

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;
/** Answers that will be the same again, unless the server was there before and is being replaced. */
const hopeless: readonly ErrorCode[] = ["unauthorized", "version-mismatch", "not-allowed", "bad-request"];

/** The connection to the server: made again whenever it breaks, for ever, unless the very first try shows no hope. */
export class Uplink {
  readonly #options: UplinkOptions;
  readonly #stopping = new AbortController();
  #link: Link<ServerToGovernor, GovernorMessage> | undefined;
  #wasRegistered = false;
  /** How the connection before ended. */
  #ended: string | undefined;
  #tries = 0;
  #done: Promise<void> = Promise.resolve();

  constructor(options: UplinkOptions) {
    this.#options = options;
  }

  start(): void {
    this.#done = this.#run().catch((error: unknown) => this.#options.onHopeless(error));
  }

  /** Does nothing while there is no connection. */
  send(message: GovernorMessage): void {
    const link = this.#link;
    if (link === undefined) return;
    if (message.type === "finish.batch") return this.#sendBatch(link, message);
    if (!("attempt" in message)) return link.send(message);
    // What is told of an attempt is told again after a reconnect: if it ended the connection, it would do so for ever.
    try {
      link.send(parse(governorMessage, message, message.type));
    } catch (error) {
      if (!(error instanceof RainError)) throw error;
      if (isReport(message)) this.#options.onRefused(message, error.message);
      else this.#options.log("error", `not told to the server: ${error.message}`);
    }
  }

  /** When something is wrong with one of the reports, the others are told all the same. */
  #sendBatch(
    link: Link<ServerToGovernor, GovernorMessage>,
    message: GovernorMessageOf<"finish.batch">,
  ): void {
    try {
      link.send(parse(governorMessage, message, message.type));
    } catch (error) {
      if (!(error instanceof RainError)) throw error;
      for (const report of reportsOf(message)) this.send(report);
    }
  }

  /** What was sent leaves now. */
  flush(): void {
    this.#link?.flush();
  }

  /** Calls `heard` when the server has answered a question that leaves now. */
  probe(heard: () => void): void {
    this.#link?.probe(heard);
  }

  /** Ends the connection at once, and makes a new one. */
  reset(reason: string): void {
    this.#link?.terminate(reason);
  }

  /** The server accepted this governor on the present connection. */
  registered(): void {
    this.#wasRegistered = true;
    this.#tries = 0;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#link?.close();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    let said = "";
    while (!signal.aborted) {
      try {
        await this.#hold();
        said = "";
      } catch (error) {
        if (!(error instanceof RainError)) throw error;
        if (!this.#wasRegistered && hopeless.includes(error.code)) throw error;
        // The same problem again and again is told once.
        if (error.message !== said) this.#options.log("warn", `${error.message} Trying again.`);
        said = error.message;
      }
      if (!signal.aborted) await this.#pause(signal);
    }
  }

  /** One connection, from its beginning to its end. */
  async #hold(): Promise<void> {
    const { url, hostHeader, pin, clusterId, onUp, onDown, onMessage, log } = this.#options;
    const { signal } = this.#stopping;
    const key = await this.#options.key();
    const connecting = connectLink<ServerToGovernor, GovernorMessage>({
      url,
      hostHeader,
      pin,
      role: "governor",
      key,
      clusterId,
      schema: serverToGovernor,
    });
    const link = await unlessAborted(connecting, signal);
    if (link === undefined) {
      // A connection that still comes about is not wanted any more; one that does not is no news.
      connecting.then(
        (late) => late.close(),
        () => undefined,
      );
      return;
    }
    this.#link = link;
    const closed = await new Promise<string>((resolve) => {
      link.onClose(({ code, reason }) => resolve(reason === "" ? `code ${code}` : reason));
      onUp();
      link.onMessage(onMessage);
    });
    this.#link = undefined;
    onDown();
    // The same end again and again is told once.
    if (!signal.aborted && (closed !== this.#ended || this.#wasRegistered))
      log("warn", `the connection to the server ended: ${closed}`);
    this.#ended = closed;
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.#tries, 10));
    this.#tries += 1;
    const jittered = longest * (0.5 + Math.random() / 2);
    await delay(jittered, undefined, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
}

/** Undefined as soon as the signal is given. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  if (signal.aborted) return undefined;
  let stop: () => void = () => undefined;
  const aborted = new Promise<undefined>((resolve) => {
    stop = () => resolve(undefined);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
