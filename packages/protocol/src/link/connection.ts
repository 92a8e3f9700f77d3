import type { Socket } from "node:net";
import type { WebSocket } from "ws";
import { decode, encode } from "../codec/index.ts";
import { RainError } from "../errors.ts";
import { limits } from "../limits.ts";
import type { Closed, Link, LinkRole, Welcome } from "./types.ts";

/** What to do with a value that arrived: hand it on, or answer it here. */
export type Verdict<In, Out> =
  | { readonly message: In }
  /** `denied`: the type of the message, which the peer's role may not send. */
  | { readonly answer: Out; readonly denied?: string };

export interface Wiring<In, Out> {
  readonly role: LinkRole;
  readonly welcome: Welcome;
  /** Checks a decoded value. A RainError that it throws closes the link. */
  readonly accept: (value: unknown) => Verdict<In, Out>;
  /** Told of what the peer sent that closes the link. */
  readonly refused: (problem: string) => void;
  /** Told of a message that was answered only with a refusal. */
  readonly denied?: (type: string) => void;
  /** Time between pings, ms. */
  readonly keepaliveMs?: number | undefined;
}

/** Options of every WebSocket here, on both sides. */
export const socketOptions: {
  readonly perMessageDeflate: false;
  readonly maxPayload: number;
  readonly maxFragments: number;
  readonly maxBufferedChunks: number;
  readonly maxPendingAutoPongs: number;
  readonly closeTimeout: number;
} = {
  perMessageDeflate: false,
  maxPayload: limits.messageBytes,
  maxFragments: limits.fragments,
  maxBufferedChunks: 4_096,
  maxPendingAutoPongs: 8,
  closeTimeout: 2_000,
};

const KEEPALIVE_MS = 10_000;
/** Pings in a row without a byte from the peer, or without a message that it took, after which it is given up. */
const MAX_SILENT_TICKS = 3;
const CUT = 1006;
const POLICY = 1008;
const NOT_BINARY = 1003;
/** Bytes that a close frame has for its reason. */
const REASON_BYTES = 123;

/** A link over an open WebSocket; the same on both sides. */
export class Connection<In, Out extends object> implements Link<In, Out> {
  readonly remote: string;
  readonly role: LinkRole;
  readonly welcome: Welcome;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #wiring: Wiring<In, Out>;
  readonly #timer: NodeJS.Timeout;
  /** Why reading from the peer stands still. */
  readonly #pauses: Set<"output" | "unheard"> = new Set();
  #onMessage: ((message: In) => void) | undefined;
  #onClose: ((closed: Closed) => void) | undefined;
  #unheard: In[] = [];
  #unheardBytes = 0;
  /** Set when this side ends the link: what came after is not looked at. */
  #ending: Closed | undefined;
  #problem = "";
  #closed: Closed | undefined;
  #flushed = 0;
  /** Questions for a sign of life, by number, that are not answered. */
  readonly #probes: Map<number, () => void> = new Map();
  #lastProbe = 0;
  #corked = false;
  #seen: { readonly read: number; readonly flushed: number } = { read: 0, flushed: 0 };
  #silentTicks = 0;

  /** Must be called in the same tick in which the WebSocket opened. */
  constructor(ws: WebSocket, socket: Socket, wiring: Wiring<In, Out>) {
    this.#ws = ws;
    this.#socket = socket;
    this.#wiring = wiring;
    this.role = wiring.role;
    this.welcome = wiring.welcome;
    this.remote = `${socket.remoteAddress ?? "unknown"}:${socket.remotePort ?? 0}`;
    ws.on("error", (error) => this.#protocolError(error));
    ws.on("message", (data: Buffer, isBinary) => this.#receive(data, isBinary));
    ws.on("pong", (data: Buffer) => this.#answered(Number(data.toString("latin1"))));
    ws.on("close", (code, reason) => this.#ended(code, reason.toString()));
    this.#timer = setInterval(() => this.#tick(), wiring.keepaliveMs ?? KEEPALIVE_MS);
    this.#timer.unref();
  }

  get bufferedBytes(): number {
    return this.#ws.bufferedAmount;
  }

  send(message: Out): void {
    if (this.#ending !== undefined || this.#ws.readyState !== this.#ws.OPEN) return;
    this.#gather();
    this.#ws.send(encode(message), (error) => {
      // An error here is the end of the connection, which the close event tells.
      if (error instanceof Error) return;
      this.#flushed++;
      if (this.bufferedBytes <= limits.pauseAtBufferedBytes / 2) this.#resume("output");
    });
    const buffered = this.bufferedBytes;
    if (buffered > limits.dropAtBufferedBytes)
      this.#cut(
        `the peer left ${buffered} bytes unread; at most ${limits.dropAtBufferedBytes} are kept for it`,
      );
    else if (buffered > limits.pauseAtBufferedBytes) this.#pause("output");
  }

  probe(heard: () => void): void {
    if (this.#ending !== undefined || this.#ws.readyState !== this.#ws.OPEN) return;
    const number = ++this.#lastProbe;
    this.#probes.set(number, heard);
    this.#ws.ping(String(number));
  }

  /** A peer may answer the last of several pings only. */
  #answered(number: number): void {
    for (const [at, heard] of this.#probes) {
      if (!(at <= number)) return; // NaN too: a pong of somebody else's ping
      this.#probes.delete(at);
      heard();
    }
  }

  /** What is said in one turn of the event loop goes out in one system call: it wakes the peer, which is dear. */
  #gather(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
    setImmediate(() => this.flush());
  }

  flush(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  }

  onMessage(handler: (message: In) => void): void {
    this.#onMessage = handler;
    const unheard = this.#unheard;
    this.#unheard = [];
    this.#unheardBytes = 0;
    this.#resume("unheard");
    for (const message of unheard) handler(message);
  }

  onClose(handler: (closed: Closed) => void): void {
    this.#onClose = handler;
    if (this.#closed !== undefined) handler(this.#closed);
  }

  close(code: number = 1000, reason: string = ""): void {
    if (this.#ending !== undefined || this.#closed !== undefined) return;
    this.#ending = { code, reason };
    this.#ws.close(code, cutText(reason));
    // The peer's answer to the close must be read.
    this.#pauses.clear();
    this.#ws.resume();
  }

  /** Ends the link at once, without the peer. */
  #cut(reason: string): void {
    this.#ending ??= { code: CUT, reason };
    this.#ws.terminate();
  }

  terminate(reason: string = "cut by this side"): void {
    this.#cut(reason);
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (this.#ending !== undefined) return;
    if (!isBinary) return this.#refuse(NOT_BINARY, "a text frame; messages are binary");
    let verdict: Verdict<In, Out>;
    try {
      verdict = this.#wiring.accept(decode(data));
    } catch (error) {
      if (!(error instanceof RainError)) throw error;
      return this.#refuse(POLICY, error.message);
    }
    if ("answer" in verdict) {
      if (verdict.denied !== undefined) this.#wiring.denied?.(verdict.denied);
      this.send(verdict.answer);
    } else if (this.#onMessage !== undefined) this.#onMessage(verdict.message);
    else this.#keep(verdict.message, data.length);
  }

  #keep(message: In, bytes: number): void {
    this.#unheard.push(message);
    this.#unheardBytes += bytes;
    if (this.#unheardBytes > limits.pauseAtBufferedBytes) this.#pause("unheard");
  }

  #refuse(code: number, problem: string): void {
    this.#wiring.refused(problem);
    this.close(code, problem);
  }

  /** Something that is not WebSocket, or beyond its limits. The library closes the connection by itself. */
  #protocolError(error: Error): void {
    this.#problem = error.message;
    if (this.#ending === undefined) this.#wiring.refused(error.message);
  }

  #ended(code: number, reason: string): void {
    clearInterval(this.#timer);
    this.#probes.clear();
    this.#closed = this.#ending ?? { code, reason: reason === "" ? this.#problem : reason };
    this.#onClose?.(this.#closed);
  }

  #pause(why: "output" | "unheard"): void {
    this.#pauses.add(why);
    this.#ws.pause();
  }

  #resume(why: "output" | "unheard"): void {
    if (this.#pauses.delete(why) && this.#pauses.size === 0) this.#ws.resume();
  }

  /**
   * Counts ticks, not time: a process that was held up for a minute sees one late tick and does not take its own
   * silence for the peer's. While reading is paused, only what the peer takes shows that it lives.
   */
  #tick(): void {
    const now = { read: this.#socket.bytesRead, flushed: this.#flushed };
    const waiting = this.#pauses.has("output")
      ? now.flushed === this.#seen.flushed
      : now.read === this.#seen.read;
    const ours = this.#pauses.size === 1 && this.#pauses.has("unheard");
    this.#silentTicks = waiting && !ours ? this.#silentTicks + 1 : 0;
    this.#seen = now;
    const seconds = Math.round((MAX_SILENT_TICKS * (this.#wiring.keepaliveMs ?? KEEPALIVE_MS)) / 1_000);
    if (this.#silentTicks >= MAX_SILENT_TICKS) this.#cut(`no sign of life from the peer for ${seconds} s`);
    else if (this.#ws.readyState === this.#ws.OPEN && !this.#pauses.has("output")) this.#ws.ping();
  }
}

/** The longest start of a text that fits into a close frame. */
function cutText(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= REASON_BYTES) return text;
  let end = REASON_BYTES;
  // Not within a character: bytes 10xxxxxx continue one.
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end).toString();
}
