import {
  fromWireError,
  RainError,
  replySchemas,
  serverToClient,
  type ReplyOf,
  type Requests,
  type Feature,
  type RequestType,
  type ServerToClient,
  type SessionId,
} from "@rain/protocol";
import { check } from "@rain/protocol/codec";
import { connectLink, type Closed, type Link } from "@rain/protocol/link";
import type { Address } from "./address.ts";
import { backoff, delay } from "./delay.ts";
import { ConnectionError } from "./errors.ts";

/** The link that a request had to be answered on is gone. */
export class LinkLost extends Error {}

/** A request; its further fields are typed where it is made. */
interface Message {
  readonly type: RequestType;
  readonly req: number;
}

interface Pending {
  readonly message: Message;
  readonly onlyOn: number | undefined;
  readonly resolve: (ok: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export interface RequestOptions {
  /** Number of a link: fail with `LinkLost` instead of asking again on another one. */
  readonly onlyOn?: number | undefined;
  /** Stop waiting for the answer. The request itself is not taken back. */
  readonly signal?: AbortSignal | undefined;
}

export interface ConnectionOptions {
  /** How long to try to reconnect before giving up, seconds. */
  readonly reconnectS: number;
  /** Reads the address anew before each further try: the server may have another port or other keys by then. */
  readonly reread?: (() => Promise<Address>) | undefined;
}

type ServerLink = Link<ServerToClient, Message>;

/** Close codes that say that one side did not understand the other: the same would happen again. */
const FINAL_CLOSE: ReadonlySet<number> = new Set([1002, 1003, 1007, 1008, 1009]);

/**
 * Requests and their answers, over one link after another: when a link is lost, a new one is made, the sessions are
 * attached to it, and everything unanswered is asked again. That is safe since every request may be repeated.
 */
export class Connection {
  address: Address;
  readonly #reconnectS: number;
  readonly #reread: (() => Promise<Address>) | undefined;
  readonly #pending = new Map<number, Pending>();
  readonly #sessions = new Map<SessionId, (error: RainError) => void>();
  readonly #stop = new AbortController();
  #link: ServerLink | undefined;
  #linkNumber = 0;
  #lastReq = 0;
  #error: RainError | undefined;
  #isClosed = false;
  #waiters: { readonly resolve: (link: number) => void; readonly reject: (error: unknown) => void }[] = [];

  private constructor(address: Address, options: ConnectionOptions) {
    this.address = address;
    this.#reconnectS = options.reconnectS;
    this.#reread = options.reread;
  }

  /** Connects once; a server that is not there is an error at once. */
  static async open(address: Address, options: ConnectionOptions): Promise<Connection> {
    const connection = new Connection(address, options);
    try {
      connection.#adopt(await connection.#connect());
    } catch (error) {
      throw asConnectionError(error);
    }
    return connection;
  }

  /** For `Authorization: Rain-Token T`, while the link is there. A secret. */
  get token(): string | undefined {
    return this.#link?.welcome.token;
  }

  /** Does the server of the current link understand this, which the first servers did not? */
  knows(feature: Feature): boolean {
    return this.#link?.welcome.features.includes(feature) === true;
  }

  /** Closed by the user. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The number of the current link, once there is one. */
  async linked(): Promise<number> {
    if (this.#error) throw this.#error;
    if (this.#link) return this.#linkNumber;
    return await new Promise<number>((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** Sends a request and waits for its answer, over as many links as it takes. */
  async request<T extends RequestType>(
    type: T,
    fields: Requests[T],
    { onlyOn, signal }: RequestOptions = {},
  ): Promise<ReplyOf<T>> {
    if (this.#error) throw this.#error;
    signal?.throwIfAborted();
    if (onlyOn !== undefined && (onlyOn !== this.#linkNumber || !this.#link)) throw new LinkLost();
    const req = ++this.#lastReq;
    const message = { ...fields, type, req };
    let onAbort: (() => void) | undefined;
    try {
      const ok = await new Promise<unknown>((resolve, reject) => {
        onAbort = () => {
          this.#pending.delete(req);
          reject(signal?.reason);
        };
        signal?.addEventListener("abort", onAbort);
        const pending = { message, onlyOn, resolve, reject };
        this.#pending.set(req, pending);
        if (this.#link) this.#transmit(this.#link, pending);
      });
      return readReply(type, ok);
    } finally {
      if (onAbort) signal?.removeEventListener("abort", onAbort);
    }
  }

  /** The same for fields that depend on what the server knows: they are made anew for each link. */
  async requestAnew<T extends RequestType>(type: T, fields: () => Requests[T]): Promise<ReplyOf<T>> {
    for (;;) {
      const onlyOn = await this.linked();
      try {
        return await this.request(type, fields(), { onlyOn });
      } catch (error) {
        if (!(error instanceof LinkLost)) throw error;
      }
    }
  }

  /** Attaches the session to every later link; `onLost` is told when the server does not have it any more. */
  hold(session: SessionId, onLost: (error: RainError) => void): void {
    this.#sessions.set(session, onLost);
  }
  release(session: SessionId): void {
    this.#sessions.delete(session);
  }

  /** Ends it: what is unanswered fails. Nothing is taken back on the server. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const link = this.#link;
    this.#fail(new ConnectionError("connection", "the client is closed"));
    if (link) {
      await new Promise<void>((resolve) => {
        link.onClose(() => resolve());
        link.close();
      });
    }
  }

  async #connect(): Promise<ServerLink> {
    const { url, key, role, pin, clusterId, timeoutMs } = this.address;
    return await connectLink<ServerToClient, Message>({
      url,
      pin,
      role,
      key,
      clusterId,
      schema: serverToClient,
      timeoutMs,
    });
  }

  #adopt(link: ServerLink): void {
    this.#link = link;
    this.#linkNumber++;
    link.onMessage((message) => this.#receive(link, message));
    link.onClose((closed) => this.#lost(link, closed));
    for (const session of this.#sessions.keys()) void this.#attach(session);
    // Attaching comes first, so that the server knows whose requests follow. The requests keep their order.
    for (const pending of this.#pending.values()) {
      if (pending.onlyOn === undefined) this.#transmit(link, pending);
    }
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { resolve } of waiters) resolve(this.#linkNumber);
  }

  async #attach(session: SessionId): Promise<void> {
    try {
      await this.request("session.attach", { session }, { onlyOn: this.#linkNumber });
    } catch (error) {
      if (error instanceof LinkLost || error === this.#error) return; // the next link attaches it, or there is none
      if (!(error instanceof RainError)) throw error;
      this.#sessions.get(session)?.(error);
      this.#sessions.delete(session);
    }
  }

  #transmit(link: ServerLink, pending: Pending): void {
    try {
      link.send(pending.message);
    } catch (error) {
      this.#pending.delete(pending.message.req); // too large, or no plain data: it would be so on every link
      pending.reject(error);
    }
  }

  #receive(link: ServerLink, message: ServerToClient): void {
    const pending = this.#pending.get(message.req);
    if (link !== this.#link || !pending) return; // nobody waits for it any more
    if (message.type === "error" && message.error.code === "server-stopping") {
      link.close(); // the next server is asked again
      return;
    }
    this.#pending.delete(message.req);
    if (message.type === "reply") pending.resolve(message.ok);
    else pending.reject(fromWireError(message.error));
  }

  #lost(link: ServerLink, closed: Closed): void {
    if (link !== this.#link || this.#error) return;
    this.#link = undefined;
    for (const [req, pending] of this.#pending) {
      if (pending.onlyOn === undefined) continue;
      this.#pending.delete(req);
      pending.reject(new LinkLost());
    }
    const reason = closed.reason === "" ? `closed with code ${closed.code}` : closed.reason;
    if (FINAL_CLOSE.has(closed.code)) {
      this.#fail(new ConnectionError("bad-message", `${this.address.url}: the link failed: ${reason}`));
    } else {
      void this.#reconnect(reason);
    }
  }

  async #reconnect(why: string): Promise<void> {
    const deadline = performance.now() + this.#reconnectS * 1000;
    let refusals = 0;
    for (let attempt = 1; !this.#error; attempt++) {
      try {
        await delay(backoff(attempt), this.#stop.signal);
        if (this.#reread) this.address = await this.#reread();
        const link = await this.#connect();
        if (this.#error) link.close();
        else this.#adopt(link);
        return;
      } catch (error) {
        if (this.#error) return;
        const problem = asConnectionError(error);
        // A server that restarts between its challenge and our answer refuses us once without meaning it.
        if (problem.code === "unauthorized") refusals++;
        const final = problem.code === "version-mismatch" || refusals > 1;
        if (final || performance.now() > deadline) this.#fail(final ? problem : this.#gaveUp(why, problem));
      }
    }
  }

  #gaveUp(why: string, last: RainError): ConnectionError {
    return new ConnectionError(
      "connection",
      `the connection to ${this.address.url} was lost (${why}), and not restored within ${this.#reconnectS} s: ${last.message}`,
      last.facts,
      { cause: last },
    );
  }

  #fail(error: RainError): void {
    if (this.#error) return;
    this.#error = error;
    this.#link = undefined;
    this.#stop.abort();
    const all = [...this.#pending.values(), ...this.#waiters];
    this.#pending.clear();
    this.#waiters = [];
    for (const { reject } of all) reject(error);
  }
}

function asConnectionError(error: unknown): ConnectionError {
  if (error instanceof ConnectionError) return error;
  if (error instanceof RainError) {
    return new ConnectionError(error.code, error.message, error.facts, { cause: error });
  }
  // Not a failure of the network but of this library; it must end the connection all the same.
  const message = error instanceof Error ? error.message : String(error);
  return new ConnectionError("internal", message, {}, { cause: error });
}

function readReply<T extends RequestType>(type: T, ok: unknown): ReplyOf<T> {
  const parsed = check(replySchemas[type], ok);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new RainError(
    "bad-message",
    `the server's answer to ${type} is not understood: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`,
  );
}
