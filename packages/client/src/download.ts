import { createHash, type Hash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { RainError, type ObjectInfo } from "@rain/protocol";
import { networkError, type Http } from "./http.ts";

/** Where the bytes go, and when more may come; the same place may be written again after a restart. */
export type WriteAt = (chunk: Buffer, at: number) => Promise<void> | undefined;

/** Whole downloads with wrong bytes, after which it is given up. */
const MAX_WRONG = 2;

/**
 * Brings the bytes of an object, which are checked against its digest. A cut transfer goes on where it stopped; wrong
 * bytes are fetched again from the start, and are an error ("bad-digest") after a second time.
 */
export async function download(
  http: Http,
  path: string,
  info: ObjectInfo,
  writeAt: WriteAt,
  signal?: AbortSignal,
): Promise<void> {
  for (let wrong = 1; ; wrong++) {
    const transfer = new Transfer(http, path, info, writeAt, signal);
    const sha256 = await transfer.run();
    if (sha256 === info.sha256) return;
    if (wrong < MAX_WRONG) continue;
    throw new RainError(
      "bad-digest",
      `${path}: the bytes that came have SHA-256 ${sha256}, not ${info.sha256}, ${MAX_WRONG} times in a row`,
      { size: info.size },
    );
  }
}

class Transfer {
  readonly #http: Http;
  readonly #path: string;
  readonly #info: ObjectInfo;
  readonly #writeAt: WriteAt;
  readonly #signal: AbortSignal | undefined;
  readonly #hash: Hash = createHash("sha256");
  #at = 0;

  constructor(http: Http, path: string, info: ObjectInfo, writeAt: WriteAt, signal: AbortSignal | undefined) {
    this.#http = http;
    this.#path = path;
    this.#info = info;
    this.#writeAt = writeAt;
    this.#signal = signal;
  }

  /** The digest of all bytes, once they are here. */
  async run(): Promise<string> {
    while (this.#at < this.#info.size) {
      await this.#http.retry(
        () => this.#read(),
        this.#signal,
        () => this.#at,
      );
    }
    return this.#hash.digest("hex");
  }

  async #read(): Promise<void> {
    const headers = this.#at === 0 ? {} : { Range: `bytes=${this.#at}-` };
    const answer = await this.#http.open({ method: "GET", path: this.#path, headers, signal: this.#signal });
    try {
      await this.#take(answer);
    } finally {
      answer.destroy();
    }
    if (this.#at < this.#info.size) {
      throw new RainError("connection", `${this.#path}: cut after ${this.#at} of ${this.#info.size} bytes`);
    }
  }

  async #take(answer: IncomingMessage): Promise<void> {
    let from = startOf(answer);
    if (from > this.#at)
      throw new RainError("internal", `${this.#path}: the answer starts at ${from}, not ${this.#at}`);
    await eachChunk(this.#path, answer, this.#signal, (chunk) => {
      const known = Math.min(Math.max(this.#at - from, 0), chunk.length); // a server without Range starts over
      from += chunk.length;
      const fresh = chunk.subarray(known);
      if (fresh.length === 0) return undefined;
      if (this.#at + fresh.length > this.#info.size) {
        throw new RainError(
          "bad-message",
          `${this.#path}: more than the ${this.#info.size} bytes it should have`,
        );
      }
      this.#hash.update(fresh);
      const busy = this.#writeAt(fresh, this.#at);
      this.#at += fresh.length;
      return busy;
    });
  }
}

/**
 * Gives `take` the chunks of a body, the next one when it can take it; a cut is an error of the network, so that it is
 * tried again. It listens for data, and does not iterate: that took half as long again.
 */
async function eachChunk(
  what: string,
  answer: IncomingMessage,
  signal: AbortSignal | undefined,
  take: (chunk: Buffer) => Promise<void> | undefined,
): Promise<void> {
  let taking: Promise<void> | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      answer.on("data", (chunk: Buffer) => {
        try {
          taking = take(chunk);
        } catch (error) {
          answer.pause();
          reject(error);
        }
        if (taking === undefined) return;
        answer.pause();
        taking.then(() => answer.resume(), reject);
      });
      answer.on("end", resolve);
      answer.on("error", (error) => reject(signal?.aborted ? signal.reason : networkError(what, error)));
      answer.on("close", () => reject(networkError(what, new Error("cut"))));
    });
  } finally {
    await taking;
  }
}

function startOf(answer: IncomingMessage): number {
  if (answer.statusCode !== 206) return 0;
  const match = /^bytes (\d{1,15})-/.exec(answer.headers["content-range"] ?? "");
  if (!match) throw new RainError("bad-message", "a partial answer without a Content-Range");
  return Number(match[1]);
}
