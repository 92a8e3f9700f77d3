export * from "./types.ts";
export { ServerCore, type Location } from "./core.ts";
export { DurableState } from "./apply.ts";
export { attemptKey } from "./kernel.ts";
export { longestOf } from "./submit.ts";
