import { request, type Agent, type IncomingMessage, type OutgoingHttpHeaders } from "node:http";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { fromWireError, RainError, wireError, type ErrorCode } from "@rain/protocol";
import { openBytes } from "@rain/protocol/bytes";
import { Agents } from "@rain/protocol/tls";
import { bodyOf, type Body } from "./body.ts";
import type { Connection } from "./connection.ts";
import { backoff, delay } from "./delay.ts";
import { Spool } from "./spool.ts";

export interface HttpRequest {
  readonly method: "GET" | "PUT";
  /** On the server, with its query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | Spool;
  readonly signal?: AbortSignal | undefined;
}

/** Failures in a row, without a byte of progress, after which an HTTP operation is given up. */
const MAX_FAILURES = 10;
/** A transfer that makes no progress for so long is cut, and tried again. */
const IDLE_MS = 60_000;
const MAX_SOCKETS = 8;
const SLICE_BYTES = 1_048_576;
const MAX_ERROR_BYTES = 65_536;

/** The HTTP side of a connection: where the bytes of objects travel. */
export class Http {
  readonly #connection: Connection;
  // Sockets without a request do not keep the process alive.
  readonly #agents = new Agents({ keepAlive: true, maxSockets: MAX_SOCKETS });

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** One exchange, up to the head of the answer. Throws RainError for every answer but 2xx, and for a lost network. */
  async open(asked: HttpRequest): Promise<IncomingMessage> {
    await this.#connection.linked();
    const { url, pin } = this.#connection.address;
    const agent = this.#agents.to(new URL(url), pin);
    let answer: IncomingMessage;
    try {
      answer = await exchange(new URL(asked.path, url), asked, agent, this.#connection.token ?? "");
    } catch (error) {
      asked.signal?.throwIfAborted();
      throw networkError(`${asked.method} ${url}${asked.path}`, error);
    }
    const status = answer.statusCode ?? 0;
    if (status >= 200 && status < 300) return answer;
    throw await readProblem(`${asked.method} ${url}${asked.path}`, status, answer);
  }

  /** The same for a GET of many bytes, over a connection of its own, which costs less for each of them. */
  async openMany(asked: HttpRequest): Promise<Body> {
    await this.#connection.linked();
    const { url, pin } = this.#connection.address;
    const { path, signal } = asked;
    const what = `${asked.method} ${url}${path}`;
    const headers = { ...asked.headers, Authorization: `Rain-Token ${this.#connection.token ?? ""}` };
    try {
      const bytes = await openBytes({ url: new URL(path, url), pin, headers, idleMs: IDLE_MS, signal });
      if (bytes.status >= 200 && bytes.status < 300 && bytes.length !== undefined) return bytes;
      bytes.close();
    } catch (error) {
      signal?.throwIfAborted();
      throw networkError(what, error);
    }
    // Asked again in the other way, it says what is wrong.
    return bodyOf(await this.open(asked));
  }

  /**
   * Repeats `attempt` while it fails for want of a network or of a server; `progress` tells how far it got, so that a
   * slow but moving transfer is never given up.
   */
  async retry<T>(
    attempt: () => Promise<T>,
    signal?: AbortSignal,
    progress: () => number = () => 0,
  ): Promise<T> {
    let reached = progress();
    for (let failures = 1; ; failures++) {
      try {
        return await attempt();
      } catch (error) {
        signal?.throwIfAborted();
        if (progress() > reached) failures = 1;
        reached = progress();
        if (!isPassing(error) || failures >= MAX_FAILURES) throw error;
        await delay(backoff(failures), signal);
        await this.#connection.linked();
      }
    }
  }

  close(): void {
    this.#agents.destroy();
  }
}

/** A token dies with its link: a request that was under way then is refused, and accepted with the next one. */
const isPassing = (error: unknown): boolean =>
  error instanceof RainError &&
  (error.retryable || error.code === "unauthorized") &&
  error.code !== "bad-digest";

export const networkError = (what: string, error: unknown): RainError =>
  error instanceof RainError
    ? error
    : new RainError(
        "connection",
        `${what}: ${error instanceof Error ? error.message : String(error)}`,
        {},
        { cause: error },
      );

function exchange(url: URL, asked: HttpRequest, agent: Agent, token: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { method, body, signal } = asked;
    const headers: OutgoingHttpHeaders = { ...asked.headers, Authorization: `Rain-Token ${token}` };
    if (body) headers["Content-Length"] = body instanceof Spool ? body.size : body.length;
    const sent = request(url, { method, headers, agent, ...(signal && { signal }) });
    sent.setTimeout(IDLE_MS, () => sent.destroy(new Error(`no progress for ${IDLE_MS / 1000} s`)));
    sent.on("response", resolve);
    sent.on("error", reject);
    // An error of the body is one of the request, which tells it.
    if (body) pipeline(Readable.from(slices(body), { objectMode: false }), sent).catch(reject);
    else sent.end();
  });
}

function slices(body: Uint8Array | Spool): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  return body instanceof Spool ? body.chunks() : slicesOf(body);
}

function* slicesOf(body: Uint8Array): Generator<Uint8Array, void, undefined> {
  for (let at = 0; at < body.length; at += SLICE_BYTES) yield body.subarray(at, at + SLICE_BYTES);
}

/** What an answer that is no success means: an error of Rain in its body, or its status. */
async function readProblem(what: string, status: number, answer: IncomingMessage): Promise<RainError> {
  let text = "";
  try {
    answer.setEncoding("utf8");
    for await (const part of answer) {
      text += String(part);
      if (text.length > MAX_ERROR_BYTES) break;
    }
  } catch (error) {
    return networkError(what, error);
  }
  const known = parseWireError(text);
  if (known) return known;
  const said = text.trim().slice(0, 500);
  return new RainError(codeOf(status), `${what}: HTTP status ${status}${said === "" ? "" : `: ${said}`}`, {
    status,
  });
}

const codes: ReadonlyMap<number, ErrorCode> = new Map([
  [401, "unauthorized"],
  [403, "not-allowed"],
  [404, "unknown-object"],
  [422, "bad-digest"],
]);
const codeOf = (status: number): ErrorCode =>
  codes.get(status) ?? (status >= 500 ? "server-stopping" : "internal");

function parseWireError(text: string): RainError | undefined {
  try {
    const parsed = wireError.safeParse(JSON.parse(text));
    return parsed.success ? fromWireError(parsed.data) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
