import { spawn, type ChildProcess } from "node:child_process";
import { fstatSync, readSync, writeSync } from "node:fs";
import { errorCode } from "../monitor/errno.ts";
import type { Scratch } from "./scratch.ts";

/** Status of a launcher that was asked to end while it ran no program. */
export const IDLE_TERM_STATUS = 143;

/** The script as launchers open it anew: descriptor 3. Spelled as nobody else does, so that it is known in messages. */
const SCRIPT = "/proc/self/./fd/3";
/**
 * At each line of stdin: runs the script, writes the CPU times so far into the file at descriptor 5, and answers the
 * script's status, so that there is one answer to wake up for.
 * TERM to the group is for the program; the launcher itself must live to tell how the program ended, unless no
 * program runs: then it ends, and the task that was just coming never starts. Each script says on descriptor 4, a
 * file, that its program is next: it stays there when the launcher is killed.
 */
const LOOP = `trap 'test -n "$RAIN_S" || exit ${IDLE_TERM_STATUS}' TERM INT HUP
while read -r RAIN_N; do
  RAIN_S=1
  . ${SCRIPT}
  RAIN_E=$?
  times 1<>/proc/self/fd/5
  echo "$RAIN_E"
  RAIN_S=
  cd /
done`;
const STDERR_KEPT = 2_048;
const SHORT_SCRIPT = 16_384;

/** How the script ended. `died`: the launcher was killed with it, or could not run it. */
export type LaunchEnd =
  | { readonly type: "status"; readonly status: number; readonly cpuTimeS: number; readonly stderr: string }
  | {
      readonly type: "died";
      readonly signal: NodeJS.Signals | undefined;
      readonly exitCode: number | undefined;
      readonly stderr: string;
      /** The script came to its program. */
      readonly begun: boolean;
    };

/**
 * A long-lived shell in a session and process group of its own that runs one task at a time: the group is the task's.
 * It exists because a fork of this process costs milliseconds, one of a small shell a tenth of one.
 */
export class Launcher {
  /** Undefined when it could not be started; then `failure` says why. */
  readonly pid: number | undefined;
  failure: Error | undefined;
  readonly #scratch: Scratch;
  readonly #child: ChildProcess;
  readonly closed: Promise<void>;
  #alive = true;
  #signalled = false;
  #out = "";
  #err = "";
  #cpuTimeS = 0;
  /** The numbers of its files are no longer this process's to use. */
  #isDisposed = false;
  #runs = 0;
  #answer: ((end: LaunchEnd) => void) | undefined;

  /** `place`: of whom it is, for people who look at processes. */
  constructor(
    shell: readonly string[],
    scratch: Scratch,
    env: Readonly<Record<string, string>>,
    place: string,
  ) {
    this.#scratch = scratch;
    const [command = "/bin/sh", ...args] = shell;
    const files = [scratch.script.fd, scratch.begun.fd, scratch.times.fd];
    this.#child = spawn(command, [...args, "-c", LOOP, "rain-launcher", place], {
      detached: true,
      cwd: "/",
      env,
      stdio: ["pipe", "pipe", "pipe", ...files],
    });
    this.pid = this.#child.pid;
    // Without descriptors left, there are no streams at all.
    this.#child.stdout?.setEncoding("latin1").on("data", (text: string) => this.#onText(text));
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#err = (this.#err + text).slice(-STDERR_KEPT);
    });
    // A launcher that is dead cannot be written to; `close` reports the death.
    this.#child.stdin?.on("error", () => undefined);
    this.#child.once("exit", () => {
      this.#alive = false;
    });
    this.closed = new Promise((resolve) => {
      this.#child.on("error", (error) => {
        this.failure = error;
        if (this.pid === undefined) this.#onClose(undefined, undefined, resolve);
      });
      this.#child.once("close", (code, signal) =>
        this.#onClose(code ?? undefined, signal ?? undefined, resolve),
      );
    });
  }

  /** To be called before its files are closed. */
  dispose(): void {
    this.#isDisposed = true;
  }

  /** Neither dead nor ever signalled: fit for another task. */
  get reusable(): boolean {
    return this.#alive && !this.#signalled;
  }

  /** Path of the script, as launchers name it in their messages. */
  readonly script: string = SCRIPT;

  /** Sets the script of the next run. A short one is written at once: it costs less than to have it written. */
  async load(script: string): Promise<void> {
    const bytes = Buffer.from(script);
    const { script: file } = this.#scratch;
    try {
      for (let at = 0; at < bytes.length && !this.#isDisposed;)
        at +=
          bytes.length > SHORT_SCRIPT
            ? (await file.write(bytes, at, bytes.length - at, at)).bytesWritten
            : writeSync(file.fd, bytes, at, bytes.length - at, at);
    } catch (error) {
      if (this.#alive) throw error; // of a dead launcher the file is closed; `run` reports that death
    }
  }

  /** Runs the script. One at a time. Never rejects. */
  run(): Promise<LaunchEnd> {
    this.#err = "";
    return new Promise((resolve) => {
      this.#answer = resolve;
      this.#runs += 1;
      if (this.#alive) this.#child.stdin?.write("\n");
      else this.#settleDeath(undefined, undefined);
    });
  }

  /** Signals the whole group. KILL takes the launcher along. */
  signal(signal: "SIGTERM" | "SIGKILL"): void {
    this.#signalled = true;
    // Once its leader is reaped the number of the group could be someone else's.
    if (!this.#alive || this.pid === undefined) return;
    try {
      process.kill(-this.pid, signal);
    } catch (error) {
      if (errorCode(error) !== "ESRCH") throw error;
    }
  }

  #onText(text: string): void {
    this.#out += text;
    const end = this.#out.indexOf("\n");
    if (end === -1) return;
    const status = Number(this.#out.slice(0, end));
    this.#out = this.#out.slice(end + 1);
    const total = this.#readTimes() ?? this.#cpuTimeS;
    const cpuTimeS = Math.max(0, total - this.#cpuTimeS);
    this.#cpuTimeS = total;
    this.#settle({ type: "status", status, cpuTimeS, stderr: this.#err });
  }

  /** Two lines: the shell's own CPU times, and those of its ended children. */
  #readTimes(): number | undefined {
    if (this.#isDisposed) return undefined;
    const bytes = readSync(this.#scratch.times.fd, timesText, 0, timesText.length, 0);
    const children = timesText.toString("latin1", 0, bytes).split("\n")[1];
    return children === undefined ? undefined : parseTimes(children);
  }

  #onClose(exitCode: number | undefined, signal: NodeJS.Signals | undefined, closed: () => void): void {
    this.#alive = false;
    this.#settleDeath(exitCode, signal);
    closed();
  }

  #settleDeath(exitCode: number | undefined, signal: NodeJS.Signals | undefined): void {
    if (this.#answer === undefined) return;
    const count = this.#isDisposed ? 0 : fstatSync(this.#scratch.begun.fd).size;
    this.#settle({ type: "died", signal, exitCode, stderr: this.#death(), begun: count >= this.#runs });
  }

  #death(): string {
    return this.failure === undefined ? this.#err : `${this.failure.message}\n${this.#err}`;
  }

  #settle(end: LaunchEnd): void {
    const answer = this.#answer;
    this.#answer = undefined;
    answer?.(end);
  }
}

const timesText = Buffer.alloc(256);

/** Seconds of user and system time in a line of `times`: `0m1.230000s 0m0.010000s`. */
export function parseTimes(line: string): number {
  let seconds = 0;
  for (const match of line.matchAll(/(\d+)m([\d.]+)s/g)) seconds += Number(match[1]) * 60 + Number(match[2]);
  return Math.round(seconds * 1e6) / 1e6;
}
