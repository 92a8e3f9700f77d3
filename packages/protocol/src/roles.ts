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
const rule = (audit: "audit" | "quiet", ...allowed: readonly Role[]): Rule => ({
  roles: allowed,
  audit: audit === "audit",
});

/**
 * The table of roles for everything that is said over a link. What has no line here is denied, and a new message
 * without a line does not compile. The routes of the HTTP surface have the same in their own table. Who may stop or
 * drain holds the client key.
 */
const requestRules: Readonly<Record<RequestType, Rule>> = {
  "session.open": rule("audit", "client"),
  "session.attach": rule("audit", "client"),
  "session.close": rule("audit", "client"),
  "session.list": rule("quiet", "client", "viewer"),
  "session.describe": rule("quiet", "client", "viewer"),
  submit: rule("audit", "client"),
  next: rule("quiet", "client"),
  unkeep: rule("quiet", "client"),
  fetch: rule("audit", "client"),
  "task.get": rule("quiet", "client", "viewer"),
  "object.get": rule("quiet", "client", "viewer"),
  cancel: rule("audit", "client"),
  explain: rule("quiet", "client", "viewer"),
  "governor.drain": rule("audit", "client"),
  "governor.stop": rule("audit", "client"),
  "server.info": rule("quiet", "client", "viewer"),
  "server.stop": rule("audit", "client"),
};
const governorRules: Readonly<Record<GovernorMessageType, Rule>> = {
  register: rule("audit", "governor"),
  holding: rule("quiet", "governor"),
  started: rule("quiet", "governor"),
  finish: rule("quiet", "governor"),
  fail: rule("quiet", "governor"),
  stopped: rule("quiet", "governor"),
  starved: rule("quiet", "governor"),
  heartbeat: rule("quiet", "governor"),
  leaving: rule("audit", "governor"),
};
export const messageRules: Readonly<Record<RequestType | GovernorMessageType, Rule>> = {
  ...requestRules,
  ...governorRules,
};
const rules: ReadonlyMap<string, Rule> = new Map(Object.entries(messageRules));

/** Is this a message that the table has, and not for this role? One that is not known at all has its own error. */
export const isDenied = (role: Role, type: string): boolean =>
  rules.get(type)?.roles.includes(role) === false;

/** The same text whatever was asked: it tells nothing. */
export const deniedText = "Not allowed.";
export const denied = (): RainError => new RainError("not-allowed", deniedText);
