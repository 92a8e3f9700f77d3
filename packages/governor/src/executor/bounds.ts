import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { promisify } from "node:util";
import { limits, RainError, type MemoryLimit } from "@rain/protocol";
import { attemptKey } from "../core/types.ts";
import { ControlGroups, type GroupEnd, type TaskGroup } from "../monitor/cgroup.ts";
import { errorCode } from "../monitor/errno.ts";
import { readSharedMemory } from "../monitor/processes.ts";
import type { Family } from "../monitor/usage.ts";
import type { TaskFolder } from "./folder.ts";
import { LOG_PART_BYTES } from "./logs.ts";
import { TaskProblem } from "./problem.ts";
import type { Log, LogStream, RunEffect } from "./types.ts";

/** What programs may use: memory that their task asked for, processes, and disk for what they print. */

/** How a governor holds tasks to the memory that they asked for: as the operator wishes. */
export type MemoryLimitChoice = MemoryLimit | "auto";

/** The limits of one executor. */
export interface Limits {
  readonly memory: MemoryLimit;
  readonly groups: ControlGroups | undefined;
  readonly processes: number;
  readonly captureBytes: number;
  readonly log: Log;
}

export async function openLimits(options: {
  readonly memoryLimit?: MemoryLimitChoice | undefined;
  readonly taskProcesses?: number | undefined;
  readonly captureBytes?: number | undefined;
  readonly root?: string | undefined;
  readonly log: Log;
}): Promise<Limits> {
  const { memoryLimit: choice = "auto", taskProcesses, captureBytes = limits.captureBytes, log } = options;
  const opened = choice === "off" || choice === "watch" ? undefined : await ControlGroups.open(options.root);
  const groups = typeof opened === "string" ? undefined : opened;
  if (choice === "cgroup" && typeof opened === "string")
    throw new RainError(
      "bad-request",
      `tasks cannot be limited by control groups: ${opened}; start the governor in a delegated group ` +
        "(systemd-run --user --scope -p Delegate=yes), or choose the memory limit auto or watch",
    );
  const memory = choice === "auto" ? (groups ? "cgroup" : "watch") : choice;
  const processes = taskProcesses ?? defaultProcesses();
  return { memory, groups, processes, captureBytes, log };
}

/** Half of all that the machine can have at most, so that others still start theirs. */
function defaultProcesses(): number {
  try {
    const most = Number(readFileSync("/proc/sys/kernel/pid_max", "latin1"));
    return Math.min(limits.taskProcesses, Math.floor(most / 2));
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    return limits.taskProcesses;
  }
}

const streams = ["stdout", "stderr"] as const;
const run = promisify(execFile);

/** Holds one program to its limits. */
export class Bounds {
  readonly #limits: Limits;
  readonly #folder: TaskFolder;
  /** Bytes that the task asked for; undefined when it did not, or nothing holds it to them. */
  readonly memory: number | undefined;
  readonly #key: string;
  /** Streams that are outputs: every byte of them counts. */
  readonly #outputs: ReadonlySet<LogStream>;
  /** Up to where the middle of a log was given back to the disk; undefined where that cannot be done. */
  readonly #cut: Record<LogStream, number | undefined> = { stdout: 0, stderr: 0 };
  #group: TaskGroup | undefined;
  #problem: TaskProblem | undefined;

  constructor(all: Limits, folder: TaskFolder, { ref, spec }: RunEffect) {
    this.#limits = all;
    this.#folder = folder;
    this.#key = attemptKey(ref);
    this.memory = all.memory !== "off" && spec.request.memory > 0 ? spec.request.memory : undefined;
    const captured = spec.outputs.map(({ capture }) => capture);
    this.#outputs = new Set(streams.filter((stream) => captured.includes(stream)));
  }

  /** Makes the task's control group, where it has one: the file to which its program is to write its number. */
  async group(): Promise<string | undefined> {
    const { groups, processes } = this.#limits;
    if (groups === undefined || this.memory === undefined) return undefined;
    this.#group = await groups.make(this.#key, { memory: this.memory, processes });
    return this.#group.procs;
  }

  /** What is wrong so far. */
  get problem(): TaskProblem | undefined {
    return this.#problem;
  }

  /** Looks at what the program and its children use; true asks for the next look soon. */
  async look(family: Family): Promise<boolean> {
    const soon = this.#lookAtFamily(family);
    return (await this.#lookAtStreams()) || soon;
  }

  #lookAtFamily({ pids, memory }: Family): boolean {
    const { processes } = this.#limits;
    if (pids.length > processes) this.#problem ??= tooMany(pids.length, processes);
    const watched = this.#group === undefined ? this.memory : undefined;
    if (watched !== undefined && memory > watched) {
      // What processes share was counted for each: what each has its part of is dear to ask, and only now of interest.
      const used = readSharedMemory(pids) ?? memory;
      if (used > watched) this.#problem ??= tooMuch(used, watched, "watch");
    }
    return pids.length > processes / 4 || (watched !== undefined && memory > watched / 2);
  }

  async #lookAtStreams(): Promise<boolean> {
    const { captureBytes } = this.#limits;
    let soon = false;
    for (const stream of streams) {
      const { size, disk } = await sizeOf(this.#folder[stream]);
      const cut = this.#cut[stream];
      const isWhole = this.#outputs.has(stream) || cut === undefined;
      if ((isWhole ? size : disk) > captureBytes) this.#problem ??= tooLong(captureBytes, stream);
      const fresh = size - (cut ?? 0);
      if (fresh > captureBytes / 16) soon = true;
      if (!isWhole && fresh > Math.max(captureBytes / 8, 4 * LOG_PART_BYTES))
        await this.#cutOut(stream, size);
    }
    return soon;
  }

  /** Gives the middle of a log back to the disk while the program writes on: its ends are all that is kept of it. */
  async #cutOut(stream: LogStream, size: number): Promise<void> {
    const to = Math.floor((size - LOG_PART_BYTES) / BLOCK) * BLOCK;
    const range = ["-o", String(LOG_PART_BYTES), "-l", String(to - LOG_PART_BYTES)];
    try {
      await run("fallocate", ["--punch-hole", ...range, this.#folder[stream]]);
      this.#cut[stream] = to;
    } catch (error) {
      this.#cut[stream] = undefined;
      const why = error instanceof Error ? error.message : String(error);
      this.#limits.log("warn", `the log of ${this.#key} cannot be shortened while it grows: ${why}`);
    }
  }

  /** The program and its family are dead and have written so much; `failed`: it did not end well. */
  async end(failed: boolean, sizes: Readonly<Record<LogStream, number>>): Promise<void> {
    for (const stream of this.#outputs) {
      if (sizes[stream] > this.#limits.captureBytes)
        this.#problem ??= tooLong(this.#limits.captureBytes, stream);
    }
    const ended = await this.#endGroup();
    if (ended?.outOfMemory === true && this.memory !== undefined)
      this.#problem ??= tooMuch(ended.peak ?? this.memory, this.memory, "cgroup");
    // A program that went on without the processes that it did not get is fine.
    const { processes } = this.#limits;
    if (ended?.outOfProcesses === true && failed) this.#problem ??= tooMany(processes, processes);
  }

  /** Takes back what is left of the limits, however the run ended. Never rejects. */
  async close(): Promise<void> {
    await this.#endGroup();
  }

  async #endGroup(): Promise<GroupEnd | undefined> {
    const group = this.#group;
    this.#group = undefined;
    try {
      return await group?.end();
    } catch (error) {
      this.#limits.log("warn", `the control group of ${this.#key}: ${String(error)}`);
      return undefined;
    }
  }
}

const BLOCK = 4_096;

async function sizeOf(path: string): Promise<{ size: number; disk: number }> {
  try {
    const { size, blocks } = await stat(path);
    return { size, disk: blocks * 512 };
  } catch (error) {
    if (errorCode(error) === "ENOENT") return { size: 0, disk: 0 };
    throw error;
  }
}

const tooMuch = (used: number, limit: number, by: MemoryLimit): TaskProblem =>
  new TaskProblem(
    "oom-killed",
    `the program and what it started used ${used} bytes of memory, and its task asks for ${limit} (its request of ` +
      `memory); it was ended by its governor's limit (${by}). Let the task ask for more`,
  );
const tooMany = (count: number, limit: number): TaskProblem =>
  new TaskProblem(
    "process-limit",
    `the program and what it started were ${count} processes at once, of ${limit} that a task may have ` +
      "(task_processes of the governor's configuration)",
  );
const tooLong = (limit: number, stream: LogStream): TaskProblem =>
  new TaskProblem(
    "capture-limit",
    `the program wrote more than ${limit} bytes to ${stream}; write to an output file`,
  );
