export { allowedCpus, detectCapacity, type DetectOptions } from "./capacity.ts";
export { startGovernor, type Governor, type GovernorOptions, type Log } from "./governor.ts";
