import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readSync,
  type BigIntStats,
} from "node:fs";
import { lstat, open } from "node:fs/promises";
import type { AttemptRef } from "@rain/protocol";
import { errorCode } from "../monitor/errno.ts";
import { makeTaskFolder, namedFolder, removeTaskFolder, taskFolder, type TaskFolder } from "./folder.ts";
import { streams, type Log, type LogStream } from "./types.ts";

/**
 * A spare folder rests for so long before a task gets it: longer than a tick of the clock by which the file system
 * tells times, so that whatever the task touches has another time than before.
 */
const REST_MS = 30;
/** Folders that are kept for the tasks to come. */
const MOST_SPARE = 128;

type Part = "root" | "work" | "tmp";
const parts = ["root", "work", "tmp"] as const;

/** A folder as it was before its task: empty, but for the two files of its program's output. */
interface Rest {
  readonly folder: TaskFolder;
  readonly before: Readonly<Record<Part | LogStream, BigIntStats>>;
  /** When it was looked at, monotonic ms. */
  readonly since: number;
}

/** What a program left of a folder that rested before. */
export interface Left {
  /** Nothing was made, removed, renamed or given other rights: what is in it are the two files, with their sizes. */
  readonly untouched: boolean;
  readonly sizes: CaptureSizes;
  readonly files: Readonly<Record<LogStream, BigIntStats>>;
}

/** Bytes that a program wrote. */
export type CaptureSizes = Readonly<Record<LogStream, number>>;

/**
 * Folders of tasks. Making and removing one costs as much as a small program, and many programs leave nothing in
 * theirs but their output: such a folder serves again, when it is proven to be as it was made. The others are removed,
 * and made anew while nobody waits for them.
 */
export class Folders {
  readonly #tasks: string;
  readonly #spares: string;
  readonly #log: Log;
  #spare: Rest[] = [];
  readonly #rested = new Map<TaskFolder, Rest>();
  readonly #making = new Set<Promise<void>>();
  #stopped = false;

  /** `tasks` and `spares`: where folders of one task, and those of many, are made. */
  constructor(tasks: string, spares: string, log: Log) {
    this.#tasks = tasks;
    this.#spares = spares;
    this.#log = log;
  }

  /** An empty folder for this attempt. */
  async take(ref: AttemptRef): Promise<TaskFolder> {
    const [oldest] = this.#spare;
    if (oldest !== undefined && performance.now() - oldest.since >= REST_MS) {
      this.#spare.shift();
      this.#rested.set(oldest.folder, oldest);
      return oldest.folder;
    }
    const folder = taskFolder(this.#tasks, ref);
    await makeTaskFolder(folder);
    return folder;
  }

  /** Are the files for the program's output there already, and empty? */
  isPrepared(folder: TaskFolder): boolean {
    return this.#rested.has(folder);
  }

  /** How the program left its folder; undefined for one that is made for this task only, or is not there any more. */
  look(folder: TaskFolder): Left | undefined {
    const rest = this.#rested.get(folder);
    if (rest === undefined) return undefined;
    const now = (part: Part | LogStream): BigIntStats | undefined =>
      lstatSync(folder[part], { bigint: true, throwIfNoEntry: false });
    try {
      const stdout = now("stdout");
      const stderr = now("stderr");
      if (stdout === undefined || stderr === undefined) return undefined;
      const files = { stdout, stderr };
      const isSame = (stream: LogStream): boolean =>
        files[stream].ino === rest.before[stream].ino &&
        files[stream].mode === rest.before[stream].mode &&
        files[stream].nlink === 1n;
      const untouched = parts.every((part) => now(part)?.ctimeNs === rest.before[part].ctimeNs);
      return {
        untouched: untouched && isSame("stdout") && isSame("stderr"),
        sizes: { stdout: Number(stdout.size), stderr: Number(stderr.size) },
        files,
      };
    } catch (error) {
      if (errorCode(error) === undefined) throw error;
      return undefined; // out of reach: it is removed
    }
  }

  /** The task is over. With what it left, if that is as before, the folder serves again; otherwise it is removed. */
  async giveBack(folder: TaskFolder, left: Left | undefined): Promise<void> {
    const rest = this.#rested.get(folder);
    this.#rested.delete(folder);
    if (rest !== undefined && left?.untouched === true && this.#hasRoom) {
      this.#spare.push({ folder, before: { ...rest.before, ...left.files }, since: performance.now() });
      return;
    }
    await removeTaskFolder(folder);
    if (this.#hasRoom) this.#background(this.#make());
  }

  /** Waits for what is being made. The folders stay: who starts next clears them away. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#making);
    for (const { folder } of this.#spare.splice(0)) await removeTaskFolder(folder);
  }

  get #hasRoom(): boolean {
    return !this.#stopped && this.#spare.length + this.#making.size < MOST_SPARE;
  }

  async #make(): Promise<void> {
    const folder = namedFolder(this.#spares, "spare");
    await makeTaskFolder(folder);
    for (const stream of streams) await (await open(folder[stream], "wx", 0o600)).close();
    const look = async (part: Part | LogStream): Promise<BigIntStats> =>
      await lstat(folder[part], { bigint: true });
    const [root, work, tmp, stdout, stderr] = await Promise.all([
      look("root"),
      look("work"),
      look("tmp"),
      look("stdout"),
      look("stderr"),
    ]);
    const before = { root, work, tmp, stdout, stderr };
    this.#spare.push({ folder, before, since: performance.now() });
  }

  /** A folder that cannot be made now is missed by nobody: the next task makes its own, and says what is wrong. */
  #background(work: Promise<void>): void {
    const making = work
      .catch((error: unknown) => this.#log("warn", `a folder could not be made ahead: ${String(error)}`))
      .finally(() => this.#making.delete(making));
    this.#making.add(making);
  }
}

/**
 * Takes out what the program wrote and leaves the files empty. Synchronous: the bytes are few, were written a moment
 * ago, and are in memory.
 */
export function takeCaptures(
  folder: TaskFolder,
  left: Left,
): { readonly data: Captures; readonly left: Left } {
  const data = { stdout: NOTHING, stderr: NOTHING };
  const files = { ...left.files };
  for (const stream of streams) {
    const size = left.sizes[stream];
    if (size === 0) continue;
    const file = openSync(folder[stream], constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const bytes = Buffer.allocUnsafeSlow(size);
      data[stream] = bytes.subarray(0, readSync(file, bytes, 0, size, 0));
      ftruncateSync(file);
      files[stream] = fstatSync(file, { bigint: true });
    } finally {
      closeSync(file);
    }
  }
  return { data, left: { ...left, files } };
}
const NOTHING: Buffer = Buffer.of();

export type Captures = Readonly<Record<LogStream, Buffer>>;
