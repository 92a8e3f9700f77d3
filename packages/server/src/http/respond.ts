import type { ServerResponse } from "node:http";

/** Headers of every answer: nothing here is for a browser to guess at, cache or frame. */
const COMMON = {
  "Cache-Control": "no-store",
  "X-Content-Type-Options": "nosniff",
  "Content-Security-Policy": "default-src 'none'; sandbox",
} as const;

export function respondText(response: ServerResponse, status: number, text: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.writeHead(status, { ...COMMON, "Content-Type": "text/plain; charset=utf-8" });
  response.end(`${text}\n`);
}

/** A refusal ends its connection: what the peer still sends is not read. */
export function respondRefusal(response: ServerResponse, status: number, text: string): void {
  response.setHeader("Connection", "close");
  respondText(response, status, text);
  const { socket } = response;
  response.once("finish", () => socket?.destroySoon());
}

export function respondBytes(
  response: ServerResponse,
  status: number,
  headers: Record<string, string | number>,
): void {
  response.writeHead(status, {
    ...COMMON,
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment",
    ...headers,
  });
}
