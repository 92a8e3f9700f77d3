import type { Buffer } from "node:buffer";
import {
  constants,
  close as closeFd,
  fchmod as fchmodFd,
  fstat as fstatFd,
  open as openFd,
  writev as writevFd,
} from "node:fs";
import { chmod, mkdir, stat, symlink } from "node:fs/promises";
import { promisify } from "node:util";
import { RainError } from "../errors.ts";
import { Jobs } from "./jobs.ts";
import { shown } from "./names.ts";
import type { ReadEntry } from "./read.ts";
import type { TreeLimits } from "./types.ts";

/** File descriptors rather than file handles: half the time for many small files. */
const open = promisify(openFd);
const close = promisify(closeFd);
const fstat = promisify(fstatFd);
const fchmod = promisify(fchmodFd);
const writev = promisify(writevFd);

/** Files up to this size are written beside one another; larger ones one at a time, in pieces of PIECE_BYTES. */
const SMALL_BYTES = 131_072;
const PIECE_BYTES = 1_048_576;
const AT_ONCE = 16;
const AT_ONCE_BYTES = 4_194_304;
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Writes checked entries, which come in canonical order, into a folder that only this process knows. */
export class TreeWriter {
  readonly #root: string;
  readonly #limits: TreeLimits;
  readonly #jobs = new Jobs(AT_ONCE, AT_ONCE_BYTES);
  readonly #links: { readonly path: string; readonly target: string }[] = [];
  #linkBytes = 0;
  #bytes = 0;
  /** Modes that come out as asked, so the umask takes nothing from them. */
  readonly #exact = new Set<number>();

  constructor(root: string, limits: TreeLimits) {
    this.#root = root;
    this.#limits = limits;
  }

  /** Bytes of the files so far. */
  get bytes(): number {
    return this.#bytes;
  }

  async put(entry: ReadEntry): Promise<void> {
    for (const folder of entry.missing) await this.#folder(folder);
    if (entry.kind === "directory") await this.#folder(entry.path);
    else if (entry.kind === "link") this.#keepLink(entry.path, entry.target ?? "");
    else await this.#file(entry);
  }

  /** Waits for the files, then makes the links: while files are written there is no link that one could go through. */
  async finish(): Promise<void> {
    await this.#jobs.done();
    for (const { path, target } of this.#links)
      await this.#jobs.start(0, () => explained(path, symlink(target, this.#at(path))));
    await this.#jobs.done();
  }

  /** Waits until nothing writes any more, also after a failure. */
  async settle(): Promise<void> {
    await this.#jobs.settle();
  }

  #at(path: string): string {
    return `${this.#root}/${path}`;
  }

  async #folder(path: string): Promise<void> {
    const at = this.#at(path);
    await explained(path, mkdir(at, { mode: 0o755 }));
    if (this.#exact.has(0o40755)) return;
    if (((await stat(at)).mode & 0o777) === 0o755) this.#exact.add(0o40755);
    else await chmod(at, 0o755);
  }

  #keepLink(path: string, target: string): void {
    this.#linkBytes += 100 + 2 * (path.length + target.length);
    if (this.#linkBytes > this.#limits.linkBytes)
      throw new RainError(
        "limit-exceeded",
        `tree: the links up to ${shown(path)} take more than ${this.#limits.linkBytes} bytes of memory`,
        { limit: this.#limits.linkBytes },
      );
    this.#links.push({ path, target });
  }

  async #file(entry: ReadEntry): Promise<void> {
    this.#bytes += entry.size;
    const mode = entry.executable ? 0o755 : 0o644;
    if (entry.size > SMALL_BYTES) return this.#write(entry.path, mode, pieces(entry.body));
    const data: Buffer[] = [];
    for await (const chunk of entry.body) data.push(chunk);
    await this.#jobs.start(entry.size, () => this.#write(entry.path, mode, [data]));
  }

  async #write(path: string, mode: number, parts: AsyncIterable<Buffer[]> | Buffer[][]): Promise<void> {
    const fd = await explained(path, open(this.#at(path), CREATE, mode));
    try {
      for await (const part of parts) await explained(path, writeAll(fd, part));
      if (this.#exact.has(mode)) return;
      if (((await fstat(fd)).mode & 0o7777) === mode) this.#exact.add(mode);
      else await fchmod(fd, mode);
    } finally {
      await close(fd);
    }
  }
}

async function* pieces(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer[], void> {
  let waiting: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    waiting.push(chunk);
    bytes += chunk.length;
    if (bytes < PIECE_BYTES) continue;
    yield waiting;
    waiting = [];
    bytes = 0;
  }
  if (waiting.length > 0) yield waiting;
}

/** A write may be short: goes on until all is written or an error says why not. */
async function writeAll(fd: number, parts: Buffer[]): Promise<void> {
  let left = parts.filter((part) => part.length > 0);
  while (left.length > 0) {
    let { bytesWritten } = await writev(fd, left);
    left = left.flatMap((part) => {
      const taken = Math.min(part.length, bytesWritten);
      bytesWritten -= taken;
      return taken === part.length ? [] : [part.subarray(taken)];
    });
  }
}

/** Says which entry a system error is about. Its `code` stays: a full disk is still ENOSPC. */
async function explained<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error)) throw error;
    if (error.code === "EEXIST")
      throw new RainError(
        "bad-file",
        `entry ${shown(path)} of the tree has the same name here as another one: this file system does not tell their upper and lower case or their Unicode forms apart`,
        { entry: path.slice(0, 300) },
        { cause: error },
      );
    throw Object.assign(
      new Error(`entry ${shown(path)} of the tree cannot be written: ${error.message}`, { cause: error }),
      { code: error.code },
    );
  }
}
