export { Outbox, reportsOf } from "./outbox.ts";
export * from "./types.ts";
export { GovernorCore } from "./core.ts";
export type { AttemptView } from "./attempts.ts";
