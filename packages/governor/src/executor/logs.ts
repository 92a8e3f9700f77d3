import { copyFile, mkdir, open, rename, rm, writeFile, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import type { AttemptRef, SessionId, TaskId } from "@rain/protocol";
import { errorCode } from "../monitor/errno.ts";
import type { LogStream } from "./types.ts";

/** Of each log that is kept: so much of its beginning and of its end. */
export const LOG_PART_BYTES = 524_288;
const CHUNK_BYTES = 65_536;

/** Short logs stay in memory until they are so many bytes together; more go to files. */
const MEMORY_BYTES = 33_554_432;

/** The path of a file, or its bytes. */
type Place = string | Uint8Array;

interface Entry {
  readonly attempt: number;
  readonly files: Record<LogStream, Place>;
  complete: boolean;
}

/** Where a log is: a file, or its bytes. */
export interface LogView {
  readonly path?: string;
  readonly data?: Uint8Array;
  readonly complete: boolean;
}

export type LogSource =
  | {
      readonly path: string;
      /** Bytes; with 0 there need not be a file. */
      readonly size: number;
      readonly movable: boolean;
    }
  | { readonly data: Uint8Array };

const taskKey = (session: SessionId, task: TaskId): string => `${session}/${task}`;

/** What programs wrote to stdout and stderr: the last attempt of each task, while it runs and until it is forgotten. */
export class Logs {
  readonly folder: string;
  readonly #entries = new Map<string, Entry>();
  #memory = 0;

  constructor(workdir: string) {
    this.folder = join(workdir, "logs");
  }

  /** Makes the folder, empty: nobody asks for the logs of an earlier governor. */
  async start(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
    await mkdir(this.folder, { mode: 0o700 });
    await writeFile(this.#empty, "", { mode: 0o444 });
  }

  /** Most programs write nothing to one of the two: all of those share one file. */
  get #empty(): string {
    return join(this.folder, "empty");
  }

  file(session: SessionId, task: TaskId, stream: LogStream): LogView | undefined {
    const entry = this.#entries.get(taskKey(session, task));
    if (entry === undefined) return undefined;
    const { complete } = entry;
    const place = entry.files[stream];
    return typeof place === "string" ? { path: place, complete } : { data: place, complete };
  }

  /** An attempt runs and writes to these files. What an earlier attempt left is removed. */
  async begin(ref: AttemptRef, files: Record<LogStream, string>): Promise<void> {
    const key = taskKey(ref.session, ref.task);
    const before = this.#entries.get(key);
    this.#entries.set(key, { attempt: ref.attempt, files: { ...files }, complete: false });
    if (before?.complete === true) await this.#remove(before);
  }

  /** The attempt is over: keeps the end state of its logs. `movable` says that the file itself may be taken. */
  async settle(ref: AttemptRef, sources: Record<LogStream, LogSource>): Promise<void> {
    const entry = this.#current(ref);
    if (entry === undefined) return;
    for (const stream of ["stdout", "stderr"] as const) {
      const target = join(this.folder, `${ref.session}-${ref.task}-${ref.attempt}.${stream}`);
      entry.files[stream] = await this.#keep(sources[stream], target);
    }
    entry.complete = true;
    if (this.#current(ref) !== entry) await this.#remove(entry); // forgotten meanwhile
  }

  async forget(ref: AttemptRef): Promise<void> {
    const entry = this.#current(ref);
    if (entry === undefined) return;
    this.#entries.delete(taskKey(ref.session, ref.task));
    if (entry.complete) await this.#remove(entry);
  }

  #current(ref: AttemptRef): Entry | undefined {
    const entry = this.#entries.get(taskKey(ref.session, ref.task));
    return entry?.attempt === ref.attempt ? entry : undefined;
  }

  async #keep(source: LogSource, target: string): Promise<Place> {
    if ("data" in source) {
      const { data } = source;
      if (data.length === 0) return this.#empty;
      if (this.#memory + data.length <= MEMORY_BYTES) {
        this.#memory += data.length;
        return data;
      }
      await writeFile(target, data, { mode: 0o600 });
      return target;
    }
    const { path, size, movable } = source;
    if (size === 0) return this.#empty;
    if (size > 2 * LOG_PART_BYTES) await copyEnds(path, target, size);
    else if (movable) await rename(path, target);
    else await copyFile(path, target);
    return target;
  }

  async #remove(entry: Entry): Promise<void> {
    for (const place of Object.values(entry.files)) {
      if (typeof place !== "string") this.#memory -= place.length;
      else if (place !== this.#empty) await rm(place, { force: true });
    }
  }
}

/** Copies the beginning and the end of a file, with a line between them that says how much is missing. */
async function copyEnds(source: string, target: string, size: number): Promise<void> {
  const from = await open(source, "r");
  try {
    const to = await open(target, "w", 0o600);
    try {
      await copyRange(from, to, 0, LOG_PART_BYTES);
      await to.writeFile(`\n[... ${size - 2 * LOG_PART_BYTES} bytes left out ...]\n`);
      await copyRange(from, to, size - LOG_PART_BYTES, size);
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
}

async function copyRange(from: FileHandle, to: FileHandle, start: number, end: number): Promise<void> {
  const buffer = Buffer.alloc(CHUNK_BYTES);
  for (let at = start; at < end;) {
    const { bytesRead } = await from.read(buffer, 0, Math.min(CHUNK_BYTES, end - at), at);
    if (bytesRead === 0) return;
    await to.writeFile(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

/** The last part of a file as text, whatever its bytes; empty when there is no such file. */
export async function tailText(path: string, bytes: number): Promise<string> {
  try {
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      const length = Math.min(size, bytes);
      const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
      return buffer.toString("utf8", 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "";
    throw error;
  }
}
