import { Agent, type AgentOptions } from "node:http";
import { Agent as TlsAgent, type RequestOptions } from "node:https";
import { connect as connectPlain, isIP, type OnReadOpts, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect, type TLSSocket } from "node:tls";
import { RainError } from "../errors.ts";
import { isLoopbackHost } from "../http.ts";
import { limits } from "../limits.ts";
import { fingerprintOf } from "./certificate.ts";

/** The one certificate that a peer may show. */
export interface Pin {
  /** SHA-256 of the certificate, 64 hex digits. */
  readonly fingerprint: string;
  /** Who says so, for messages. */
  readonly from: string;
}

/** The pin of an access file, when it holds a certificate. Throws RainError("bad-file") for one that is none. */
export function pinOf(certPem: string | undefined, accessFile = "the access file"): Pin | undefined {
  if (certPem === undefined) return undefined;
  try {
    return { fingerprint: fingerprintOf(certPem), from: accessFile };
  } catch (cause) {
    throw new RainError(
      "bad-file",
      `certPem of ${accessFile} is not a certificate. Copy the file again from the server's machine.`,
      {},
      { cause },
    );
  }
}

/**
 * HTTP agents for peers that may be on other machines. Plain HTTP is for loopback only; with https the peer must show
 * the pinned certificate before it is sent a byte.
 */
export class Agents {
  readonly #options: AgentOptions;
  readonly #plain: Agent;
  readonly #pinned: Map<string, PinnedAgent> = new Map();

  constructor(options: AgentOptions = {}) {
    this.#options = options;
    this.#plain = new Agent(options);
  }

  /** The agent for a peer. Throws RainError("unauthorized") for one that may not be spoken to. */
  to(url: URL, pin: Pin | undefined): Agent {
    const needed = neededPin(url, pin);
    if (needed === undefined) return this.#plain;
    let agent = this.#pinned.get(needed.fingerprint);
    if (agent === undefined) {
      agent = new PinnedAgent(needed, this.#options);
      this.#pinned.set(needed.fingerprint, agent);
    }
    return agent;
  }

  destroy(): void {
    this.#plain.destroy();
    for (const agent of this.#pinned.values()) agent.destroy();
  }
}

/** The certificate that a peer must show; undefined for plain HTTP on loopback. Throws RainError("unauthorized"). */
function neededPin(url: URL, pin: Pin | undefined): Pin | undefined {
  if (url.protocol === "http:" && isLoopbackHost(url.hostname)) return undefined;
  if (url.protocol !== "https:") throw notEncrypted(url);
  if (pin === undefined) throw noPin(url);
  return pin;
}

/**
 * A connection without HTTP on it, to which the peer has proved itself; what comes goes to `onread`. Throws
 * RainError("unauthorized") for a peer that may not be spoken to, and the system's error.
 */
export function connectTo(url: URL, pin: Pin | undefined, onread: OnReadOpts): Promise<Socket> {
  const needed = neededPin(url, pin);
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  if (needed !== undefined) {
    const port = url.port === "" ? 443 : Number(url.port);
    return new Promise((resolve, reject) =>
      connectPinned({ host, port, onread }, needed, (error, socket) =>
        error === null ? resolve(socket) : reject(error),
      ),
    );
  }
  return new Promise((resolve, reject) => {
    const socket = connectPlain({ host, port: url.port === "" ? 80 : Number(url.port), onread });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}

const notEncrypted = (url: URL): RainError =>
  new RainError(
    "unauthorized",
    `${url.origin} is not on this machine's loopback, and such peers are spoken to by https with a pinned certificate ` +
      "only: nothing was sent. Use the access file of a server that was started with --listen HOST.",
    { url: url.origin },
  );
const noPin = (url: URL): RainError =>
  new RainError(
    "unauthorized",
    `There is no certificate for ${url.origin}: nothing was sent. Copy the access file again from the server's machine.`,
    { url: url.origin },
  );
const otherCertificate = (where: string, pin: Pin, shown: string): RainError =>
  new RainError(
    "unauthorized",
    `What answers at ${where} shows another certificate (SHA-256 ${shown.slice(0, 16)}...) than the one of ${pin.from} ` +
      `(${pin.fingerprint.slice(0, 16)}...): nothing was sent to it. When the server was set up anew, copy its access ` +
      "file again; otherwise somebody else answers there.",
    { where, shown, expected: pin.fingerprint },
  );

/** Gives out connections on which the peer has proved to be the owner of the pinned certificate. */
class PinnedAgent extends TlsAgent {
  readonly #pin: Pin;
  constructor(pin: Pin, options: AgentOptions) {
    super(options);
    this.#pin = pin;
  }

  override createConnection(
    options: RequestOptions,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    const host = options.host ?? "localhost";
    connectPinned({ host, port: Number(options.port ?? 443) }, this.#pin, (error, socket) =>
      callback?.(error, socket),
    );
    return undefined;
  }
}

/** Connects, and tells when the peer has shown the certificate, or why it is not trusted. */
function connectPinned(
  to: { readonly host: string; readonly port: number; readonly onread?: OnReadOpts },
  pin: Pin,
  callback: (error: Error | null, socket: TLSSocket) => void,
): void {
  const { host, port, onread } = to;
  const options = {
    host,
    port,
    minVersion: "TLSv1.3",
    ...(isIP(host) === 0 ? { servername: host } : {}),
    // No authority vouches for these certificates: the pin below does, before anybody can write to the socket.
    rejectUnauthorized: false,
    // Node hands it on to the socket; its types do not know.
    ...(onread === undefined ? {} : { onread }),
  } as const;
  const socket = connect(options);
  const settle = (error: Error | null): void => {
    socket.off("error", settle);
    socket.off("close", cut);
    socket.setTimeout(0);
    socket.off("timeout", late);
    if (error !== null) {
      socket.on("error", () => undefined); // it was told once
      socket.destroy();
    }
    callback(error, socket);
  };
  const cut = (): void =>
    settle(Object.assign(new Error("cut during the handshake"), { code: "ECONNRESET" }));
  const late = (): void =>
    settle(Object.assign(new Error("no answer to the TLS handshake"), { code: "ETIMEDOUT" }));
  socket.on("error", settle);
  socket.on("close", cut);
  socket.setTimeout(limits.tlsHandshakeMs, late);
  socket.on("secureConnect", () => {
    const shown = socket.getPeerX509Certificate();
    const fingerprint = shown === undefined ? "none" : fingerprintOf(shown);
    const where = `https://${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
    settle(fingerprint === pin.fingerprint ? null : otherCertificate(where, pin, fingerprint));
  });
}
