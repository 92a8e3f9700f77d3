import { RainError } from "./errors.ts";
import type { GovernorMessageType, RequestType } from "./messages.ts";

/** What a key allows: submit and fetch; register and report; look on. */
export const roles = ["client", "governor", "viewer"] as const;
export type Role = (typeof roles)[number];

/** Who may do something, and whether each time that somebody did is worth a line of the audit log. */
export interface Rule {
  readonly roles: readonly Role[];
  readonly audit: boolean;
}
const audited = (...allowed: readonly Role[]): Rule => ({ roles: allowed, audit: true });
const quiet = (...allowed: readonly Role[]): Rule => ({ roles: allowed, audit: false });

/**
 * The table of roles for what is asked over a link. What has no line is denied, and a new request without one does not
 * compile. The routes of the HTTP surface have the same in their own table. Who may stop or drain holds the client key.
 */
export const requestRules: Readonly<Record<RequestType, Rule>> = {
  "session.open": audited("client"),
  "session.get": quiet("client", "viewer"),
  "session.attach": audited("client"),
  "session.close": audited("client"),
  "session.list": quiet("client", "viewer"),
  "session.describe": quiet("client", "viewer"),
  submit: audited("client"),
  next: quiet("client"),
  unkeep: quiet("client"),
  fetch: audited("client"),
  "task.get": quiet("client", "viewer"),
  "object.get": quiet("client", "viewer"),
  cancel: audited("client"),
  results: quiet("client", "viewer"),
  metrics: quiet("client", "viewer"),
  history: quiet("client", "viewer"),
  "datastore.create": audited("client"),
  "datastore.list": quiet("client", "viewer"),
  "datastore.delete": audited("client"),
  "cache.list": quiet("client", "viewer"),
  "cache.clear": audited("client"),
  explain: quiet("client", "viewer"),
  "governor.drain": audited("client"),
  "governor.stop": audited("client"),
  "server.info": quiet("client", "viewer"),
  "server.stop": audited("client"),
};

/** The same for what governors say. */
export const governorRules: Readonly<Record<GovernorMessageType, Rule>> = {
  register: audited("governor"),
  holding: quiet("governor"),
  started: quiet("governor"),
  metrics: quiet("governor"),
  finish: quiet("governor"),
  "finish.batch": quiet("governor"),
  fail: quiet("governor"),
  stopped: quiet("governor"),
  starved: quiet("governor"),
  uncopied: quiet("governor"),
  heartbeat: quiet("governor"),
  leaving: audited("governor"),
};

const ofRequests: ReadonlyMap<string, Rule> = new Map(Object.entries(requestRules));
const ofGovernors: ReadonlyMap<string, Rule> = new Map(Object.entries(governorRules));

/** The rule for a message from a peer of this role; the two kinds of peers have names of their own for messages. */
export const ruleOf = (role: Role, type: string): Rule | undefined =>
  (role === "governor" ? ofGovernors : ofRequests).get(type);

/** Is this a message that somebody may send, and not this role? One that is not known at all has its own error. */
export const isDenied = (role: Role, type: string): boolean =>
  (ofRequests.has(type) || ofGovernors.has(type)) && ruleOf(role, type)?.roles.includes(role) !== true;

/** The same text whatever was asked: it tells nothing. */
export const deniedText = "Not allowed.";
export const denied = (): RainError => new RainError("not-allowed", deniedText);
