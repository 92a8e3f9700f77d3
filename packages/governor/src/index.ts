export { allowedCpus, detectCapacity, type DetectOptions } from "./capacity.ts";
export type { OwnExecutor } from "./executor/index.ts";
export { startGovernor } from "./governor.ts";
export type { Governor, GovernorOptions, Log } from "./options.ts";
