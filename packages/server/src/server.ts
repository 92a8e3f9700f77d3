import type { IncomingMessage, Server as HttpServer, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import {
  DEFAULT_PORT,
  limits,
  RainError,
  timing,
  type GovernorMessageOf,
  type ServerToGovernor,
} from "@rain/protocol";
import { accessFileName, createAccess, saveAccessPlace, type Access } from "@rain/protocol/access";
import { AuditLog } from "@rain/protocol/audit";
import { Gate, type ClientPeer, type GovernorPeer, type ServerLink } from "@rain/protocol/link";
import { lockFolder, secureFolder } from "@rain/protocol/lock";
import { Agents } from "@rain/protocol/tls";
import { nanoid } from "nanoid";
import {
  DurableState,
  ServerCore,
  type ConnectionId,
  type ServerConfig,
  type ServerEffect,
} from "./core/index.ts";
import { ServerDriver } from "./driver.ts";
import { respondRefusal, respondText } from "./http/respond.ts";
import { handleRequest, type RouteContext } from "./http/routes.ts";
import { openJournalFolder, type Journal } from "./journal/index.ts";
import { KeyWatch } from "./key-watch.ts";
import { checkInlineBytes, errorReply, SubmitAssembly } from "./links.ts";
import { openListener, openLobby, type Listener } from "./listener.ts";
import { GovernorMail } from "./mail.ts";
import { BlobFolder } from "./objects/blobs.ts";
import { DataPorts } from "./ports.ts";
import { forViewer, ViewerRequests } from "./viewer.ts";
import { NodeClock } from "./wake.ts";

export type LogLevel = "info" | "warn" | "error";

export interface ServerOptions {
  /** Folder of the instance: access file, journal, uploads. Made when it is missing. */
  readonly instanceDir: string;
  /** Default: `journal` in the instance's folder. */
  readonly journalDir?: string | undefined;
  /** Default: 127.0.0.1:7210. Port 0 takes a free one. Everywhere but on loopback it speaks TLS. */
  readonly listen?: { readonly host: string; readonly port: number } | undefined;
  /** Further names by which others reach this machine; the first is the one of the access file. */
  readonly hostNames?: readonly string[] | undefined;
  /** Folder of the audit log. Default: `logs` in the instance's folder. */
  readonly auditDir?: string | undefined;
  /** How long a silent governor keeps its tasks, milliseconds. */
  readonly leaseMs?: number | undefined;
  readonly heartbeatMs?: number | undefined;
  /** How long an attached session outlives its last client, milliseconds. */
  readonly sessionLeaseMs?: number | undefined;
  readonly version: string;
  readonly log: (level: LogLevel, text: string) => void;
}

/** So long an acknowledgement waits for something else to be said to its governor. */
const ACK_MS = 20;

export interface RunningServer {
  /** `http://host:port`, or `https://host:port` everywhere but on loopback. */
  readonly url: string;
  readonly port: number;
  readonly accessFile: string;
  /** Stops as SIGTERM does: what is acknowledged is on disk; programs go on. */
  stop(): Promise<void>;
  /** Settles when the server has ended. `code` is a process exit code: 0, 74 journal failed, 70 internal. */
  readonly exited: Promise<{ readonly code: number; readonly reason: string }>;
}

/**
 * Starts a server: reads the journal, listens, and runs until `stop` or a request to stop.
 * Throws RainError: "bad-file" (damaged journal, bad access file), "bad-request" (address), "connection" (port in use).
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const listen = options.listen ?? { host: "127.0.0.1", port: DEFAULT_PORT };
  await secureFolder(options.instanceDir, "the folder of the instance");
  const journalDir = options.journalDir ?? join(options.instanceDir, "journal");
  await secureFolder(journalDir, "the folder of the journal");
  const unlock = await lockFolder(journalDir, {
    what: "the journal",
    remedy: "stop that server, or give this one another folder",
  });
  let listener: Listener | undefined;
  let audit: AuditLog | undefined;
  try {
    const { instanceDir, hostNames: names = [], log } = options;
    listener = await openListener({ instanceDir, ...listen, names });
    const { url, certificate } = listener;
    const accessFile = join(instanceDir, accessFileName);
    const access = await openAccess(accessFile, url, certificate?.certPem);
    if (certificate?.isNew === true)
      log("info", `made a certificate: machines that have a copy of ${accessFile} need the new one`);
    audit = new AuditLog(options.auditDir ?? join(instanceDir, "logs"), (error) =>
      log("error", `the audit log cannot be written: ${String(error)}`),
    );
    const server = new Server(options, listener, access, audit);
    await server.start(journalDir, unlock);
    return server;
  } catch (error) {
    listener?.http.close();
    audit?.close();
    await unlock();
    throw error;
  }
}

/** The instance's access file with this place of the server; made, with new keys, at the first start. */
async function openAccess(path: string, url: string, certPem: string | undefined): Promise<Access> {
  const isThere = await lstat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw error;
    },
  );
  const place = { url, certPem };
  return isThere ? await saveAccessPlace(path, place) : await createAccess(path, place);
}

/** The shell around the core: sockets in, effects out. */
class Server implements RunningServer {
  readonly url: string;
  readonly port: number;
  readonly accessFile: string;
  readonly exited: Promise<{ readonly code: number; readonly reason: string }>;
  readonly #options: ServerOptions;
  readonly #http: HttpServer;
  readonly #listener: Listener;
  readonly #access: Access;
  readonly #audit: AuditLog;
  readonly #watch: KeyWatch;
  readonly #clock = new NodeClock();
  readonly #links: Map<ConnectionId, ServerLink> = new Map();
  readonly #ports = new DataPorts();
  readonly #mail = new GovernorMail({
    send: (connection, message) => this.#tell(connection, message),
    address: (input, session, reader) => this.#ports.address(input, session, reader),
    onTooLarge: (effect, error) => this.#tooLarge(effect, error),
  });
  /** Ends when acknowledgements have waited for long enough. */
  #acking: NodeJS.Timeout | undefined;
  /** Links with assignments that are not sent yet. */
  readonly #hurried: Set<GovernorPeer> = new Set();
  readonly #viewing = new ViewerRequests();
  readonly #agents = new Agents({ keepAlive: true });
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

  constructor(options: ServerOptions, listener: Listener, access: Access, audit: AuditLog) {
    this.#options = options;
    this.#listener = listener;
    this.#http = listener.http;
    this.#access = access;
    this.#audit = audit;
    this.url = listener.url;
    this.port = listener.port;
    this.accessFile = join(options.instanceDir, accessFileName);
    this.#watch = new KeyWatch(this.accessFile, access, options.log, ({ keys }) => this.#gate.setKeys(keys));
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
    this.#driver = new ServerDriver(this.#core, this.#journal, this.#clock, {
      perform: (effect) => this.#perform(effect),
      performed: () => this.#performed(),
    });
    this.#openGate(config);
    this.#driver.input({ type: "tick" });
    this.#watch.start();
    log("info", `listening on ${this.url}, journal in ${journalDir}, audit log ${this.#audit.path}`);
  }

  // --------------------------------------------------------------------------------------------------- listening

  #openGate(config: ServerConfig): void {
    const lobby = openLobby(this.#http, (text) => this.#options.log("warn", text));
    this.#gate = new Gate({
      clusterId: config.clusterId,
      instance: config.instance,
      keys: this.#access.keys,
      hostNames: this.#listener.hostNames,
      lobby,
      onLink: (link) => this.#accept(link),
      audit: (entry) => this.#audit.write(entry),
    });
    const context: RouteContext = {
      core: this.#core,
      blobs: this.#blobs,
      callerOf: (request) => this.#gate.authorize(request),
      admit: (request) => lobby.admit(request.socket),
      audit: (request, caller, target) =>
        this.#audit.write({
          verb: "route",
          result: "accepted",
          target,
          remote: `${request.socket.remoteAddress ?? "unknown"}:${request.socket.remotePort ?? 0}`,
          ...caller,
        }),
      refused: (request, entry) => this.#gate.refused(request, entry),
      ticketKey: this.#ports.ownKey,
      dataPort: (governor) => this.#ports.get(governor),
      agents: this.#agents,
      onMissing: (ref, governor) => this.#driver.input({ type: "replica.missing", ref, governor }),
    };
    this.#http.on("request", (request, response) => {
      if (this.#isForeign(request, response) || this.#gate.handle(request, response)) return;
      handleRequest(context, request, response).catch((error: unknown) => {
        // The reader broke off, or the disk failed under a read: this answer ends, the server goes on.
        this.#options.log("warn", `${request.method} ${request.url?.split("?")[0]}: ${String(error)}`);
        respondText(response, 500, "the server could not read this; its log says why");
      });
    });
    this.#http.on("upgrade", (request, socket, head) => this.#gate.upgrade(request, socket, head));
    this.#http.on("clientError", (_error, socket) => socket.destroy());
    this.#http.on("tlsClientError", (_error, socket: Socket) => socket.destroy());
  }

  /** Answers what no peer of ours sends: names of other hosts, more headers than there may be. */
  #isForeign(request: IncomingMessage, response: ServerResponse): boolean {
    const refused = this.#gate.check(request);
    if (refused !== undefined) {
      if (this.#gate.refused(request, { detail: refused })) respondRefusal(response, 403, refused);
      else request.socket.destroy();
    }
    return refused !== undefined;
  }

  #accept(link: ServerLink): void {
    this.#links.set(link.id, link);
    if (link.role === "governor") this.#acceptGovernor(link);
    else this.#acceptClient(link);
  }

  #acceptClient(link: ClientPeer): void {
    const parts = new SubmitAssembly(
      (sha256) => this.#blobs.size(sha256),
      (key) => this.#core.durable.datastores.byKey.has(key),
    );
    link.onMessage((message) => {
      if (link.role === "viewer" && !this.#viewing.begin(link.id, message))
        return link.close(1008, `request ${message.req} is not answered yet`);
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
      this.#viewing.gone(link.id);
      this.#driver.input({ type: "client.gone", connection: link.id });
    });
  }

  #acceptGovernor(link: GovernorPeer): void {
    link.onMessage((message) => {
      if (message.type === "register" && this.#refuseDataPort(link, message)) return;
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
      this.#ports.gone(link.id);
      this.#mail.gone(link.id);
      this.#driver.input({ type: "governor.gone", connection: link.id });
    });
  }

  // ---------------------------------------------------------------------------------------------------- effects

  #perform(effect: ServerEffect): void {
    switch (effect.type) {
      case "reply":
        this.#reply(effect);
        break;
      case "error":
        this.#viewing.end(effect.connection, effect.req);
        this.#client(effect.connection)?.send({ type: "error", req: effect.req, error: effect.error });
        break;
      case "send":
        this.#mail.send(effect.connection, effect.message);
        break;
      case "registered":
        this.#register(effect);
        break;
      case "assign":
        this.#mail.assign(effect);
        break;
      case "copy":
        this.#copy(effect);
        break;
      case "close":
        this.#mail.flush();
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
    return link === undefined || link.role === "governor" ? undefined : link;
  }
  /** A viewer is shown less. */
  #reply({ connection, req, ok }: Extract<ServerEffect, { type: "reply" }>): void {
    const link = this.#client(connection);
    if (link?.role !== "viewer") return link?.send({ type: "reply", req, ok });
    const type = this.#viewing.end(connection, req);
    if (type !== undefined) link.send({ type: "reply", req, ok: forViewer(type, ok) });
  }

  /** A data port that cannot be reached, or only without encryption, is refused here rather than found out later. */
  #refuseDataPort(link: GovernorPeer, hello: GovernorMessageOf<"register">): boolean {
    const message = this.#ports.introduce(link, hello);
    if (message === undefined) return false;
    link.send({ type: "refused", error: { code: "bad-request", message } });
    link.close(1000, "refused");
    return true;
  }

  #governor(id: ConnectionId): GovernorPeer | undefined {
    const link = this.#links.get(id);
    return link?.role === "governor" ? link : undefined;
  }

  #tell(connection: ConnectionId, message: ServerToGovernor): void {
    const link = this.#governor(connection);
    link?.send(message);
    if (link !== undefined && (message.type === "assign" || message.type === "assign.batch"))
      this.#hurry(link);
  }

  /**
   * Assignments leave before what is said to others in this turn: a write wakes its reader, which may take the cpu, and
   * there are tasks to begin.
   */
  #hurry(link: GovernorPeer): void {
    if (this.#hurried.size === 0)
      queueMicrotask(() => {
        for (const hurried of this.#hurried) hurried.flush();
        this.#hurried.clear();
      });
    this.#hurried.add(link);
  }

  #register(effect: Extract<ServerEffect, { type: "registered" }>): void {
    const { connection, governor, epoch, batch } = effect;
    const ticketKey = this.#ports.register(effect);
    this.#mail.registered(connection, batch);
    const heartbeatMs = this.#heartbeatMs;
    const leaseMs = this.#leaseMs;
    this.#mail.send(connection, {
      type: "registered",
      governor,
      epoch,
      heartbeatMs,
      leaseMs,
      ticketKey,
      ...(batch ? { batch } : {}),
    });
  }

  /** The task can never be told to a governor, so it fails as if its governor had said so. */
  #tooLarge(
    { connection, session, task, attempt }: Extract<ServerEffect, { type: "assign" }>,
    error: RainError,
  ): void {
    const failure = {
      reason: "internal",
      message: `the assignment does not fit a message: ${error.message}`,
    } as const;
    const message = { type: "fail", session, task, attempt, failure, info: {} } as const;
    this.#driver.input({ type: "governor.message", connection, message });
  }

  /** The end of what was to be done in one turn. Acknowledgements wait a little for something to go with. */
  #performed(): void {
    if (!this.#mail.endTurn()) return;
    this.#acking ??= setTimeout(() => {
      this.#acking = undefined;
      this.#mail.flush();
    }, ACK_MS);
  }

  #copy({ connection, governor, objects }: Extract<ServerEffect, { type: "copy" }>): void {
    const addressed = objects.map((object) => this.#ports.addressCopy(object, governor));
    this.#mail.send(connection, { type: "copy", objects: addressed });
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
    this.#watch.stop();
    this.#driver.stop();
    this.#clock.stop();
    const failed = code === 0 ? await this.#flush() : undefined;
    clearTimeout(this.#acking);
    this.#mail.flush();
    if (code !== 0) this.#journal.abandon();
    this.#http.close();
    await this.#gate.close();
    this.#http.closeAllConnections();
    this.#agents.destroy();
    this.#audit.close();
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
