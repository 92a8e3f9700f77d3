import { once } from "node:events";
import { createServer, request, type IncomingMessage, type Server } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import {
  RainError,
  serverToClient,
  serverToGovernor,
  type ClientRequest,
  type GovernorMessage,
  type ServerToClient,
  type ServerToGovernor,
} from "@rain/protocol";
import { createKey } from "@rain/protocol/access";
import {
  connectLink,
  Gate,
  type AuditEntry,
  type ConnectOptions,
  type GateOptions,
  type Link,
  type ServerLink,
} from "@rain/protocol/link";
import { expect, vi } from "vitest";

/** A real HTTP server with a gate, as a Rain server has it. */
export interface Setup {
  readonly gate: Gate;
  readonly port: number;
  readonly url: string;
  readonly keys: { readonly client: string; readonly governor: string; readonly viewer: string };
  readonly links: ServerLink[];
  readonly audit: AuditEntry[];
  /** Moves the gate's clock forward. */
  readonly clock: { ms: number };
  readonly close: () => Promise<void>;
}
export const clusterId = "cluster-1";
export const instance = "instance-1";

export async function startGate(options: Partial<GateOptions> = {}): Promise<Setup> {
  const keys = { client: createKey("client"), governor: createKey("governor"), viewer: createKey("viewer") };
  const links: ServerLink[] = [];
  const audit: AuditEntry[] = [];
  const clock = { ms: 0 };
  const gate = new Gate({
    clusterId,
    instance,
    keys,
    onLink: (link) => links.push(link),
    audit: (entry) => audit.push(entry),
    now: () => performance.now() + clock.ms,
    ...options,
  });
  const server = createServer((req, res) => {
    const reason = gate.check(req);
    if (reason !== undefined) {
      res.writeHead(403).end(reason);
      return;
    }
    if (gate.handle(req, res)) return;
    const who = gate.authorize(req);
    if (who === undefined) gate.refused(req, { verb: "token" });
    res
      .writeHead(who === undefined ? 401 : 200)
      .end(who === undefined ? "" : `${who.role} ${who.connection}`);
  });
  server.on("upgrade", (req, socket, head) => gate.upgrade(req, socket, head));
  const port = await listen(server);
  const close = async (): Promise<void> => {
    await gate.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { gate, port, url: `http://127.0.0.1:${port}`, keys, links, audit, clock, close };
}

export async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

type ClientLink = Link<ServerToClient, ClientRequest>;
type GovernorLink = Link<ServerToGovernor, GovernorMessage>;
export const connectClient = (
  { url, keys }: Pick<Setup, "url" | "keys">,
  options: Partial<ConnectOptions<ServerToClient>> = {},
): Promise<ClientLink> =>
  connectLink({ url, role: "client", key: keys.client, clusterId, schema: serverToClient, ...options });
export const connectGovernor = (
  { url, keys }: Pick<Setup, "url" | "keys">,
  options: Partial<ConnectOptions<ServerToGovernor>> = {},
): Promise<GovernorLink> =>
  connectLink({ url, role: "governor", key: keys.governor, clusterId, schema: serverToGovernor, ...options });

/** The end of a link. */
export const ended = (link: Pick<Link<never, never>, "onClose">): Promise<{ code: number; reason: string }> =>
  new Promise((resolve) => link.onClose(resolve));

export async function refusal(promise: Promise<unknown>): Promise<RainError> {
  const error: unknown = await promise.then(
    () => new Error("nothing was refused"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof RainError)) throw error;
  return error;
}

/** The next link that the server gets. */
export async function nextLink(setup: Setup, count: number = 1): Promise<ServerLink> {
  await vi.waitFor(() => expect(setup.links.length).toBeGreaterThanOrEqual(count), 10_000);
  const link = setup.links[count - 1];
  if (link === undefined) throw new Error("no link");
  return link;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: IncomingMessage["headers"];
}
/** One HTTP request, any headers. An upgrade that is accepted has status 101. */
export function http(
  port: number,
  path: string,
  options: { method?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request({ host: "127.0.0.1", port, path, agent: false, ...options }, (res) => {
      let body = "";
      res.on("data", (part: Buffer) => (body += part.toString()));
      res.on("end", () => resolve({ status: res.statusCode ?? 0, body, headers: res.headers }));
    });
    req.on("upgrade", (res, socket) => {
      socket.destroy();
      resolve({ status: res.statusCode ?? 0, body: "", headers: res.headers });
    });
    req.on("error", reject);
    req.end();
  });
}

/** Headers that make a request an upgrade. */
export const upgradeHeaders = {
  Connection: "Upgrade",
  Upgrade: "websocket",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
};

/** A raw socket after a good upgrade with these headers, to send frames that no library would. */
export async function rawUpgrade(
  port: number,
  path: string,
  headers: Record<string, string>,
): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  const lines = Object.entries({ Host: `127.0.0.1:${port}`, ...upgradeHeaders, ...headers }).map(
    ([k, v]) => `${k}: ${v}`,
  );
  socket.write(`GET ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
  const [head] = (await once(socket, "data")) as [Buffer];
  if (!head.toString().startsWith("HTTP/1.1 101")) throw new Error(`no upgrade: ${head.toString()}`);
  return socket;
}
