import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** How Node itself is started for a daemon: beside it stand the arguments of `rain`. */
export interface DaemonNode {
  /** Before the script, on the command line. */
  readonly flags: readonly string[];
  /** Defaults; the environment of whoever starts the daemon goes before. */
  readonly env: Readonly<Record<string, string>>;
}

/**
 * V8's memory reducer collects garbage when a process has been at rest for some seconds, and with it goes what V8 had
 * learned of tasks and messages, of which there are none just then: the next ten thousand tasks cost twice as much
 * (docs/performance.md). Heard by V8 on the command line only.
 */
const MEMORY_REDUCER = "memory-reducer";

let asked: Promise<DaemonNode> | undefined;
/** What this Node takes of what daemons are started with: one that does not know a flag refuses to start. Asked once. */
export const daemonNode = (): Promise<DaemonNode> => (asked ??= ask());

async function ask(): Promise<DaemonNode> {
  const { stdout } = await promisify(execFile)(process.execPath, ["--v8-options"], { maxBuffer: 2 ** 24 });
  const knowsReducer = new RegExp(`^\\s*--${MEMORY_REDUCER}\\s`, "m").test(stdout);
  return {
    flags: knowsReducer ? [`--no-${MEMORY_REDUCER}`] : [],
    // Files are read, written and hashed on the thread pool, whose default is 4 threads.
    env: { UV_THREADPOOL_SIZE: "16" },
  };
}
