import { formatObject, formatTask } from "../ids.ts";
import type { ClientRequest, GovernorMessage } from "../messages.ts";

/** What a message is about, by its numbers (a datastore by its name) alone. */
export function targetOf(message: ClientRequest | GovernorMessage): string | undefined {
  if (message.type === "datastore.create") return message.name;
  if (message.type === "datastore.delete")
    return message.version === undefined ? message.name : `${message.name}:${message.version}`;
  if ("governor" in message) return `g${message.governor}`;
  if (!("session" in message) || message.session === undefined) return undefined;
  if ("task" in message) return formatTask(message.session, message.task);
  if ("object" in message) return formatObject(message.session, message.object);
  return String(message.session);
}
