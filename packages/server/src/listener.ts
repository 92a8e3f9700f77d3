import { readFileSync } from "node:fs";
import type { Server as HttpServer } from "node:http";
import type { AddressInfo, Server as NetServer } from "node:net";
import { join } from "node:path";
import { isLoopbackHost, limits, RainError } from "@rain/protocol";
import { Lobby, Notices } from "@rain/protocol/link";
import {
  createHttpServer,
  isWildcard,
  machineNames,
  openCertificate,
  publicHost,
  urlHost,
  type Certificate,
} from "@rain/protocol/tls";

export interface Listener {
  readonly http: HttpServer;
  readonly url: string;
  readonly port: number;
  /** What peers must be shown; absent on loopback, which is not encrypted. */
  readonly certificate: Certificate | undefined;
  /** Names that a `Host` header may have. */
  readonly hostNames: () => readonly string[];
}

export interface ListenerOptions {
  readonly instanceDir: string;
  readonly host: string;
  readonly port: number;
  /** Further names by which others reach this machine; the first is used in the address. */
  readonly names: readonly string[];
}

/**
 * Opens the server's port: plain on loopback, with TLS 1.3 and a certificate of its own everywhere else.
 * Throws RainError: "connection" when the port cannot be had, "bad-file" for a certificate's file that is not good.
 */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const { instanceDir, host, names } = options;
  const isPlain = isLoopbackHost(host);
  const shown = names[0] ?? (isPlain ? host : await publicHost(host));
  const certificate = isPlain
    ? undefined
    : await openCertificate(
        join(instanceDir, "tls.pem"),
        [...(isWildcard(host) ? [] : [host]), ...names],
        [shown, ...machineNames()],
      );
  const http = newServer(certificate);
  const port = await listenOn(http, host, options.port);
  const url = `${isPlain ? "http" : "https"}://${urlHost(shown)}:${port}`;
  return { http, url, port, certificate, hostNames: hostNames(options, isPlain) };
}

/** How long the names of the machine's interfaces are taken for the same, milliseconds. */
const NAMES_MS = 10_000;

function hostNames({ host, names }: ListenerOptions, isPlain: boolean): () => readonly string[] {
  const given = names.map((name) => urlHost(name).toLowerCase());
  const local = ["localhost", "127.0.0.1", "[::1]", ...given];
  if (isPlain) return () => local;
  let known: readonly string[] = [];
  let at = -NAMES_MS;
  return () => {
    if (performance.now() - at >= NAMES_MS) {
      const all = [...machineNames(), ...(isWildcard(host) ? [] : [host])];
      known = [...new Set([...all.map((name) => urlHost(name).toLowerCase()), ...local])];
      at = performance.now();
    }
    return known;
  };
}

function newServer(certificate: Certificate | undefined): HttpServer {
  // Uploads may take long: they end when nothing moves any more, as every connection does.
  const http = createHttpServer(certificate, { requestTimeout: 0, keepAliveTimeout: 5_000 });
  // One more than are allowed: what is beyond would be dropped unseen otherwise.
  http.maxHeadersCount = limits.headerCount + 1;
  http.maxConnections = connectionLimit();
  return http;
}

/** Files for the journal, uploads and logs when connections take all that they may. */
const OPEN_FILES_PART = 0.6;

/** At EMFILE connections are taken and dropped without a word, and no file can be opened: so many are enough. */
function connectionLimit(): number {
  const line = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
  const files = Number(line?.[1] ?? Number.POSITIVE_INFINITY);
  return Math.min(limits.connections, Math.floor(files * OPEN_FILES_PART));
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

/** Closes connections that prove nothing, and says so and when there is no room for more. */
export function openLobby(http: HttpServer, warn: (text: string) => void): Lobby {
  const notices = new Notices(warn);
  const room = Math.min(limits.unauthenticated, Math.floor(http.maxConnections / 2));
  const lobby = new Lobby(room, (why) =>
    notices.add(
      why === "late"
        ? `closed a connection that did not say who it is within ${limits.unauthenticatedMs / 1_000} s`
        : `closed a connection: more than ${room} had not said who they are`,
    ),
  );
  lobby.watch(http);
  const plain: NetServer = http;
  plain.on("drop", () =>
    notices.add(
      `refused a connection: there are ${http.maxConnections}, the most that the limit of open files ` +
        "allows (ulimit -n) or that a server takes",
    ),
  );
  return lobby;
}
