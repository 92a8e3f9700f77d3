export { Executor } from "./executor.ts";
export type { ExecutorOptions, Log, LogStream, RunEffect, RunOutcome } from "./types.ts";
