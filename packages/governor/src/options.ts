import type { GovernorId, Resources } from "@rain/protocol";
import type { MemoryLimitChoice, OwnExecutor } from "./executor/index.ts";

export type Log = (level: "info" | "warn" | "error", text: string) => void;

export interface GovernorOptions {
  /** `http://host:port` of the server on loopback, `https://host:port` elsewhere. */
  readonly serverUrl: string;
  /** The server's certificate, from the access file; needed with https. */
  readonly certPem?: string | undefined;
  /** Where it is from, for messages. */
  readonly accessFile?: string | undefined;
  /** Key of the governor's role; as a function, it is asked for again whenever the server is connected to. */
  readonly key: string | (() => Promise<string>);
  readonly clusterId?: string;
  /** Folder of this governor alone; made when missing. */
  readonly workdir: string;
  /** For people; default: the machine's name. */
  readonly name?: string;
  /** What tasks may use; GPUs are whole. */
  readonly capacity: Resources;
  readonly labels?: Readonly<Record<string, string>>;
  /** Prefixes of the environments that tasks may name. */
  readonly environments?: Readonly<Record<string, readonly string[]>>;
  /** Own executors by their names: programs for tasks NAME/METHOD, see docs/executors.md. */
  readonly executors?: Readonly<Record<string, OwnExecutor>>;
  /** For measuring: run nothing, and report every task as done at once, with empty outputs. */
  readonly zero?: boolean;
  readonly costPerHour?: number;
  /** Give each task that asks for whole cpus so many of its own, by `taskset`. */
  readonly pinCpus?: boolean;
  /** Address of the data port; default 127.0.0.1. Everywhere but on loopback it speaks TLS. */
  readonly listenHost?: string;
  /** Port of the data port; default: any that is free. */
  readonly dataPort?: number;
  /** Where the server finds the data port, when that is not where it listens: the near end of a tunnel. */
  readonly dataUrl?: string;
  /**
   * `host:port` of the server as it knows itself, when `serverUrl` is the near end of a tunnel to it. The data ports
   * of other governors cannot be reached then: the server passes their objects on.
   */
  readonly tunnelTo?: string;
  /** A program that writes more than this to an stdout or stderr that is an output is stopped, bytes. */
  readonly captureBytes?: number;
  /** How programs are held to the memory that their tasks asked for; default "auto": by control groups if they can be had. */
  readonly memoryLimit?: MemoryLimitChoice;
  /** Processes that one program and its children may be at once. */
  readonly taskProcesses?: number;
  /**
   * Bytes of objects that are kept although nobody needs them any more, in case that somebody does; 0 for none.
   * Default: 2 GiB, but no more than a tenth of the disk that is free.
   */
  readonly cacheBytes?: number;
  /** Objects that are read from others at once. */
  readonly transfers?: number;
  readonly log: Log;
  /** From TERM to KILL, milliseconds. */
  readonly killGraceMs?: number;
  /**
   * What becomes of programs when the server may have given this governor up: "finish" (the default) lets them end, and
   * their results are dropped if others have made them meanwhile; "kill" ends them before others can run them.
   */
  readonly onLost?: "kill" | "finish";
  /** Environment that tasks start from; default: this process's own. */
  readonly env?: NodeJS.ProcessEnv;
}

export interface Governor {
  /** First successful registration. Rejects when the governor ends before it. */
  registered(): Promise<GovernorId>;
  /** Ends programs and exits; a second call kills at once. Resolves when all is over. */
  stop(): Promise<void>;
  /** Settles when the governor has ended. `code` is a process exit code: 0, 70 a bug, 1, 76 or 77 not accepted. */
  readonly exited: Promise<{ readonly code: number; readonly reason: string }>;
}
