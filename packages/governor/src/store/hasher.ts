// oxlint-disable unicorn/require-post-message-target-origin -- the rule is about windows; threads have no origin
import type { Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { asDigest, type Digest } from "@rain/protocol";

/** SHA-256 of large files in threads of their own: a gigabyte costs a second of cpu, which the event loop has not. */

/** Up to this size hashing is not worth the way to another thread. */
export const HASH_HERE_BYTES = 1_048_576;

/** So many bytes from the start are in the file; `last`: no more will come, Infinity for "up to its end". */
interface Ask {
  readonly id: number;
  readonly fd: number;
  readonly upTo: number;
  readonly last: boolean;
}
/** Stop: the file is about to be closed. */
interface Drop {
  readonly id: number;
}
type Answer =
  | { readonly id: number; readonly sha256: string; readonly size: number }
  | { readonly id: number; readonly error: string; readonly code: string }
  | { readonly id: number };

/**
 * The thread's whole program. It travels as text, so that it is the same in sources and build: it must not name
 * anything outside of itself.
 */
function program(): void {
  const { readSync } = process.getBuiltinModule("node:fs");
  const { createHash } = process.getBuiltinModule("node:crypto");
  const { parentPort } = process.getBuiltinModule("node:worker_threads");
  interface OpenHash {
    readonly hash: Hash;
    ask: Ask;
    at: number;
  }
  const open = new Map<number, OpenHash>();
  const buffer = Buffer.allocUnsafeSlow(1_048_576);
  /** Reads and hashes at most one buffer. Answers whether the hash is done. */
  const step = (each: OpenHash): boolean => {
    const { id, fd, upTo, last } = each.ask;
    const count = readSync(fd, buffer, 0, Math.min(buffer.length, upTo - each.at), each.at);
    if (count === 0 && upTo !== Infinity) throw new Error(`the file ends at ${each.at}, before ${upTo}`);
    if (count > 0) each.hash.update(buffer.subarray(0, count));
    each.at += count;
    if (!last || (count > 0 && each.at < upTo)) return false;
    parentPort?.postMessage({ id, sha256: each.hash.digest("hex"), size: each.at });
    return true;
  };
  let isRunning = false;
  /** A step of each hash that has something to do; then messages have their turn. */
  const run = (): void => {
    isRunning = false;
    for (const [id, each] of open) {
      if (each.at >= each.ask.upTo && !each.ask.last) continue;
      isRunning = true;
      try {
        if (each.at >= each.ask.upTo) {
          parentPort?.postMessage({ id, sha256: each.hash.digest("hex"), size: each.at });
          open.delete(id);
        } else if (step(each)) open.delete(id);
      } catch (error) {
        const { code = "", message } = error as NodeJS.ErrnoException;
        parentPort?.postMessage({ id, error: message, code });
        open.delete(id);
      }
    }
    if (isRunning) setImmediate(run);
  };
  parentPort?.on("message", (message: Ask | Drop) => {
    if (!("fd" in message)) {
      open.delete(message.id);
      parentPort.postMessage({ id: message.id });
      return;
    }
    const each = open.get(message.id);
    if (each) each.ask = message;
    else open.set(message.id, { hash: createHash("sha256"), ask: message, at: 0 });
    if (!isRunning) setImmediate(run);
    isRunning = true;
  });
}

/** Waits for what a thread says about one hash. */
interface Waiter {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

class Thread {
  readonly #worker: Worker;
  readonly #waiters = new Map<number, Waiter>();
  #error: Error | undefined;
  /** Hashes that are computed here. */
  load = 0;

  constructor(onEnd: (thread: Thread) => void) {
    this.#worker = new Worker(`(${program.toString()})()`, { eval: true, env: {}, execArgv: [] });
    this.#worker.unref();
    this.#worker.on("message", (answer: Answer) => {
      const waiter = this.#waiters.get(answer.id);
      this.#waiters.delete(answer.id);
      waiter?.resolve(answer);
      if (this.#waiters.size === 0) this.#worker.unref();
    });
    const ended = (error: Error): void => {
      this.#error ??= error;
      for (const { reject } of this.#waiters.values()) reject(this.#error);
      this.#waiters.clear();
      onEnd(this);
    };
    this.#worker.on("error", ended);
    this.#worker.on("exit", (code) => ended(new Error(`the thread that hashes files ended with ${code}`)));
  }

  say(message: Ask | Drop): void {
    this.#worker.postMessage(message);
  }

  /** While something is waited for, the process stays. */
  async hear(id: number): Promise<Answer> {
    if (this.#error) throw this.#error;
    this.#worker.ref();
    return await new Promise<Answer>((resolve, reject) => this.#waiters.set(id, { resolve, reject }));
  }
}

const THREADS = Math.max(1, Math.min(4, Math.floor(availableParallelism() / 2)));
const threads = new Set<Thread>();

/** A new thread as long as there may be one and all have work, else the one with the least. */
function pickThread(): Thread {
  const best = [...threads].toSorted((a, b) => a.load - b.load)[0];
  if (best && (best.load === 0 || threads.size >= THREADS)) return best;
  const thread = new Thread((ended) => threads.delete(ended));
  threads.add(thread);
  return thread;
}

let ids = 0;

/** The SHA-256 of an open file, which may still grow while it is computed. It must stay open until the end of this. */
export class FileHash {
  readonly #thread: Thread = pickThread();
  readonly #id: number = ++ids;
  readonly #fd: number;
  #told = 0;
  #isOver = false;

  constructor(file: FileHandle) {
    this.#fd = file.fd;
    this.#thread.load += 1;
  }

  /** The bytes before `end` are in the file, and will not change. */
  upTo(end: number): void {
    if (end <= this.#told) return;
    this.#told = end;
    this.#thread.say({ id: this.#id, fd: this.#fd, upTo: end, last: false });
  }

  /** Digest and number of the bytes before `end`; default: of all that the file has. */
  async finish(end: number = Infinity): Promise<{ readonly sha256: Digest; readonly size: number }> {
    this.#end();
    this.#thread.say({ id: this.#id, fd: this.#fd, upTo: end, last: true });
    const answer = await this.#thread.hear(this.#id);
    if ("sha256" in answer) return { sha256: asDigest(answer.sha256), size: answer.size };
    if (!("error" in answer)) throw new Error("a hash was dropped while it was waited for");
    throw Object.assign(new Error(answer.error), answer.code === "" ? {} : { code: answer.code });
  }

  /** Until the file is not read any more. After `finish` there is nothing to do. */
  async drop(): Promise<void> {
    if (this.#isOver) return;
    this.#end();
    this.#thread.say({ id: this.#id });
    await this.#thread.hear(this.#id);
  }

  #end(): void {
    this.#isOver = true;
    this.#thread.load -= 1;
  }
}
