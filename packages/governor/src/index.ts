export { allowedCpus, detectCapacity, type DetectOptions } from "./capacity.ts";
export type { OwnExecutor } from "./executor/index.ts";
export { startGovernor, type Governor, type GovernorOptions, type Log } from "./governor.ts";
