import type { Sweeper } from "../monitor/sweep.ts";
import type { UsageMonitor } from "../monitor/usage.ts";
import type { Limits } from "./bounds.ts";
import type { Executors } from "./custom/index.ts";
import type { Folders } from "./folders.ts";
import type { Logs } from "./logs.ts";
import type { MetricsMonitor } from "./metrics/index.ts";
import type { Trees } from "../store/index.ts";
import type { LauncherPool } from "./pool.ts";
import type { Programs } from "./program.ts";
import type { Log, Store } from "./types.ts";

/** What all runs of one executor share. */
export interface House {
  /** Folder of the task folders, free of symbolic links. */
  readonly tasks: string;
  readonly folders: Folders;
  readonly instance: string;
  readonly store: Store;
  /** Directory objects that are unpacked once for all. */
  readonly trees: Trees;
  readonly baseEnv: Readonly<Record<string, string>>;
  readonly gpus: number;
  /** Prefixes of the governor's environments, by their names. */
  readonly environments: ReadonlyMap<string, readonly string[]>;
  readonly limits: Limits;
  readonly launchers: LauncherPool;
  readonly executors: Executors;
  readonly sweeper: Sweeper;
  readonly usage: UsageMonitor;
  readonly metrics: MetricsMonitor;
  readonly programs: Programs;
  readonly logs: Logs;
  readonly log: Log;
}
