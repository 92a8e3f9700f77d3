import type { AttemptRef, SessionId, TaskId } from "@rain/protocol";
import type { GovernorEffect, RunMetrics, RunOutcome } from "../core/types.ts";
import type { Store, Trees } from "../store/index.ts";
import type { Limits, MemoryLimitChoice } from "./bounds.ts";
import type { OwnExecutor } from "./custom/index.ts";
import type { LogView } from "./logs.ts";

export type RunEffect = Extract<GovernorEffect, { readonly type: "run" }>;
export type { RunOutcome, Store };

export type Log = (level: "info" | "warn" | "error", text: string) => void;
export type LogStream = "stdout" | "stderr";
export const streams = ["stdout", "stderr"] as const;

/** Performs the effects `run` and `terminate` of the governor's core: one run is one attempt of one task. */
export interface Runner {
  /** To be awaited before `run`. */
  start(): Promise<void>;
  /** Begins a run; `openStore` makes a store of its own. Its end is told exactly once, and never inside this call. */
  run(effect: RunEffect, openStore: () => Store): void;
  /** TERM, or KILL with `force`, to a run's processes. A run that is still being prepared never starts. */
  terminate(ref: AttemptRef, force: boolean): void;
  /** Removes the log files of an attempt. */
  forget(ref: AttemptRef): void;
  /** Where stdout or stderr of the task's last attempt is; undefined when it has none. */
  logFile(session: SessionId, task: TaskId, stream: LogStream): LogView | undefined;
  /** What programs are held to. To be asked after `start`. */
  readonly limits: Pick<Limits, "memory" | "processes">;
  /** Kills everything; every run still reports its end. Nothing may run after it. */
  stop(): Promise<void>;
}

export interface EndedRun {
  readonly ref: AttemptRef;
  readonly outcome: RunOutcome;
}

export interface ExecutorOptions {
  /** Folder of this executor alone; made when missing. On the same file system as the store. */
  readonly workdir: string;
  readonly store: Store;
  /** Where directory objects are unpacked for all tasks; default: trees of this executor's own. */
  readonly trees?: Trees;
  /** Environment that every task starts from, less its RAIN_* variables; default: this process's own. */
  readonly baseEnv?: NodeJS.ProcessEnv;
  /** GPUs of this governor. With none, the variables that choose GPUs are left as they are. */
  readonly gpus?: number;
  /** Words that come before the program of a task that names the environment. */
  readonly environments?: ReadonlyMap<string, readonly string[]>;
  /** Own executors, by their names. */
  readonly executors?: ReadonlyMap<string, OwnExecutor>;
  /**
   * Stop a program whose stdout or stderr grows beyond this many bytes; default `limits.captureBytes`. One that is not
   * an output may grow further as long as its file takes no more of the disk.
   */
  readonly captureBytes?: number;
  /** How programs are held to the memory that their tasks asked for; default "auto": by control groups if they can be had. */
  readonly memoryLimit?: MemoryLimitChoice;
  /** Processes that one program and its children may be at once; default `limits.taskProcesses`, or what the system has. */
  readonly taskProcesses?: number;
  /** Where the system shows its control groups; `/` unless a test says otherwise. */
  readonly systemRoot?: string;
  /**
   * Command of the launcher shell; default `/bin/sh`. dash, bash and busybox sh work; bash
   * under its own name needs `--norc`, for it takes its stdin, a socket, for a remote shell's.
   */
  readonly shell?: readonly string[];
  /** The program (or the built-in work) was started; `at` is the wall clock, ms. */
  readonly onStarted: (ref: AttemptRef, at: number) => void;
  /** The program and its family are dead, and collecting what they made may take a while. At most once for each run. */
  readonly onOver?: (ref: AttemptRef) => void;
  /** The run is over, its processes are dead and its folder is gone. Exactly once for each run. */
  readonly onEnded: (ref: AttemptRef, outcome: RunOutcome) => void;
  /** Metrics of a run that has not ended. */
  readonly onMetrics?: (ref: AttemptRef, news: RunMetrics) => void;
  readonly log: Log;
}
