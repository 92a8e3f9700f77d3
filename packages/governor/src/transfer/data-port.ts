import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import {
  asDigest,
  asSessionId,
  asTaskId,
  limits,
  parseRange,
  pieceBytes,
  rangeHeaders,
  type ByteRange,
  type Digest,
  type Epoch,
  type SessionId,
  type TaskId,
} from "@rain/protocol";
import { sendFile } from "@rain/protocol/bytes";
import { FailureLimit, Lobby, Notices, type AuditEntry } from "@rain/protocol/link";
import { verifyTicket } from "@rain/protocol/tickets";
import { createHttpServer, type Certificate } from "@rain/protocol/tls";
import { errorCode } from "../monitor/errno.ts";
import type { Store } from "../store/index.ts";

type Stream = "stdout" | "stderr";
export interface DataPortOptions {
  readonly store: Store;
  readonly logFile: (
    session: SessionId,
    task: TaskId,
    stream: Stream,
  ) => { readonly path?: string; readonly data?: Uint8Array; readonly complete: boolean } | undefined;
  /** What it shows; without one it speaks plain HTTP, for loopback. */
  readonly certificate?: Certificate | undefined;
  readonly log: (level: "info" | "warn" | "error", text: string) => void;
  /** Told of refused tickets, with a limit for each address. */
  readonly audit: (entry: AuditEntry) => void;
}

/** The most of a log that one answer carries, bytes. */
const LOG_BYTES = 1_048_576;
const CONNECTIONS = 512;
/** Tickets of so many registrations are good: the last one's, and the one before for reads that were under way. */
const REGISTRATIONS = 2;

type Target =
  | { readonly type: "blob"; readonly sha256: Digest }
  | { readonly type: "log"; readonly session: SessionId; readonly task: TaskId; readonly stream: Stream };

/** Serves this governor's objects to other governors and to the server, and logs to the server; only for tickets. */
export class DataPort {
  readonly #options: DataPortOptions;
  readonly #server: Server;
  readonly #keys = new Map<Epoch, Uint8Array>();
  readonly #lobby = new Lobby();
  readonly #notices: Notices;
  readonly #failures = new FailureLimit(() => performance.now());
  #sending = 0;

  constructor(options: DataPortOptions) {
    this.#options = options;
    this.#notices = new Notices((text) => options.log("warn", `data port: ${text}`));
    this.#server = newServer(options.certificate);
    this.#lobby.watch(this.#server);
    this.#server.on("tlsClientError", (_error, socket: Socket) => socket.destroy());
    this.#server.on("clientError", (_error, socket) => socket.destroy());
    this.#server.on("request", (request, response) => {
      this.#answer(request, response).catch((error: unknown) => this.#failed(request, response, error));
    });
  }

  /** Answers its port. Rejects with the system's error. */
  listen(host: string, port = 0): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, host, () => {
        this.#server.off("error", reject);
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  /** Number of files that are being sent. */
  get sending(): number {
    return this.#sending;
  }

  /** The key of the tickets of a registration. */
  addKey(epoch: Epoch, key: Uint8Array): void {
    this.#keys.set(epoch, key);
    for (const known of this.#keys.keys()) if (this.#keys.size > REGISTRATIONS) this.#keys.delete(known);
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = URL.canParse(request.url ?? "", "http://x")
      ? new URL(request.url ?? "", "http://x")
      : undefined;
    const target = url && parseTarget(url.pathname);
    if (!url || !target) return refuse(response, 404, "no such path");
    if (request.method !== "GET") return refuse(response, 405, "only GET");
    if (!this.#isAllowed(request, url.pathname)) {
      this.#noteRefusal(request.socket, url.pathname);
      return refuse(response, 403, "no valid ticket for this path");
    }
    this.#lobby.admit(request.socket);
    if (target.type === "blob") await this.#sendBlob(target.sha256, request, response);
    else await this.#sendLog(target, url.searchParams.get("offset") ?? "0", response);
  }

  /** In the log once, for who reads it now and then; in the audit log with what was asked for. */
  #noteRefusal({ remoteAddress = "unknown", remotePort = 0 }: Socket, path: string): void {
    this.#notices.add(`refused ${remoteAddress}, which has no valid ticket`);
    const suppressed = this.#failures.count(remoteAddress);
    if (suppressed === undefined) return;
    const remote = `${remoteAddress}:${remotePort}`;
    const more = suppressed > 0 ? { suppressed } : {};
    this.#options.audit({ verb: "ticket", target: path, result: "refused", remote, ...more });
  }

  #isAllowed(request: IncomingMessage, path: string): boolean {
    const [scheme, ticket, ...rest] = (request.headers.authorization ?? "").split(" ");
    if (scheme !== "Rain-Ticket" || ticket === undefined || rest.length > 0) return false;
    return [...this.#keys].some(([epoch, key]) => verifyTicket(key, ticket, { method: "GET", path, epoch }));
  }

  async #sendBlob(sha256: Digest, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { store } = this.#options;
    const bytes = store.has(sha256) ? store.bytes(sha256) : undefined;
    if (bytes !== undefined) return sendBytes(bytes, request, response);
    const file = store.has(sha256) ? await openIfThere(await store.onDisk(sha256)) : undefined;
    if (!file) return refuse(response, 404, "this object is not here");
    this.#sending += 1;
    try {
      const { size } = await file.stat();
      const range = begin(request, response, size);
      if (range === undefined) return;
      if (size === 0) {
        response.end();
        return;
      }
      await sendFile(file, range, response, pieceBytes(this.#sending));
    } finally {
      this.#sending -= 1;
      await file.close();
    }
  }

  async #sendLog(
    target: Extract<Target, { type: "log" }>,
    offsetText: string,
    response: ServerResponse,
  ): Promise<void> {
    if (!/^\d{1,15}$/.test(offsetText)) return refuse(response, 400, "offset must be a number of bytes");
    const { session, task, stream } = target;
    const where = (): ReturnType<DataPortOptions["logFile"]> => this.#options.logFile(session, task, stream);
    let log = where();
    if (!log) return refuse(response, 404, "no log of this task is here");
    let file = await openLog(log);
    if (!file) {
      // Its program is about to write it, or it was moved in this moment because the program ended.
      log = where() ?? log;
      file = await openLog(log);
    }
    const offset = Number(offsetText);
    const { bytes, atEnd } = file
      ? await readPart(file, offset)
      : { bytes: (log.data ?? Buffer.of()).subarray(offset, offset + LOG_BYTES), atEnd: true };
    const isComplete = log.complete && atEnd;
    response.writeHead(200, {
      ...commonHeaders,
      "Content-Length": bytes.length,
      ...(isComplete ? { "Rain-Complete": "1" } : {}),
    });
    response.end(bytes);
  }

  #failed(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const code = errorCode(error);
    // The reader went away: it reads on from where it was, or not.
    const isReader = code === "ERR_STREAM_PREMATURE_CLOSE" || code === "ECONNRESET" || code === "EPIPE";
    if (!isReader) {
      this.#options.log("warn", `${request.method} ${request.url?.split("?")[0]}: ${String(error)}`);
    }
    if (response.headersSent) response.destroy();
    else refuse(response, 500, "this governor could not read it; its log says why");
  }
}

function newServer(certificate: Certificate | undefined): Server {
  const times = { requestTimeout: limits.requestTimeoutMs, keepAliveTimeout: 30_000 };
  const server = createHttpServer(certificate, times);
  server.maxHeadersCount = limits.headerCount;
  server.maxConnections = CONNECTIONS;
  return server;
}

const commonHeaders = {
  "Content-Type": "application/octet-stream",
  "Cache-Control": "no-store",
  "X-Content-Type-Options": "nosniff",
} as const;

function refuse(response: ServerResponse, status: number, text: string): void {
  // What the peer still sends is not read.
  response.writeHead(status, { "Content-Type": "text/plain", Connection: "close" });
  response.end(text);
}

/** Sends the head of the answer for bytes. Answers which of them are wanted; undefined when it was refused. */
function begin(
  request: IncomingMessage,
  response: ServerResponse,
  size: number,
): Exclude<ByteRange, string> | undefined {
  const range = parseRange(request.headers.range, size);
  if (range === "unsatisfiable") {
    response.setHeader("Content-Range", `bytes */${size}`);
    refuse(response, 416, "the object is shorter");
    return undefined;
  }
  response.writeHead(range.partial ? 206 : 200, { ...commonHeaders, ...rangeHeaders(range, size) });
  return range;
}

/** What is in memory goes out from there. */
function sendBytes(bytes: Uint8Array, request: IncomingMessage, response: ServerResponse): void {
  const range = begin(request, response, bytes.length);
  if (range !== undefined) response.end(bytes.subarray(range.start, range.end + 1));
}

function parseTarget(path: string): Target | undefined {
  const blob = /^\/rain\/v1\/blobs\/([0-9a-f]{64})$/.exec(path)?.[1];
  if (blob !== undefined) return { type: "blob", sha256: asDigest(blob) };
  const log = /^\/rain\/v1\/sessions\/(\d{1,10})\/tasks\/(\d{1,10})\/(stdout|stderr)$/.exec(path);
  if (!log) return undefined;
  const [, session, task, stream] = log;
  return {
    type: "log",
    session: asSessionId(Number(session)),
    task: asTaskId(Number(task)),
    stream: stream === "stderr" ? "stderr" : "stdout",
  };
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

const openLog = async ({ path }: { readonly path?: string }): Promise<FileHandle | undefined> =>
  path === undefined ? undefined : await openIfThere(path);

/** Reads a log from `offset` on and closes it. */
async function readPart(file: FileHandle, offset: number): Promise<{ bytes: Buffer; atEnd: boolean }> {
  try {
    const { size } = await file.stat();
    const length = Math.max(0, Math.min(size - offset, LOG_BYTES));
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
    return { bytes: buffer.subarray(0, bytesRead), atEnd: offset + bytesRead >= size };
  } finally {
    await file.close();
  }
}
