import type { z } from "zod";
import { decode, encode, parse } from "@rain/protocol/codec";
import type { Socket } from "./network.ts";

/** What the real links do with a message: encode, carry, decode, parse. */
export function say(socket: Socket | undefined, message: object): void {
  if (socket?.open) socket.send(encode(message));
}
export const hear = <T>(schema: z.ZodType<T>, bytes: Uint8Array, what: string): T =>
  parse(schema, decode(bytes), what);
