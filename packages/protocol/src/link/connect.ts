import { randomBytes } from "node:crypto";
import type { Agent, ClientRequest as HttpRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { WebSocket } from "ws";
import type { z } from "zod";
import { keyId } from "../access/index.ts";
import { parse } from "../codec/index.ts";
import { RainError } from "../errors.ts";
import { linkPath } from "../http.ts";
import { PROTOCOL_MAX, PROTOCOL_MIN } from "../limits.ts";
import { Agents, type Pin } from "../tls/index.ts";
import { connectionProblem, fetchChallenge } from "./challenge.ts";
import { Connection, socketOptions } from "./connection.ts";
import { formatOffer } from "./offer.ts";
import { commonVersion, proof, sameProof, versionProblem, type Handshake } from "./transcript.ts";
import type { Link, LinkRole, VersionRange, Welcome } from "./types.ts";

export interface ConnectOptions<In> {
  /** `http://host:port` of the server on loopback, `https://host:port` elsewhere. */
  readonly url: string;
  /** The certificate that the server must show; needed with https. */
  readonly pin?: Pin | undefined;
  /** `host:port` of the server as it knows itself, when `url` is the near end of a tunnel to it. */
  readonly hostHeader?: string | undefined;
  readonly role: LinkRole;
  /** Key of the role, from the access file. */
  readonly key: string;
  /** Of the access file: another cluster's server is refused before anything is proved to it. */
  readonly clusterId?: string | undefined;
  /** Of the messages that arrive. */
  readonly schema: z.ZodType<In>;
  /** For the whole handshake; default 10 s. */
  readonly timeoutMs?: number | undefined;
  readonly protocol?: VersionRange | undefined;
  readonly keepaliveMs?: number | undefined;
}

/**
 * Opens a link to a server, each side proving to the other that it knows the role's key.
 * Throws RainError: "connection" when there is no server, "unauthorized" when a proof fails or the cluster is another
 * one or the certificate another, "version-mismatch" when no version of the protocol is common.
 */
export async function connectLink<In, Out extends object>(
  options: ConnectOptions<In>,
): Promise<Link<In, Out>> {
  const signal = AbortSignal.timeout(options.timeoutMs ?? 10_000);
  for (let attempt = 1; ; attempt++) {
    try {
      return await connectOnce<In, Out>(options, signal);
    } catch (error) {
      // A server that a crowd runs into cuts those for whom it has no room: they come a little later.
      const wasCut = error instanceof RainError && error.facts["errno"] === "ECONNRESET";
      if (!wasCut || attempt === MAX_ATTEMPTS || signal.aborted) throw error;
      await delay(Math.random() * CROWD_MS * attempt);
    }
  }
}

const MAX_ATTEMPTS = 5;
const CROWD_MS = 100;

async function connectOnce<In, Out extends object>(
  options: ConnectOptions<In>,
  signal: AbortSignal,
): Promise<Link<In, Out>> {
  const { url, role, key } = options;
  // A connection of its own for each step: nothing is kept.
  const agent = new Agents().to(new URL(url), options.pin);
  const challenge = await fetchChallenge(url, agent, signal, options.hostHeader);
  const { clusterId, serverInstance: instance, nonce } = challenge;
  if (options.clusterId !== undefined && options.clusterId !== clusterId)
    throw new RainError(
      "unauthorized",
      `The server at ${url} belongs to the cluster ${clusterId}, the access file to ${options.clusterId}. ` +
        "Use the access file of that server, or the address of yours.",
      { url, clusterId, expected: options.clusterId },
    );
  const client = options.protocol ?? { min: PROTOCOL_MIN, max: PROTOCOL_MAX };
  const server = { min: challenge.protoMin, max: challenge.protoMax };
  if (commonVersion(client, server) === undefined) throw mismatch(url, versionProblem(role, client, server));
  const cnonce = randomBytes(32).toString("base64url");
  const handshake: Handshake = { nonce, clusterId, instance, server, role, id: keyId(key), cnonce, client };
  const { features = [] } = challenge;
  return new Promise((resolve, reject) =>
    open(options, agent, handshake, signal, { resolve, reject, features }),
  );
}

interface Settle<In, Out> {
  readonly features: readonly string[];
  readonly resolve: (link: Link<In, Out>) => void;
  readonly reject: (error: unknown) => void;
}

/** Everything here hangs on events: what follows `open` must happen in its tick, or frames would be lost. */
function open<In, Out extends object>(
  options: ConnectOptions<In>,
  agent: Agent,
  handshake: Handshake,
  signal: AbortSignal,
  { resolve, reject, features }: Settle<In, Out>,
): void {
  const { url, role, key, hostHeader } = options;
  const mac = proof(key, "client", handshake);
  const { id, nonce, cnonce, client: proto } = handshake;
  const ws = new WebSocket(new URL(linkPath, url.replace(/^http/, "ws")), {
    ...socketOptions,
    agent,
    headers: {
      Authorization: formatOffer({ role, id, nonce, cnonce, proto, mac }),
      ...(hostHeader === undefined ? {} : { Host: hostHeader }),
    },
  });
  const giveUp = (): void => {
    reject(connectionProblem(url, signal.reason));
    ws.terminate();
  };
  signal.addEventListener("abort", giveUp, { once: true });
  const fail = (error: unknown): void => {
    signal.removeEventListener("abort", giveUp);
    reject(connectionProblem(url, error));
  };
  ws.on("error", fail);
  ws.on("unexpected-response", (req: HttpRequest, res: IncomingMessage) => {
    refusal(options, res)
      .then(fail, fail)
      .finally(() => req.destroy());
  });
  let opened: { readonly socket: Socket; readonly welcome: Welcome } | undefined;
  ws.on("upgrade", (res) => {
    const welcome = checkProof(key, handshake, res);
    if (welcome !== undefined) opened = { socket: res.socket, welcome: { ...welcome, features } };
    else {
      fail(impostor(url, role, id));
      ws.terminate();
    }
  });
  ws.on("open", () => {
    if (opened === undefined) return;
    signal.removeEventListener("abort", giveUp);
    resolve(wire(ws, opened.socket, opened.welcome, options));
  });
}

function wire<In, Out extends object>(
  ws: WebSocket,
  socket: Socket,
  welcome: Welcome,
  options: ConnectOptions<In>,
): Link<In, Out> {
  const { role, schema, keepaliveMs } = options;
  return new Connection<In, Out>(ws, socket, {
    role,
    welcome,
    keepaliveMs,
    accept: (value) => ({ message: parse(schema, value, "message of the server") }),
    // The close that follows carries the problem to both sides.
    refused: () => undefined,
  });
}

/** The welcome of a server that proved to know the key; undefined for one that did not. */
function checkProof(
  key: string,
  handshake: Handshake,
  res: IncomingMessage,
): Omit<Welcome, "features"> | undefined {
  const given = res.headers["rain-proof"];
  const protocol = Number(res.headers["rain-protocol"]);
  const { min, max } = handshake.client;
  if (typeof given !== "string" || !Number.isInteger(protocol) || protocol < min || protocol > max)
    return undefined;
  if (!sameProof(given, proof(key, "server", handshake, protocol))) return undefined;
  const { clusterId, instance } = handshake;
  return { clusterId, instance, protocol, token: proof(key, "token", handshake, protocol) };
}

const MAX_TEXT = 2_048;

/** What an answer other than 101 means. */
async function refusal<In>(options: ConnectOptions<In>, res: IncomingMessage): Promise<RainError> {
  const { url, role, key } = options;
  const status = res.statusCode ?? 0;
  let text = "";
  res.setEncoding("utf8");
  for await (const part of res) {
    text += String(part);
    if (text.length > MAX_TEXT) break;
  }
  text = text.slice(0, MAX_TEXT).trim();
  if (status === 426) return mismatch(url, text);
  if (status === 503) return new RainError("server-stopping", `The server at ${url} is stopping.`, { url });
  if (status === 401)
    return new RainError(
      "unauthorized",
      `The server at ${url} does not accept this ${role} key (id ${keyId(key)}). ` +
        `Check that keys.${role} of your access file is from this server's own access file.`,
      { url, role, keyId: keyId(key) },
    );
  return new RainError("connection", `The server at ${url} refused the link (status ${status}): ${text}`, {
    url,
    status,
  });
}

const mismatch = (url: string, text: string): RainError =>
  new RainError("version-mismatch", `${text} (Server: ${url}.)`, { url });

const impostor = (url: string, role: LinkRole, id: string): RainError =>
  new RainError(
    "unauthorized",
    `What answers at ${url} could not prove that it knows the ${role} key (id ${id}): nothing was sent to it. ` +
      "Another program may listen on the server's port.",
    { url, role, keyId: id },
  );
