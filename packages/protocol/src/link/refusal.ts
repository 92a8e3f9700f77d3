import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";

/** Answers an upgrade with an HTTP status instead, and ends the connection. */
export function refuseUpgrade(socket: Socket, status: number, text: string): void {
  const body = `${text}\n`;
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Refused"}`,
    "Connection: close",
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}
