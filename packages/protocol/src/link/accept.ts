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
import type { Verdict } from "./connection.ts";

const numbered = z.object({ req: z.int().min(0) });
const typed = z.object({ type: z.enum(requestTypes) });

/** A request of a client; one that is not valid is answered with its error as long as its number can be read. */
export function acceptRequest(value: unknown): Verdict<ClientRequest, ServerToClient> {
  try {
    return { message: parse(clientRequest, value, typed.safeParse(value).data?.type ?? "request") };
  } catch (error) {
    const req = numbered.safeParse(value).data?.req;
    if (req === undefined || !(error instanceof RainError)) throw error;
    return { answer: { type: "error", req, error: toWireError(error) } };
  }
}

/** A message of a governor. One that is not valid closes the link: its two sides no longer agree on what was said. */
export const acceptGovernor = (value: unknown): { readonly message: GovernorMessage } => ({
  message: parse(governorMessage, value, "message of a governor"),
});
