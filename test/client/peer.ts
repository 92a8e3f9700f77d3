import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, type ConnectOptions } from "@rain/client";
import {
  asSessionId,
  asTaskId,
  SettledPage,
  taskStates,
  toWireError,
  type ClientRequest,
  type ReplyOf,
  type RequestOf,
  type RequestType,
  type SessionFailure,
  type SettledItem,
  type SettledState,
  type TaskCounts,
  type TaskFailure,
  type TaskSpec,
} from "@rain/protocol";
import { createAccess, loadAccess, type Access } from "@rain/protocol/access";
import { Gate, type ClientPeer } from "@rain/protocol/link";

/** Answers a request; undefined for no answer (yet). Throws the error to answer with. */
type Handler<T extends RequestType> = (request: RequestOf<T>, link: ClientPeer) => ReplyOf<T> | undefined;
type Handlers = { [T in RequestType]?: Handler<T> };

/**
 * A server as the client sees it: the real gate on a real port, with answers as each test scripts them. It holds a
 * settled log for session 1, which tests fill by `settle`.
 */
export class Peer {
  readonly folder: string;
  readonly access: Access;
  readonly requests: ClientRequest[] = [];
  readonly handlers: Handlers;
  /** HTTP requests beside the handshake; their right to ask is checked before. */
  onHttp: (request: IncomingMessage, response: ServerResponse) => void = (_, response) => {
    response.writeHead(404).end();
  };
  readonly log: SettledItem[] = [];
  failure: SessionFailure | undefined;
  /** None: as the first servers. Read when it begins to listen. */
  features: readonly string[] = [];
  connections = 0;
  #port = 0;
  #server: Server | undefined;
  #gate: Gate | undefined;
  readonly #sockets = new Set<Socket>();
  #links = new Set<ClientPeer>();
  #parked: { readonly link: ClientPeer; readonly request: RequestOf<"next"> }[] = [];
  readonly #clients: Client[] = [];

  private constructor(folder: string, access: Access) {
    this.folder = folder;
    this.access = access;
    this.handlers = {
      "session.open": () => ({ session: asSessionId(1) }),
      "session.attach": () => this.view(),
      "session.close": () => ({}),
      submit: () => ({}),
      unkeep: () => ({}),
      cancel: () => ({}),
      next: (request, link) => this.#next(request, link),
    };
  }

  static async start(): Promise<Peer> {
    const folder = await mkdtemp(join(tmpdir(), "rain-client-"));
    const accessFile = join(folder, "access.json");
    await createAccess(accessFile, { url: "http://127.0.0.1:1" });
    const peer = new Peer(folder, await loadAccess(accessFile));
    await peer.listen();
    return peer;
  }

  get accessFile(): string {
    return join(this.folder, "access.json");
  }
  get port(): number {
    return this.#port;
  }

  async connect(options: ConnectOptions = {}): Promise<Client> {
    const client = await Client.connect("127.0.0.1", this.#port, { accessFile: this.accessFile, ...options });
    this.#clients.push(client);
    return client;
  }

  /** Opens the port, the same each time. */
  async listen(): Promise<void> {
    const { clusterId, keys } = this.access;
    const gate = new Gate({
      clusterId,
      instance: `instance-${this.connections}`,
      keys,
      features: this.features,
      audit: () => undefined,
      onLink: (link) => {
        if (link.role === "client") this.#accept(link);
      },
    });
    const server = createServer((request, response) => {
      if (gate.handle(request, response)) return;
      if (gate.authorize(request)?.role === "client") this.onHttp(request, response);
      else response.writeHead(403).end("not allowed\n");
    });
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    server.on("upgrade", (request, socket, head) => gate.upgrade(request, socket, head));
    server.listen(this.#port, "127.0.0.1");
    await once(server, "listening");
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    this.#gate = gate;
  }

  /** Cuts every connection, as a broken network does; the port stays open. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Closes the port and cuts everything. */
  async down(): Promise<void> {
    const closed = new Promise((resolve) => this.#server?.close(resolve));
    this.cut();
    await this.#gate?.close();
    await closed;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) await client.close();
    await this.down();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** All requests of one type so far. */
  of<T extends RequestType>(type: T): RequestOf<T>[] {
    return this.requests.filter((request) => request.type === type) as unknown as RequestOf<T>[];
  }
  /** All tasks submitted so far. */
  get submitted(): TaskSpec[] {
    return this.of("submit").flatMap((submit) => [...submit.tasks]);
  }

  /** Adds to the settled log of session 1. */
  settle(tasks: readonly number[], state: SettledState = "finished", more: Partial<SettledItem> = {}): void {
    for (const task of tasks) this.log.push({ task: asTaskId(task), state, ...more });
    this.#answerNext();
  }
  /** A task fails, and the session with it. */
  failSession(task: number, failure: TaskFailure): void {
    this.failure = { task: asTaskId(task), failure };
    this.settle([task], "failed", { failure });
  }

  view(): ReplyOf<"session.attach"> {
    const counts = Object.fromEntries(taskStates.map((state) => [state, 0])) as TaskCounts;
    const base = { session: asSessionId(1), name: "test", state: "open", onError: "fail" } as const;
    return { ...base, detached: false, connected: true, counts, failure: this.failure };
  }

  #accept(link: ClientPeer): void {
    this.connections++;
    this.#links.add(link);
    link.onClose(() => {
      this.#links.delete(link);
      this.#parked = this.#parked.filter((each) => each.link !== link);
    });
    link.onMessage((request) => {
      this.requests.push(request);
      const handler = this.handlers[request.type] as Handler<RequestType> | undefined;
      try {
        if (!handler) throw new Error(`no handler for ${request.type}`);
        const ok = handler(request, link);
        if (ok !== undefined) link.send({ type: "reply", req: request.req, ok });
      } catch (error) {
        link.send({ type: "error", req: request.req, error: toWireError(error) });
      }
    });
  }

  #next(request: RequestOf<"next">, link: ClientPeer): ReplyOf<"next"> | undefined {
    const items = this.log.slice(request.from, request.from + 1_000);
    if (items.length === 0 && !this.failure) {
      this.#parked.push({ link, request });
      return undefined;
    }
    const { from, columns } = request;
    if (columns !== true) return { from, items, outstanding: 0, failure: this.failure };
    const page = new SettledPage(items.length);
    for (const item of items) page.add(item.task, item.state, item.failure, item.cause);
    return { from, items: [], columns: page.pack(), outstanding: 0, failure: this.failure };
  }
  #answerNext(): void {
    const parked = this.#parked;
    this.#parked = [];
    for (const { link, request } of parked) {
      const ok = this.#next(request, link);
      if (ok) link.send({ type: "reply", req: request.req, ok });
    }
  }
}
