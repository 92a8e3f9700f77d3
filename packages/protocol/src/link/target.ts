import { formatObject, formatTask } from "../ids.ts";
import type { ClientRequest, GovernorMessage } from "../messages.ts";

/** What a message is about, by its numbers alone. */
export function targetOf(message: ClientRequest | GovernorMessage): string | undefined {
  if ("governor" in message) return `g${message.governor}`;
  if (!("session" in message)) return undefined;
  if ("task" in message) return formatTask(message.session, message.task);
  if ("object" in message) return formatObject(message.session, message.object);
  return String(message.session);
}
