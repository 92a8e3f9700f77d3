import { spawn, type ChildProcess } from "node:child_process";
import type { Log } from "./types.ts";

/**
 * Blocks on a pipe from the governor: `+PGID` and `-PGID` maintain a set of process groups, end of file means that
 * the governor is dead. `kill -KILL -- -PGID` would be an error in dash.
 */
const SCRIPT = `trap '' TERM INT HUP
set --
while read -r line; do
  group=\${line#?}
  case $line in
    +*) set -- "$@" "$group" ;;
    -*)
      left=$#
      while [ "$left" -gt 0 ]; do
        first=$1
        shift
        [ "$first" = "$group" ] || set -- "$@" "$first"
        left=$((left - 1))
      done
      ;;
  esac
done
for group in "$@"; do kill -KILL -"$group"; done`;

const SHORT_LIFE_MS = 1_000;

/** A shell of its own session that kills the registered process groups when this process is gone without a goodbye. */
export class Reaper {
  readonly #shell: readonly string[];
  readonly #log: Log;
  readonly #groups = new Set<number>();
  #child: ChildProcess | undefined;
  #stopping = false;

  constructor(shell: readonly string[], log: Log) {
    this.#shell = shell;
    this.#log = log;
  }

  start(): void {
    const [file = "/bin/sh", ...args] = this.#shell;
    const child = spawn(file, [...args, "-c", SCRIPT, "rain-reaper"], {
      detached: true,
      cwd: "/",
      env: { LC_ALL: "C" },
      stdio: ["pipe", "ignore", "ignore"],
    });
    const startedAt = performance.now();
    this.#child = child;
    child.on("error", (error) => this.#log("error", `the reaper could not be started: ${error.message}`));
    child.stdin.on("error", () => undefined); // a dead reaper is reported by `exit`
    child.once("exit", (code, signal) => {
      if (this.#stopping || this.#child !== child) return;
      this.#log("warn", `the reaper ended (${signal ?? code}); starting another`);
      // One that cannot live must not be started over and over without a pause.
      const pause = performance.now() - startedAt < SHORT_LIFE_MS ? SHORT_LIFE_MS : 0;
      setTimeout(() => this.#stopping || this.start(), pause).unref();
    });
    for (const group of this.#groups) this.#say(`+${group}`);
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  add(group: number): void {
    this.#groups.add(group);
    this.#say(`+${group}`);
  }

  remove(group: number): void {
    if (this.#groups.delete(group)) this.#say(`-${group}`);
  }

  /** Ends it. Groups that are still registered are killed. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#stopping = true;
    if (child === undefined || child.pid === undefined) return;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.stdin?.end();
    await ended;
  }

  #say(line: string): void {
    this.#child?.stdin?.write(`${line}\n`);
  }
}
