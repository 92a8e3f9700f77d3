export type { MemoryLimitChoice } from "./bounds.ts";
export type { OwnExecutor } from "./custom/index.ts";
export { Executor } from "./executor.ts";
export type { EndedRun, ExecutorOptions, Log, LogStream, RunEffect, Runner, RunOutcome } from "./types.ts";
export { ZeroExecutor } from "./zero.ts";
