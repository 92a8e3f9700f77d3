import { z } from "zod";
import { parse } from "../codec/index.ts";
import { RainError, toWireError } from "../errors.ts";
import {
  clientRequest,
  governorMessage,
  requestTypes,
  type ClientRequest,
  type GovernorMessage,
  type ServerToClient,
} from "../messages.ts";
import { denied, isDenied, type Role } from "../roles.ts";
import type { Verdict } from "./connection.ts";

const numbered = z.object({ req: z.int().min(0) });
const knownTypes: ReadonlySet<string> = new Set(requestTypes);
/** The text that says what a message is; "" where there is none. */
function typeOf(value: unknown): string {
  const type: unknown = typeof value === "object" && value !== null ? Reflect.get(value, "type") : undefined;
  return typeof type === "string" && type.length <= 64 ? type : "";
}

/**
 * A request of a client or viewer; one that is not valid, or not for this role, is answered with its error as long as
 * its number can be read.
 */
export function acceptRequest(value: unknown, role: Role): Verdict<ClientRequest, ServerToClient> {
  const type = typeOf(value);
  const isForOthers = isDenied(role, type);
  try {
    if (isForOthers) throw denied();
    return { message: parse(clientRequest, value, knownTypes.has(type) ? type : "request") };
  } catch (error) {
    const req = numbered.safeParse(value).data?.req;
    if (req === undefined || !(error instanceof RainError)) throw error;
    const answer = { type: "error", req, error: toWireError(error) } as const;
    return isForOthers ? { answer, denied: type } : { answer };
  }
}

/** A message of a governor. One that is not valid closes the link: its two sides no longer agree on what was said. */
export function acceptGovernor(value: unknown): { readonly message: GovernorMessage } {
  if (isDenied("governor", typeOf(value))) throw denied();
  return { message: parse(governorMessage, value, "message of a governor") };
}
