import { spawn, type ChildProcess } from "node:child_process";
import { open, rm, truncate } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { Sweeper } from "../../monitor/sweep.ts";
import { errorCode } from "../../monitor/errno.ts";
import type { Reaper } from "../reaper.ts";
import type { Log } from "../types.ts";
import { LineReader } from "./lines.ts";
import {
  EXECUTOR_PROTOCOL,
  MAX_ANSWER_BYTES,
  readAnswer,
  type Call,
  type FromExecutor,
  type ToExecutor,
} from "./messages.ts";

/** How a process is started, and who must know of it. */
export interface ProcessPlace {
  readonly name: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** The attempt's part of its cookie. */
  readonly key: string;
  /** Where its stderr goes. */
  readonly logPath: string;
  readonly sweeper: Sweeper;
  readonly reaper: Reaper;
  readonly log: Log;
}

/** How a process ended. `why`: what it did that it was ended for. */
export interface Death {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly why: string | undefined;
}
export type CallEnd =
  Exclude<FromExecutor, { type: "ready" }> | { readonly type: "died"; readonly death: Death };

/** How long the pipes of a dead process, whose family is dead too, may stay open. */
const DRAIN_MS = 1_000;

/** One process of an own executor: it serves one call at a time, and its family dies with it. */
export class ExecutorProcess {
  readonly pid: number | undefined;
  readonly key: string;
  readonly logPath: string;
  /** It and its family are dead. Never rejects. */
  readonly ended: Promise<Death>;
  readonly #place: ProcessPlace;
  readonly #child: ChildProcess;
  #alive = true;
  #spawnError: Error | undefined;
  #why: string | undefined;
  readonly #ready: Promise<true>;
  #markReady: (() => void) | undefined;
  #pending: { readonly id: number; readonly settle: (end: CallEnd) => void } | undefined;
  #calls = 0;

  static async start(place: ProcessPlace): Promise<ExecutorProcess> {
    const log = await open(place.logPath, "a", 0o600);
    try {
      return new ExecutorProcess(place, log.fd);
    } finally {
      await log.close();
    }
  }

  private constructor(place: ProcessPlace, stderr: number) {
    this.#place = place;
    this.key = place.key;
    this.logPath = place.logPath;
    const [file = "", ...args] = place.command;
    this.#ready = new Promise((resolve) => (this.#markReady = () => resolve(true)));
    place.sweeper.begin(place.key);
    this.#child = spawn(file, args, { detached: true, env: place.env, stdio: ["pipe", "pipe", stderr] });
    this.pid = this.#child.pid;
    if (this.pid !== undefined) place.reaper.add(this.pid);
    this.#child.on("error", (error) => (this.#spawnError = error));
    // A dead process cannot be written to; `ended` tells of it.
    this.#child.stdin?.on("error", () => undefined);
    const reader = new LineReader(
      MAX_ANSWER_BYTES,
      (line) => this.#hear(line),
      () => this.kill(`wrote a line of more than ${MAX_ANSWER_BYTES} bytes to stdout`),
    );
    this.#child.stdout?.on("data", (bytes: Buffer) => reader.push(bytes));
    this.#child.stdout?.on("error", () => undefined);
    this.ended = this.#watch();
  }

  /** Neither dead nor about to be. */
  get usable(): boolean {
    return this.#alive && this.#why === undefined;
  }

  /** Says hello and waits for the answer. False: it died instead, or was ended after `limitMs`. */
  async greet(limitMs: number): Promise<boolean> {
    this.#say({ type: "hello", protocol: EXECUTOR_PROTOCOL, name: this.#place.name });
    const timer = setTimeout(() => this.kill(`was not ready within ${limitMs / 1_000} s`), limitMs);
    try {
      return await Promise.race([this.#ready, this.ended.then(() => false as const)]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The number of the next call. */
  get nextId(): number {
    return this.#calls + 1;
  }

  /** Makes the log that of the next call. What was written before the first call stays. */
  async clearLog(): Promise<void> {
    if (this.#calls > 0) await truncate(this.logPath, 0);
  }

  /** One at a time. Never rejects. */
  call(call: Call): Promise<CallEnd> {
    this.#calls = call.id;
    return new Promise((settle) => {
      this.#pending = { id: call.id, settle };
      void this.ended.then((death) => this.#settle({ type: "died", death }));
      this.#say(call);
    });
  }

  /** Asks it to end the running call soon. */
  cancel(): void {
    if (this.#pending !== undefined) this.#say({ type: "cancel", id: this.#pending.id });
  }

  /** Tells it to end, since there is nothing to do. */
  dismiss(): void {
    this.#child.stdin?.end();
  }

  /** Kills the whole group. `why` says what it did. */
  kill(why?: string): void {
    this.#why ??= why ?? "was killed";
    // Once its leader is reaped the number of the group could be someone else's; its family falls to the sweep.
    if (!this.#alive || this.pid === undefined) return;
    try {
      process.kill(-this.pid, "SIGKILL");
    } catch (error) {
      if (errorCode(error) !== "ESRCH") throw error;
    }
  }

  /** Removes its log. To be called when it is dead. */
  async dispose(): Promise<void> {
    await rm(this.logPath, { force: true });
  }

  #say(message: ToExecutor): void {
    if (this.#alive) this.#child.stdin?.write(`${JSON.stringify(message)}\n`);
  }

  #hear(line: string): void {
    if (this.#why !== undefined) return;
    try {
      this.#take(readAnswer(line));
    } catch (error) {
      this.kill(error instanceof Error ? error.message : String(error));
    }
  }

  #take(message: FromExecutor): void {
    if (message.type === "ready") {
      if (this.#markReady === undefined) throw new Error("said that it is ready more than once");
      if (message.protocol !== EXECUTOR_PROTOCOL)
        throw new Error(`speaks protocol ${message.protocol}; this governor speaks ${EXECUTOR_PROTOCOL}`);
      this.#markReady();
      this.#markReady = undefined;
      return;
    }
    if (message.id !== this.#pending?.id)
      throw new Error(`answered call ${message.id}, and ${this.#pending?.id ?? "none"} is running`);
    this.#settle(message);
  }

  #settle(end: CallEnd): void {
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.settle(end);
  }

  async #watch(): Promise<Death> {
    const { reaper, sweeper, key, name, log } = this.#place;
    const closed = new Promise<void>((resolve) => this.#child.once("close", () => resolve()));
    await new Promise<void>((resolve) => {
      this.#child.once("exit", () => resolve());
      if (this.pid === undefined) this.#child.once("error", () => resolve());
    });
    this.#alive = false;
    if (this.pid !== undefined) reaper.remove(this.pid);
    try {
      const clean = await sweeper.end(key, NO_LAUNCHER);
      if (!clean) log("error", `processes of executor ${name} could not be killed and may still run`);
    } catch (error) {
      log("error", `processes of executor ${name} may still run: ${String(error)}`);
    }
    // What it said last is still in the pipe.
    if (this.pid !== undefined) await Promise.race([closed, delay(DRAIN_MS, undefined, { ref: false })]);
    this.#child.stdout?.destroy();
    return {
      exitCode: this.#child.exitCode ?? undefined,
      signal: this.#child.signalCode ?? undefined,
      why: this.#why ?? (this.#spawnError && `cannot be run: ${this.#spawnError.message}`),
    };
  }
}

/** No launcher has this number: an executor's processes are found by their cookie. */
const NO_LAUNCHER = -1;
