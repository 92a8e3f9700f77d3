import { createHmac, timingSafeEqual } from "node:crypto";
import { z } from "zod";

/**
 * The right to read one path of one data port: `payload.mac`, both base64url. The MAC is under the key that the server
 * gave the port's owner for this registration, so a ticket dies with the registration and opens nothing else.
 */
export interface Ticket {
  readonly method: "GET";
  readonly path: string;
  /** Registration of the port's owner; 0 for the server itself. */
  readonly epoch: number;
}

const payload = z.strictObject({
  v: z.literal(1),
  method: z.literal("GET"),
  path: z.string(),
  epoch: z.int().min(0),
});

const macOf = (key: Uint8Array, text: string): Buffer => createHmac("sha256", key).update(text).digest();

export function signTicket(key: Uint8Array, ticket: Ticket): string {
  const { method, path, epoch } = ticket;
  const text = Buffer.from(JSON.stringify({ v: 1, method, path, epoch })).toString("base64url");
  return `${text}.${macOf(key, text).toString("base64url")}`;
}

/** Is `ticket` signed with `key`, and for exactly this? */
export function verifyTicket(key: Uint8Array, ticket: string, wanted: Ticket): boolean {
  const [text, mac, ...rest] = ticket.split(".");
  if (text === undefined || mac === undefined || rest.length > 0) return false;
  const given = Buffer.from(mac, "base64url");
  const expected = macOf(key, text);
  // timingSafeEqual throws on different lengths.
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return false;
  const parsed = payload.safeParse(JSON.parse(Buffer.from(text, "base64url").toString("utf8")));
  if (!parsed.success) return false;
  const { method, path, epoch } = parsed.data;
  return method === wanted.method && path === wanted.path && epoch === wanted.epoch;
}
