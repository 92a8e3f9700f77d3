import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import { keyId, type RoleKeys } from "../access/index.ts";
import { challengePath, isLoopbackHost, linkPath } from "../http.ts";
import { features, PROTOCOL_MAX, PROTOCOL_MIN } from "../limits.ts";
import type { ClientRequest, GovernorMessage } from "../messages.ts";
import type { ServerToClient, ServerToGovernor } from "../messages.ts";
import { ruleOf } from "../roles.ts";
import { acceptGovernor, acceptRequest } from "./accept.ts";
import { Connection, socketOptions, type Wiring } from "./connection.ts";
import { FailureLimit } from "./failures.ts";
import { foreignRequest, localHostNames } from "./hosts.ts";
import type { Lobby } from "./lobby.ts";
import { NonceTable } from "./nonces.ts";
import { parseOffer, type Offer } from "./offer.ts";
import { refuseUpgrade } from "./refusal.ts";
import { targetOf } from "./target.ts";
import { commonVersion, proof, sameProof, versionProblem, type Handshake } from "./transcript.ts";
import type { AuditEntry, LinkRole, ServerLink, VersionRange, Welcome } from "./types.ts";

export interface GateOptions {
  /** Both of letters, digits, '_' and '-'. */
  readonly clusterId: string;
  readonly instance: string;
  /** Roles without a key are refused. */
  readonly keys: RoleKeys;
  /** Names that a `Host` header may have, in lower case. Default: those of this machine for itself. */
  readonly hostNames?: (() => readonly string[]) | undefined;
  /** Told of peers that have proved who they are. */
  readonly lobby?: Lobby | undefined;
  /** Called in the tick in which the link opened. */
  readonly onLink: (link: ServerLink) => void;
  readonly audit: (entry: AuditEntry) => void;
  /** Milliseconds that never go back. */
  readonly now?: (() => number) | undefined;
  readonly protocol?: VersionRange | undefined;
  readonly keepaliveMs?: number | undefined;
}

type ClientConnection = Connection<ClientRequest, ServerToClient>;
type GovernorConnection = Connection<GovernorMessage, ServerToGovernor>;
type AnyConnection = ClientConnection | GovernorConnection;
/** Who sends an HTTP request. */
export interface Caller {
  readonly role: LinkRole;
  /** Number of the link that it belongs to. */
  readonly connection: number;
  readonly keyId: string;
}
interface Held {
  readonly id: number;
  readonly role: LinkRole;
  readonly keyId: string;
  readonly connection: AnyConnection;
}
const CLOSE_WAIT_MS = 1_000;

/** The server's side of the handshake: what stands between its port and its links. */
export class Gate {
  readonly #options: GateOptions;
  readonly #protocol: VersionRange;
  readonly #nonces: NonceTable;
  readonly #failures: FailureLimit;
  #keys: RoleKeys;
  readonly #sockets: WebSocketServer;
  /** Headers to add to the answer of an upgrade. */
  readonly #answers: WeakMap<IncomingMessage, readonly string[]> = new WeakMap();
  readonly #links: Set<Held> = new Set();
  /** By the digest of its token: a look-up then tells nothing about a token that is nearly right. */
  readonly #byToken: Map<string, Held> = new Map();
  #lastId = 0;
  #closing = false;

  constructor(options: GateOptions) {
    for (const name of [options.clusterId, options.instance])
      if (!/^[\w-]{1,64}$/.test(name)) throw new TypeError(`not an id of a cluster or server: ${name}`);
    this.#options = options;
    this.#keys = options.keys;
    this.#protocol = options.protocol ?? { min: PROTOCOL_MIN, max: PROTOCOL_MAX };
    const now = options.now ?? (() => performance.now());
    this.#nonces = new NonceTable(now);
    this.#failures = new FailureLimit(now);
    this.#sockets = new WebSocketServer({ noServer: true, clientTracking: false, ...socketOptions });
    this.#sockets.on("headers", (headers, req) => headers.push(...(this.#answers.get(req) ?? [])));
  }

  /** For every HTTP request, first: the reason to refuse it with 403, or undefined. Upgrades are checked by `upgrade`. */
  check(req: IncomingMessage): string | undefined {
    return foreignRequest(req, this.#options.hostNames?.() ?? localHostNames);
  }

  /** Answers the request for a challenge; false when it is for something else. */
  handle(req: IncomingMessage, res: ServerResponse): boolean {
    if (pathOf(req) !== challengePath) return false;
    if (req.method !== "GET") {
      res.writeHead(405, { Allow: "GET" }).end();
      return true;
    }
    const { clusterId, instance } = this.#options;
    const { min, max } = this.#protocol;
    const nonce = this.#nonces.give();
    const body = JSON.stringify({
      nonce,
      clusterId,
      serverInstance: instance,
      protoMin: min,
      protoMax: max,
      features,
    });
    res.writeHead(200, { "Content-Type": "application/json", "Cache-Control": "no-store" }).end(body);
    return true;
  }

  /** The listener of the HTTP server's `upgrade` event. */
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    // A peer that goes away during the handshake is nothing to report; without a listener it would stop the process.
    socket.on("error", () => socket.destroy());
    if (!(socket instanceof Socket)) return void socket.destroy();
    if (this.#closing) return refuseUpgrade(socket, 503, "The server is stopping.");
    const foreign = this.check(req);
    if (foreign !== undefined) return this.#refuse(req, socket, 403, { detail: foreign }, "Forbidden.");
    if (pathOf(req) !== linkPath)
      return this.#refuse(req, socket, 404, { verb: "route" }, "There is nothing here.");
    const offer = parseOffer(req.headers.authorization);
    const problem = this.#verify(offer);
    // The same answer whatever was wrong: it tells nothing.
    if (offer === undefined || problem !== undefined)
      return this.#refuse(req, socket, 401, { ...claimed(offer), detail: problem }, "Unauthorized.");
    const version = commonVersion(offer.proto, this.#protocol);
    if (version === undefined) {
      const text = versionProblem(offer.role, offer.proto, this.#protocol);
      return this.#refuse(req, socket, 426, { ...claimed(offer), detail: text }, text);
    }
    this.#admit(req, socket, head, offer, version);
  }

  /**
   * Who sends an HTTP request with `Authorization: Rain-Token T`: the role and number of the link whose token it is.
   * Undefined without such a header, or when that link is closed.
   */
  authorize(req: IncomingMessage): Caller | undefined {
    const token = /^Rain-Token ([A-Za-z0-9_-]{43})$/.exec(req.headers.authorization ?? "")?.[1];
    const held = token === undefined ? undefined : this.#byToken.get(digestOf(token));
    if (held === undefined) return undefined;
    this.#options.lobby?.admit(req.socket);
    return { role: held.role, connection: held.id, keyId: held.keyId };
  }

  /** Writes down that an HTTP request was refused; false when its address has had so many that it gets no answer. */
  refused(req: IncomingMessage, entry: Partial<AuditEntry>): boolean {
    return this.#countFailure(req, { verb: "route", target: targetPath(req), ...entry });
  }

  /**
   * Takes other keys from now on. Links of a role whose key changed are closed: their peers come back with the new key,
   * or not at all.
   */
  setKeys(keys: RoleKeys): void {
    this.#keys = keys;
    for (const { role, keyId: id, connection } of this.#links) {
      const key = keys[role];
      if (key === undefined || keyId(key) !== id) connection.close(1000, `the ${role} key was changed`);
    }
  }

  /** Takes no more links and closes those that are open; resolves when all are closed. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const { connection } of this.#links) connection.close(1001, "the server is stopping");
    const deadline = performance.now() + CLOSE_WAIT_MS;
    while (this.#links.size > 0) {
      if (performance.now() > deadline) for (const { connection } of this.#links) connection.terminate();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Why an offer is not good; undefined when it is. Its nonce is used up in any case. */
  #verify(offer: Offer | undefined): string | undefined {
    if (offer === undefined) return "no proof, or not one of ours";
    if (!this.#nonces.take(offer.nonce)) return "the challenge is unknown, used or too old";
    const key = this.#keys[offer.role];
    if (key === undefined) return "this server has no key for the role";
    return sameProof(offer.mac, proof(key, "client", this.#handshake(offer)))
      ? undefined
      : "the proof is wrong";
  }

  #handshake(offer: Offer): Handshake {
    const { clusterId, instance } = this.#options;
    const { nonce, role, id, cnonce, proto: client } = offer;
    return { nonce, clusterId, instance, server: this.#protocol, role, id, cnonce, client };
  }

  #admit(req: IncomingMessage, socket: Socket, head: Buffer, offer: Offer, version: number): void {
    const key = this.#keys[offer.role] ?? "";
    const handshake = this.#handshake(offer);
    const mac = proof(key, "server", handshake, version);
    this.#answers.set(req, [`Rain-Protocol: ${version}`, `Rain-Proof: ${mac}`]);
    const welcome: Welcome = {
      clusterId: this.#options.clusterId,
      instance: this.#options.instance,
      protocol: version,
      features,
      token: proof(key, "token", handshake, version),
    };
    this.#sockets.handleUpgrade(req, socket, head, (ws) => this.#open(ws, socket, offer, key, welcome));
  }

  #open(ws: WebSocket, socket: Socket, offer: Offer, key: string, welcome: Welcome): void {
    this.#options.lobby?.admit(socket);
    const id = ++this.#lastId;
    const { role } = offer;
    const remote = addressOf(socket);
    const address = socket.remoteAddress ?? "unknown";
    const entry = { remote, connection: id, role, keyId: keyId(key) };
    const common: CommonWiring = {
      welcome,
      keepaliveMs: this.#options.keepaliveMs,
      refused: (detail) => this.#options.audit({ verb: "message", result: "refused", ...entry, detail }),
      denied: (type) => {
        const suppressed = this.#failures.count(address);
        if (suppressed !== undefined)
          this.#options.audit({ verb: type, result: "refused", ...entry, ...more(suppressed) });
      },
      heard: (message) => {
        const target = targetOf(message);
        if (ruleOf(role, message.type)?.audit === true && !isPart(message))
          this.#options.audit({ verb: message.type, result: "accepted", ...entry, target });
      },
    };
    const place = { id, isLocal: isLocal(socket) };
    const { connection, link } =
      role === "governor"
        ? openGovernor(ws, socket, place, common)
        : openClient(ws, socket, role, place, common);
    const held: Held = { id, role, keyId: keyId(key), connection };
    const token = digestOf(welcome.token);
    this.#links.add(held);
    this.#byToken.set(token, held);
    // Before the link tells of its end: its token is then no longer good.
    ws.prependListener("close", () => {
      this.#links.delete(held);
      this.#byToken.delete(token);
    });
    this.#options.audit({ verb: "handshake", result: "accepted", ...entry });
    this.#options.onLink(link);
  }

  #refuse(
    req: IncomingMessage,
    socket: Socket,
    status: number,
    entry: Partial<AuditEntry>,
    text: string,
  ): void {
    if (this.#countFailure(req, { verb: "handshake", ...entry })) refuseUpgrade(socket, status, text);
    else socket.destroy();
  }

  /** Counts and records a refusal; false when its address has had so many that it gets neither answer nor line. */
  #countFailure(req: IncomingMessage, entry: Partial<AuditEntry> & Pick<AuditEntry, "verb">): boolean {
    const suppressed = this.#failures.count(req.socket.remoteAddress ?? "unknown");
    if (suppressed === undefined) return false;
    this.#options.audit({ result: "refused", remote: addressOf(req.socket), ...entry, ...more(suppressed) });
    return true;
  }
}

type CommonWiring = Pick<Wiring<unknown, unknown>, "welcome" | "refused" | "denied" | "keepaliveMs"> & {
  /** Told of every message that is allowed and valid. */
  readonly heard: (message: ClientRequest | GovernorMessage) => void;
};
interface Opened {
  readonly connection: AnyConnection;
  readonly link: ServerLink;
}
type Place = Pick<ServerLink, "id" | "isLocal">;

function openClient(
  ws: WebSocket,
  socket: Socket,
  role: "client" | "viewer",
  place: Place,
  { heard, ...common }: CommonWiring,
): Opened {
  const connection: ClientConnection = new Connection(ws, socket, {
    ...common,
    role,
    accept: (value) => {
      const verdict = acceptRequest(value, role);
      if ("message" in verdict) heard(verdict.message);
      return verdict;
    },
  });
  return { connection, link: Object.assign(connection, { ...place, role }) };
}
function openGovernor(
  ws: WebSocket,
  socket: Socket,
  place: Place,
  { heard, ...common }: CommonWiring,
): Opened {
  const connection: GovernorConnection = new Connection(ws, socket, {
    ...common,
    role: "governor",
    accept: (value) => {
      const verdict = acceptGovernor(value);
      heard(verdict.message);
      return verdict;
    },
  });
  return { connection, link: Object.assign(connection, { ...place, role: "governor" as const }) };
}

/** Of a submit in parts, the last one is written down. */
const isPart = (message: ClientRequest | GovernorMessage): boolean =>
  message.type === "submit" && !message.last;
const more = (suppressed: number): Pick<AuditEntry, "suppressed"> => (suppressed > 0 ? { suppressed } : {});
/** The same machine also when it was reached by its own outer address. */
const isLocal = ({ remoteAddress, localAddress }: Socket): boolean =>
  remoteAddress === localAddress || isLoopbackHost((remoteAddress ?? "").replace(/^::ffff:/, ""));
/** A path as far as it is plain: what a stranger sends is not copied into a log as it comes. */
const targetPath = (req: IncomingMessage): string =>
  `${req.method ?? ""} ${(pathOf(req) ?? "").replaceAll(/[^\w/.-]/g, "?").slice(0, 200)}`;
const claimed = (offer: Offer | undefined): Partial<AuditEntry> =>
  offer === undefined ? {} : { role: offer.role, keyId: offer.id };
const pathOf = (req: IncomingMessage): string | undefined => req.url?.split("?")[0];
const addressOf = (socket: Socket): string =>
  `${socket.remoteAddress ?? "unknown"}:${socket.remotePort ?? 0}`;
const digestOf = (token: string): string => createHash("sha256").update(token).digest("hex");
