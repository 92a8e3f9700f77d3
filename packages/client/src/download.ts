import { createHash, type Hash } from "node:crypto";
import { RainError, type ObjectInfo } from "@rain/protocol";
import { bodyOf, type Body } from "./body.ts";
import { networkError, type Http } from "./http.ts";

/** Where the bytes go, and when more may come; the same place may be written again after a restart. */
export type WriteAt = (chunk: Buffer, at: number) => Promise<void> | undefined;

/** Objects above this size are worth a connection of their own. */
const LARGE_BYTES = 1_048_576;
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
    const headers: Record<string, string> = this.#at === 0 ? {} : { Range: `bytes=${this.#at}-` };
    const asked = { method: "GET", path: this.#path, headers, signal: this.#signal } as const;
    const isLarge = this.#info.size > LARGE_BYTES;
    const body = isLarge ? await this.#http.openMany(asked) : bodyOf(await this.#http.open(asked));
    try {
      await this.#take(body);
    } finally {
      body.close();
    }
    if (this.#at < this.#info.size) {
      throw new RainError("connection", `${this.#path}: cut after ${this.#at} of ${this.#info.size} bytes`);
    }
  }

  async #take(body: Body): Promise<void> {
    let from = startOf(body);
    if (from > this.#at)
      throw new RainError("internal", `${this.#path}: the answer starts at ${from}, not ${this.#at}`);
    let own: { readonly error: unknown } | undefined;
    const note = (error: unknown): never => {
      own = { error };
      throw error;
    };
    try {
      await body.read((chunk) => {
        const known = Math.min(Math.max(this.#at - from, 0), chunk.length); // a server without Range starts over
        from += chunk.length;
        try {
          return this.#takeFresh(chunk.subarray(known))?.catch(note);
        } catch (error) {
          return note(error);
        }
      });
    } catch (error) {
      if (own !== undefined) throw own.error;
      this.#signal?.throwIfAborted();
      throw networkError(this.#path, error);
    }
  }

  #takeFresh(chunk: Buffer): Promise<void> | undefined {
    if (chunk.length === 0) return undefined;
    if (this.#at + chunk.length > this.#info.size)
      throw new RainError(
        "bad-message",
        `${this.#path}: more than the ${this.#info.size} bytes it should have`,
      );
    this.#hash.update(chunk);
    const busy = this.#writeAt(chunk, this.#at);
    this.#at += chunk.length;
    return busy;
  }
}

function startOf({ status, headers }: Body): number {
  if (status !== 206) return 0;
  const match = /^bytes (\d{1,15})-/.exec(String(headers["content-range"] ?? ""));
  if (!match) throw new RainError("bad-message", "a partial answer without a Content-Range");
  return Number(match[1]);
}
