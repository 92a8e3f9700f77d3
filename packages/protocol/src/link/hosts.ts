import type { IncomingMessage } from "node:http";
import { limits } from "../limits.ts";

/** Names that a browser on the same machine uses for a server there. */
export const localHostNames: readonly string[] = ["localhost", "127.0.0.1", "[::1]"];

/**
 * Why a request may not be served, or undefined. A `Host` that is not ours is a page that points its own name at this
 * server (DNS rebinding); an `Origin` that is not ours is a page of another site in a user's browser.
 */
export function foreignRequest(req: IncomingMessage, hostNames: readonly string[]): string | undefined {
  if (req.rawHeaders.length > 2 * limits.headerCount) return "there are too many headers";
  const host = soleHeader(req, "host");
  if (host === undefined) return "there must be exactly one Host header";
  const split = /^(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,255})(?::(\d{1,5}))?$/.exec(host.toLowerCase());
  if (split === null) return "the Host header is not valid";
  const [, name = "", port] = split;
  if (!hostNames.includes(name)) return "the Host header names another host";
  const encrypted = "encrypted" in req.socket;
  if (Number(port ?? (encrypted ? 443 : 80)) !== req.socket.localPort)
    return "the Host header names another port";
  return foreignOrigin(req, `${encrypted ? "https" : "http"}://${host.toLowerCase()}`);
}

function foreignOrigin(req: IncomingMessage, own: string): string | undefined {
  if (req.headers.origin === undefined) return undefined;
  const reads = (req.method === "GET" || req.method === "HEAD") && req.headers.upgrade === undefined;
  if (reads || soleHeader(req, "origin") === own) return undefined;
  return "the Origin header names another site";
}

/** The value of a header that is there once. */
function soleHeader(req: IncomingMessage, name: string): string | undefined {
  const values = req.rawHeaders.filter(
    (_, i) => i % 2 === 1 && req.rawHeaders[i - 1]?.toLowerCase() === name,
  );
  return values.length === 1 ? values[0] : undefined;
}
