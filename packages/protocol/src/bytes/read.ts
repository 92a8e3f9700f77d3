import type { Socket } from "node:net";
import { connectTo, type Pin } from "../tls/pinned.ts";
import { HeadReader, type Head } from "./head.ts";
import type { Take } from "./answer.ts";

export interface BytesRequest {
  readonly url: URL;
  /** The certificate that the peer must show, with https. */
  readonly pin: Pin | undefined;
  /** Beside `Host`, unless it is named, and `Connection`. */
  readonly headers: Readonly<Record<string, string>>;
  /** Longest time without a byte, milliseconds. */
  readonly idleMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** The answer to a GET, up to its body. To be followed by `read` or `close`. */
export interface Bytes extends Head {
  /**
   * Hands over the body as it comes. A chunk is good until `take` returns: the memory is used again. While the promise
   * of a `take` is pending nothing is read. Resolves when all `length` bytes were taken; rejects with the error of a
   * `take`, of the network ("ECONNRESET" when it is cut off, "ERR_IDLE" when nothing came), or the signal's reason.
   */
  read(take: (chunk: Buffer) => Promise<void> | undefined): Promise<void>;
  close(): void;
}

/** The largest chunk. More at once is slower: it does not stay in the processor's cache. */
export const CHUNK_BYTES = 65_536;

/**
 * One GET over a connection of its own, for large bodies: all of it comes through one piece of memory, where Node's own
 * client makes a new one for each read, which costs several times the reading. Throws RainError("unauthorized") for a
 * peer that may not be spoken to, and the system's error.
 */
export async function openBytes(request: BytesRequest): Promise<Bytes> {
  const { url, signal } = request;
  signal?.throwIfAborted();
  const text = requestText(url, request.headers);
  const stream = new Stream(request.idleMs, signal);
  try {
    const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    const callback = (count: number): boolean => stream.push(buffer.subarray(0, count));
    const socket = await connectTo(url, request.pin, { buffer, callback });
    stream.use(socket);
    socket.write(text, "latin1");
    const head = await stream.head();
    const close = (): void => stream.close();
    return { ...head, close, read: (take) => stream.body(head, take) };
  } catch (error) {
    stream.close();
    throw error;
  }
}

function requestText(url: URL, headers: BytesRequest["headers"]): string {
  const all = Object.entries({ Host: url.host, ...headers, Connection: "close" });
  const lines = all.map(([name, value]) => `${name}: ${value}`);
  for (const line of lines)
    if (!/^[\x20-\x7e]*$/.test(line)) throw new Error("a header with other characters than plain ones");
  return [`GET ${url.pathname}${url.search} HTTP/1.1`, ...lines, "", ""].join("\r\n");
}

class Stream {
  readonly #idleMs: number;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => this.#fail(this.#signal?.reason);
  readonly #reader: HeadReader = new HeadReader();
  #socket: Socket | undefined;
  #head: Head | undefined;
  /** Bytes of the body that came with the head. */
  #early: Buffer = Buffer.of();
  #take: Take | undefined;
  /** Bytes of the body that were taken. */
  #taken = 0;
  #isOver = false;
  #error: { readonly reason: unknown } | undefined;
  /** Told of the next thing that happens: the head, the end of the body, an error. */
  #wake: () => void = () => undefined;

  constructor(idleMs: number, signal: AbortSignal | undefined) {
    this.#idleMs = idleMs;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onAbort);
  }

  use(socket: Socket): void {
    this.#socket = socket;
    if (this.#error) socket.destroy();
    socket.setTimeout(this.#idleMs, () => {
      // It may be this side that does not read.
      if (!socket.isPaused()) this.#fail(coded("ERR_IDLE", `sent nothing for ${this.#idleMs / 1000} s`));
    });
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(coded("ECONNRESET", "the connection was cut")));
  }

  async head(): Promise<Head> {
    while (!this.#head) await this.#next();
    return this.#head;
  }

  async body({ length }: Head, take: Take): Promise<void> {
    if (length === undefined) throw coded("HPE_INVALID", "the answer has no Content-Length");
    this.#take = take;
    try {
      if (this.#give(this.#early)) this.#socket?.resume();
      while (this.#taken < length || !this.#isOver) await this.#next();
    } finally {
      this.close();
    }
  }

  close(): void {
    if (!this.#isOver) this.#error ??= { reason: coded("ECONNRESET", "the connection was closed") };
    this.#isOver = true;
    this.#wake();
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#socket?.destroy();
  }

  /** Bytes came. Answers whether more may come. */
  push(chunk: Buffer): boolean {
    if (this.#isOver) return false;
    try {
      if (this.#head) return this.#give(chunk);
      const found = this.#reader.push(chunk);
      if (!found) return true;
      this.#head = found.head;
      this.#early = Buffer.from(found.rest);
    } catch (error) {
      this.#fail(error);
    }
    this.#wake();
    this.#socket?.pause();
    return false;
  }

  #give(chunk: Buffer): boolean {
    if (this.#take === undefined || this.#error) return false;
    const left = (this.#head?.length ?? 0) - this.#taken;
    const own = chunk.length > left ? chunk.subarray(0, left) : chunk;
    this.#taken += own.length;
    let busy: Promise<void> | undefined;
    try {
      busy = own.length === 0 ? undefined : this.#take(own);
    } catch (error) {
      this.#fail(error);
      return false;
    }
    const isLast = own.length === left;
    if (busy === undefined && !isLast) return true;
    if (busy === undefined) {
      this.#end();
      return false;
    }
    this.#socket?.pause();
    busy.then(
      () => (isLast ? this.#end() : this.#socket?.resume()),
      (error: unknown) => this.#fail(error),
    );
    return false;
  }

  #end(): void {
    this.#isOver = true;
    this.#wake();
  }

  #fail(reason: unknown): void {
    if (this.#isOver || this.#error) return;
    this.#error = { reason };
    this.#socket?.destroy();
    this.#wake();
  }

  async #next(): Promise<void> {
    if (!this.#error && !this.#isOver) await new Promise<void>((resolve) => (this.#wake = resolve));
    if (this.#error) throw this.#error.reason;
  }
}

const coded = (code: string, message: string): Error => Object.assign(new Error(message), { code });
