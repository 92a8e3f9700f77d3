import { randomBytes } from "node:crypto";
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { lstat, mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  DEFAULT_PORT,
  limits,
  objectPath,
  blobPath,
  RainError,
  timing,
  type AssignedInput,
  type GovernorId,
  type ObjectSource,
} from "@rain/protocol";
import { accessFileName, createAccess, saveAccessUrl, type Access } from "@rain/protocol/access";
import { Gate, type ClientPeer, type GovernorPeer, type ServerLink } from "@rain/protocol/link";
import { lockFolder } from "@rain/protocol/lock";
import { signTicket } from "@rain/protocol/tickets";
import { nanoid } from "nanoid";
import {
  DurableState,
  ServerCore,
  type ConnectionId,
  type DraftInput,
  type ServerConfig,
  type ServerEffect,
} from "./core/index.ts";
import { ServerDriver } from "./driver.ts";
import type { DataPort } from "./http/proxy.ts";
import { respondText } from "./http/respond.ts";
import { handleRequest, type RouteContext } from "./http/routes.ts";
import { openJournalFolder, type Journal } from "./journal/index.ts";
import { checkInlineBytes, errorReply, SubmitAssembly } from "./links.ts";
import { BlobFolder } from "./objects/blobs.ts";
import { NodeClock } from "./wake.ts";

export type LogLevel = "info" | "warn" | "error";

export interface ServerOptions {
  /** Folder of the instance: access file, journal, uploads. Made when it is missing. */
  readonly instanceDir: string;
  /** Default: `journal` in the instance's folder. */
  readonly journalDir?: string | undefined;
  /** Default: 127.0.0.1:7210. Port 0 takes a free one. Only loopback addresses are taken. */
  readonly listen?: { readonly host: string; readonly port: number } | undefined;
  /** How long a silent governor keeps its tasks, milliseconds. */
  readonly leaseMs?: number | undefined;
  readonly heartbeatMs?: number | undefined;
  /** How long an attached session outlives its last client, milliseconds. */
  readonly sessionLeaseMs?: number | undefined;
  readonly version: string;
  readonly log: (level: LogLevel, text: string) => void;
}

export interface RunningServer {
  /** `http://host:port`. */
  readonly url: string;
  readonly port: number;
  readonly accessFile: string;
  /** Stops as SIGTERM does: what is acknowledged is on disk; programs go on. */
  stop(): Promise<void>;
  /** Settles when the server has ended. `code` is a process exit code: 0, 74 journal failed, 70 internal. */
  readonly exited: Promise<{ readonly code: number; readonly reason: string }>;
}

const LOOPBACK = new Set(["127.0.0.1", "localhost", "::1"]);

/**
 * Starts a server: reads the journal, listens, and runs until `stop` or a request to stop.
 * Throws RainError: "bad-file" (damaged journal, bad access file), "bad-request" (address), "connection" (port in use).
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const listen = options.listen ?? { host: "127.0.0.1", port: DEFAULT_PORT };
  if (!LOOPBACK.has(listen.host)) {
    throw new RainError(
      "bad-request",
      `cannot listen on ${listen.host}: only loopback addresses (127.0.0.1, ::1, localhost) are served without TLS, ` +
        "and TLS is not there yet; use an ssh tunnel to reach this machine from another one",
    );
  }
  await mkdir(options.instanceDir, { recursive: true, mode: 0o700 });
  const journalDir = options.journalDir ?? join(options.instanceDir, "journal");
  const unlock = await lockFolder(journalDir, {
    what: "the journal",
    remedy: "stop that server, or give this one another folder",
  });
  const http = createHttpServer();
  try {
    const port = await listenOn(http, listen.host, listen.port);
    const host = listen.host.includes(":") ? `[${listen.host}]` : listen.host;
    const url = `http://${host}:${port}`;
    const access = await openAccess(join(options.instanceDir, accessFileName), url);
    const server = new Server(options, http, access, url, port);
    await server.start(journalDir, unlock);
    return server;
  } catch (error) {
    http.close();
    await unlock();
    throw error;
  }
}

/** The instance's access file with this address; made, with new keys, at the first start. */
async function openAccess(path: string, url: string): Promise<Access> {
  const isThere = await lstat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw error;
    },
  );
  return isThere ? await saveAccessUrl(path, url) : await createAccess(path, { url });
}

function createHttpServer(): HttpServer {
  const http = createServer({
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersTimeoutMs,
    // Uploads may take long; slow headers are what the timeouts are for.
    requestTimeout: 0,
    connectionsCheckingInterval: 1_000,
    keepAliveTimeout: 5_000,
  });
  http.maxHeadersCount = 64;
  http.maxConnections = 12_000;
  return http;
}

function listenOn(http: HttpServer, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      const why =
        error.code === "EADDRINUSE"
          ? `port ${port} on ${host} is in use; stop what listens there or choose another with --listen`
          : `cannot listen on ${host}:${port}: ${error.message}`;
      reject(new RainError("connection", why, { port, errno: error.code ?? "" }));
    };
    http.once("error", failed);
    http.listen(port, host, () => {
      http.off("error", failed);
      resolve((http.address() as AddressInfo).port);
    });
  });
}

/** The shell around the core: sockets in, effects out. */
class Server implements RunningServer {
  readonly url: string;
  readonly port: number;
  readonly accessFile: string;
  readonly exited: Promise<{ readonly code: number; readonly reason: string }>;
  readonly #options: ServerOptions;
  readonly #http: HttpServer;
  readonly #access: Access;
  readonly #clock = new NodeClock();
  readonly #links: Map<ConnectionId, ServerLink> = new Map();
  /** Connected governors: where their data ports are. */
  readonly #ports: Map<
    GovernorId,
    DataPort & { readonly connection: ConnectionId; readonly relay: boolean }
  > = new Map();
  /** Key of the tickets for bytes that this server itself serves; new at each start. */
  readonly #ticketKey = new Uint8Array(randomBytes(32));
  readonly #heartbeatMs: number;
  readonly #leaseMs: number;
  #resolveExit: (end: { code: number; reason: string }) => void = () => undefined;
  #ending: Promise<void> | undefined;
  #unlock: () => Promise<void> = () => Promise.resolve();
  #journal!: Journal;
  #core!: ServerCore;
  #driver!: ServerDriver;
  #blobs!: BlobFolder;
  #gate!: Gate;

  constructor(options: ServerOptions, http: HttpServer, access: Access, url: string, port: number) {
    this.#options = options;
    this.#http = http;
    this.#access = access;
    this.url = url;
    this.port = port;
    this.accessFile = join(options.instanceDir, accessFileName);
    this.#leaseMs = options.leaseMs ?? timing.leaseMs;
    this.#heartbeatMs = options.heartbeatMs ?? Math.min(timing.heartbeatMs, this.#leaseMs / 4);
    this.exited = new Promise((resolve) => (this.#resolveExit = resolve));
  }

  async start(journalDir: string, unlock: () => Promise<void>): Promise<void> {
    this.#unlock = unlock;
    const { log } = this.#options;
    const { clusterId } = this.#access;
    const opened = await openJournalFolder({
      folder: journalDir,
      clusterId,
      newState: () => new DurableState(),
      onNote: (note) => log(note.level, note.text),
      onFatal: (error) => this.#fail(74, error),
    });
    this.#journal = opened.journal;
    const config: ServerConfig = {
      version: this.#options.version,
      clusterId,
      instance: nanoid(),
      leaseMs: this.#leaseMs,
      heartbeatMs: this.#heartbeatMs,
      sessionLeaseMs: this.#options.sessionLeaseMs ?? timing.sessionLeaseMs,
      crashLimit: limits.crashLimit,
      aheadMs: timing.aheadMs,
    };
    this.#core = new ServerCore(config, opened.state, this.#clock.now());
    const used = this.#core.kernel.live.blobs;
    this.#blobs = await BlobFolder.open(join(this.#options.instanceDir, "uploads"), {
      isUsed: (sha256) => used.has(sha256),
    });
    this.#driver = new ServerDriver(this.#core, this.#journal, this.#clock, (effect) =>
      this.#perform(effect),
    );
    this.#openGate(config);
    this.#driver.input({ type: "tick" });
    log("info", `listening on ${this.url}, journal in ${journalDir}`);
  }

  // --------------------------------------------------------------------------------------------------- listening

  #openGate(config: ServerConfig): void {
    this.#gate = new Gate({
      clusterId: config.clusterId,
      instance: config.instance,
      keys: this.#access.keys,
      onLink: (link) => this.#accept(link),
      audit: (entry) => this.#options.log("info", `audit ${JSON.stringify(entry)}`),
    });
    const context: RouteContext = {
      core: this.#core,
      blobs: this.#blobs,
      isClient: (request) => this.#gate.authorize(request)?.role === "client",
      ticketKey: this.#ticketKey,
      dataPort: (governor) => this.#ports.get(governor),
      onMissing: (ref, governor) => this.#driver.input({ type: "replica.missing", ref, governor }),
    };
    this.#http.on("request", (request, response) => {
      const refused = this.#gate.check(request);
      if (refused !== undefined) return respondText(response, 403, refused);
      if (this.#gate.handle(request, response)) return;
      handleRequest(context, request, response).catch((error: unknown) => {
        // The reader broke off, or the disk failed under a read: this answer ends, the server goes on.
        this.#options.log("warn", `${request.method} ${request.url?.split("?")[0]}: ${String(error)}`);
        respondText(response, 500, "the server could not read this; its log says why");
      });
    });
    this.#http.on("upgrade", (request, socket, head) => this.#gate.upgrade(request, socket, head));
    this.#http.on("clientError", (_error, socket) => socket.destroy());
  }

  #accept(link: ServerLink): void {
    this.#links.set(link.id, link);
    if (link.role === "client") this.#acceptClient(link);
    else this.#acceptGovernor(link);
  }

  #acceptClient(link: ClientPeer): void {
    const parts = new SubmitAssembly(
      (sha256) => this.#blobs.size(sha256),
      (key) => this.#core.durable.datastores.byKey.has(key),
    );
    link.onMessage((message) => {
      try {
        const request = parts.take(message);
        if (request) this.#driver.input({ type: "client.request", connection: link.id, request });
        else link.send({ type: "reply", req: message.req, ok: {} });
      } catch (error) {
        if (!(error instanceof RainError)) throw error;
        link.send(errorReply(message.req, error));
      }
    });
    link.onClose(() => {
      this.#links.delete(link.id);
      this.#driver.input({ type: "client.gone", connection: link.id });
    });
  }

  #acceptGovernor(link: GovernorPeer): void {
    link.onMessage((message) => {
      try {
        checkInlineBytes(message);
      } catch (error) {
        this.#options.log("error", `governor on ${link.remote}: ${String(error)}; its connection is closed`);
        link.close(1008, "bad-digest");
        return;
      }
      this.#driver.input({ type: "governor.message", connection: link.id, message });
    });
    link.onClose(() => {
      this.#links.delete(link.id);
      for (const [id, port] of this.#ports) if (port.connection === link.id) this.#ports.delete(id);
      this.#driver.input({ type: "governor.gone", connection: link.id });
    });
  }

  // ---------------------------------------------------------------------------------------------------- effects

  #perform(effect: ServerEffect): void {
    switch (effect.type) {
      case "reply":
        this.#client(effect.connection)?.send({ type: "reply", req: effect.req, ok: effect.ok });
        break;
      case "error":
        this.#client(effect.connection)?.send({ type: "error", req: effect.req, error: effect.error });
        break;
      case "send":
        this.#governor(effect.connection)?.send(effect.message);
        break;
      case "registered":
        this.#register(effect);
        break;
      case "assign":
        this.#assign(effect);
        break;
      case "close":
        this.#links.get(effect.connection)?.close(1000, "replaced or refused");
        break;
      case "blob.remove":
        this.#blobs.remove(effect.sha256).catch((error: unknown) => {
          this.#options.log("warn", `cannot remove upload ${effect.sha256}: ${String(error)}`);
        });
        break;
      case "exit":
        void this.#end(0, "asked to stop");
        break;
      case "log":
        this.#options.log(effect.level, effect.text);
        break;
    }
  }

  #client(id: ConnectionId): ClientPeer | undefined {
    const link = this.#links.get(id);
    return link?.role === "client" ? link : undefined;
  }
  #governor(id: ConnectionId): GovernorPeer | undefined {
    const link = this.#links.get(id);
    return link?.role === "governor" ? link : undefined;
  }

  #register(effect: Extract<ServerEffect, { type: "registered" }>): void {
    const { connection, governor, epoch, dataUrl, relay } = effect;
    const ticketKey = new Uint8Array(randomBytes(32));
    this.#ports.set(governor, { url: dataUrl, ticketKey, epoch, connection, relay });
    const heartbeatMs = this.#heartbeatMs;
    const leaseMs = this.#leaseMs;
    this.#governor(connection)?.send({
      type: "registered",
      governor,
      epoch,
      heartbeatMs,
      leaseMs,
      ticketKey,
    });
  }

  #assign({
    connection,
    session,
    task,
    attempt,
    spec,
    ...effect
  }: Extract<ServerEffect, { type: "assign" }>): void {
    const relay = this.#ports.get(effect.governor)?.relay === true;
    const inputs = effect.inputs.map((input) => this.#address(input, session, relay));
    try {
      this.#governor(connection)?.send({ type: "assign", session, task, attempt, spec, inputs });
    } catch (error) {
      if (!(error instanceof RainError) || error.code !== "limit-exceeded") throw error;
      // The task can never be told to a governor, so it fails as if its governor had said so.
      const failure = {
        reason: "internal",
        message: `the assignment does not fit a message: ${error.message}`,
      } as const;
      const message = { type: "fail", session, task, attempt, failure, info: {} } as const;
      this.#driver.input({ type: "governor.message", connection, message });
    }
  }

  /** Turns the holders of an input into addresses with tickets. */
  #address(
    { holders, onServer, ...input }: DraftInput,
    session: Parameters<typeof objectPath>[0],
    relay: boolean,
  ): AssignedInput {
    if (input.data) return { ...input, sources: [] };
    const sources: ObjectSource[] = [];
    for (const holder of relay ? [] : holders) {
      const port = this.#ports.get(holder);
      if (!port) continue;
      const path = blobPath(input.sha256);
      const ticket = signTicket(port.ticketKey, { method: "GET", path, epoch: port.epoch });
      sources.push({ url: port.url + path, ticket });
    }
    // The server comes last: for its own bytes, and to pass on those of a governor that cannot be reached directly.
    if (onServer || holders.length > 0) {
      const path = objectPath(session, input.object);
      sources.push({ url: path, ticket: signTicket(this.#ticketKey, { method: "GET", path, epoch: 0 }) });
    }
    return { ...input, sources };
  }

  // -------------------------------------------------------------------------------------------------------- end

  async stop(): Promise<void> {
    await this.#end(0, "stopped");
  }

  #fail(code: number, error: RainError): void {
    this.#options.log("error", error.message);
    void this.#end(code, error.message);
  }

  #end(code: number, reason: string): Promise<void> {
    this.#ending ??= this.#close(code, reason);
    return this.#ending;
  }

  async #close(code: number, reason: string): Promise<void> {
    this.#driver.stop();
    this.#clock.stop();
    const failed = code === 0 ? await this.#flush() : undefined;
    if (code !== 0) this.#journal.abandon();
    this.#http.close();
    await this.#gate.close();
    this.#http.closeAllConnections();
    await this.#unlock();
    const end = failed ? { code: 74, reason: failed.message } : { code, reason };
    this.#options.log(failed ? "error" : "info", `stopped: ${end.reason}`);
    this.#resolveExit(end);
  }

  /** Everything committed gets to the disk, and what was released with it to the sockets. */
  #flush(): Promise<RainError | undefined> {
    return new Promise((resolve) => this.#journal.close(resolve));
  }
}
