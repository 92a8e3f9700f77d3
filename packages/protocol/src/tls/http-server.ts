import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { limits } from "../limits.ts";
import type { Certificate } from "./certificate.ts";

export interface HttpServerTimes {
  /** Until a request must have arrived whole, milliseconds; 0: it may take as long as something moves. */
  readonly requestTimeout: number;
  /** Until a connection without a request is closed, milliseconds. */
  readonly keepAliveTimeout: number;
}

/** A server within the limits for peers: with TLS 1.3 and this certificate, or plain without one. */
export function createHttpServer(certificate: Certificate | undefined, times: HttpServerTimes): Server {
  const options = {
    ...times,
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersTimeoutMs,
    connectionsCheckingInterval: limits.connectionCheckMs,
  };
  const server =
    certificate === undefined
      ? createServer(options)
      : createTlsServer({
          ...options,
          key: certificate.keyPem,
          cert: certificate.certPem,
          minVersion: "TLSv1.3",
          handshakeTimeout: limits.tlsHandshakeMs,
        });
  server.setTimeout(limits.idleMs);
  return server;
}
