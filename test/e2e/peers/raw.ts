import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Role } from "@rain/protocol";
import { keyId, type Access } from "@rain/protocol/access";
import { formatOffer } from "../../../packages/protocol/src/link/offer.ts";
import { proof } from "../../../packages/protocol/src/link/transcript.ts";

/** What came on a socket until the server ended it. */
export interface Ended {
  readonly received: Buffer;
  /** Time until the end, milliseconds. */
  readonly ms: number;
}

/** Opens a connection, sends the bytes, and waits until the server ends it. */
export function sendRaw(port: number, bytes: Buffer): Promise<Ended> {
  return untilEnd(connect(port, "127.0.0.1"), bytes);
}

export function untilEnd(socket: Socket, bytes: Buffer = Buffer.of()): Promise<Ended> {
  const begin = performance.now();
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    socket.on("data", (part: Buffer) => parts.push(part));
    socket.on("error", () => undefined); // a reset is an end as well
    socket.on("close", () => resolve({ received: Buffer.concat(parts), ms: performance.now() - begin }));
    socket.write(bytes);
  });
}

/** A link on a raw socket: the handshake is done, the rest is the test's. */
export async function rawLink(access: Access, role: Role = "client"): Promise<Socket> {
  const { hostname, port } = new URL(access.url);
  const answer = await fetch(new URL("/rain/v1/challenge", access.url), { headers: { Connection: "close" } });
  const challenge = (await answer.json()) as { nonce: string; clusterId: string; serverInstance: string };
  const { nonce, clusterId, serverInstance: instance } = challenge;
  const key = access.keys[role] ?? "";
  const cnonce = randomBytes(32).toString("base64url");
  const one = { min: 1, max: 1 };
  const id = keyId(key);
  const mac = proof(key, "client", {
    nonce,
    clusterId,
    instance,
    server: one,
    role,
    id,
    cnonce,
    client: one,
  });
  const socket = connect(Number(port), hostname);
  const lines = [
    "GET /rain/v1/link HTTP/1.1",
    `Host: ${hostname}:${port}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    `Authorization: ${formatOffer({ role, id, nonce, cnonce, proto: one, mac })}`,
  ];
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  const [head] = (await once(socket, "data")) as [Buffer];
  if (!head.toString().startsWith("HTTP/1.1 101")) throw new Error(`no upgrade: ${head.toString()}`);
  return socket;
}

/** The code of the close frame at the end of what a server sent; undefined when there is none. */
export function closeCode(received: Buffer): number | undefined {
  for (let at = 0; at + 2 <= received.length;) {
    const opcode = (received[at] ?? 0) & 0x0f;
    const short = (received[at + 1] ?? 0) & 0x7f;
    const head = short === 126 ? 4 : short === 127 ? 10 : 2;
    const length =
      short === 126
        ? received.readUInt16BE(at + 2)
        : short === 127
          ? Number(received.readBigUInt64BE(at + 2))
          : short;
    if (opcode === 8) return length >= 2 ? received.readUInt16BE(at + head) : 1005;
    at += head + length;
  }
  return undefined;
}
