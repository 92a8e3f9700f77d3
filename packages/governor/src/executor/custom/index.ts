export { Executors, type OwnExecutor } from "./pool.ts";
export { runCustom } from "./run.ts";
