import { unpack } from "../../packages/server/src/journal/records.ts";
import type { Done, JournalStorage, ReadDone } from "../../packages/server/src/journal/storage.ts";
import type { World } from "./world.ts";

interface File {
  bytes: Buffer;
  /** So many bytes survive a loss of power. */
  synced: number;
  /** Ends of the appends that held records, and the number of records written up to there. */
  readonly marks: { readonly end: number; readonly records: number }[];
}
type FolderChange = (files: Map<string, File>) => void;

/** The bytes of a frame before its payload; see the journal's frame.ts. */
const FRAME_HEAD = 16;

/**
 * The folder of the journal on a simulated disk. Operations take time; a killed process loses what was not written, a
 * loss of power what was not synced, each up to a random point of what was under way.
 */
export class Disk implements JournalStorage {
  readonly #world: World;
  #files: Map<string, File> = new Map();
  /** The folder as the last `syncFolder` saw it, and what changed since. */
  #durable: Map<string, File> = new Map();
  #changes: FolderChange[] = [];
  /** Operations of an earlier process are forgotten. */
  #process = 0;
  #appending: { readonly file: File; readonly bytes: Uint8Array } | undefined;
  /** Number of records in finished appends, and how many of those are synced. */
  written = 0;
  synced = 0;
  /** Every operation takes this much longer, milliseconds. */
  slowness = 0;
  /** The next append or sync fails with this. */
  failNext: "ENOSPC" | "EIO" | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** The process is killed: what it was writing is there in part. */
  kill(): void {
    this.#process++;
    const { random } = this.#world;
    if (this.#appending) {
      const { file, bytes } = this.#appending;
      file.bytes = Buffer.concat([file.bytes, bytes.subarray(0, random.int(0, bytes.length))]);
    }
    this.#appending = undefined;
    this.failNext = undefined;
  }

  /** The machine loses its power: of what was not synced a random part is there. */
  powerLoss(): void {
    this.kill();
    const { random } = this.#world;
    const kept = random.int(0, this.#changes.length);
    for (const change of this.#changes.slice(0, kept)) change(this.#durable);
    this.#changes = [];
    this.#files = new Map(this.#durable);
    for (const file of this.#files.values()) {
      const end = random.int(file.synced, file.bytes.length);
      file.bytes = Buffer.from(file.bytes.subarray(0, end));
      // A file may have grown before it got its bytes: then there are zeros.
      if (end > file.synced && random.chance(0.3)) file.bytes.fill(0, random.int(file.synced, end - 1));
      while ((file.marks.at(-1)?.end ?? 0) > end) file.marks.pop();
      file.synced = end;
    }
  }

  // ------------------------------------------------------------------------------------------- JournalStorage

  list(): readonly string[] {
    return [...this.#files.keys()];
  }
  read(name: string): Uint8Array {
    return Uint8Array.from(this.#file(name).bytes);
  }
  readAt(name: string, offset: number, length: number, done: ReadDone): void {
    this.#later(0.1, 1, () =>
      done(undefined, Uint8Array.from(this.#file(name).bytes.subarray(offset, offset + length))),
    );
  }
  create(name: string, done: Done): void {
    this.#later(0.1, 1, () => {
      if (this.#files.has(name)) return done(failure("EEXIST", name));
      const file = { bytes: Buffer.alloc(0), synced: 0, marks: [] };
      this.#change((files) => files.set(name, file));
      done();
    });
  }
  append(name: string, bytes: Uint8Array, done: Done): void {
    const file = this.#file(name);
    if (this.failNext !== undefined && name.startsWith("journal")) {
      const code = this.failNext;
      this.failNext = undefined;
      const part = bytes.subarray(0, this.#world.random.int(0, bytes.length - 1));
      return this.#later(0.1, 1, () => {
        file.bytes = Buffer.concat([file.bytes, part]);
        this.#world.log(`disk: append to ${name} fails with ${code} after ${part.length} bytes`);
        done(failure(code, name));
      });
    }
    const appending = { file, bytes };
    if (name.startsWith("journal")) this.#appending = appending;
    this.#later(0.05, 2, () => {
      if (this.#appending === appending) this.#appending = undefined;
      file.bytes = Buffer.concat([file.bytes, bytes]);
      if (name.startsWith("journal")) this.written += recordsIn(bytes);
      file.marks.push({ end: file.bytes.length, records: this.written });
      done();
    });
  }
  sync(name: string, done: Done): void {
    const file = this.#file(name);
    const size = file.bytes.length;
    this.#later(0.2, 8, () => {
      file.synced = Math.max(file.synced, size);
      const mark = file.marks.findLast(({ end }) => end <= size);
      if (name.startsWith("journal")) this.synced = Math.max(this.synced, mark?.records ?? 0);
      done();
    });
  }
  rename(from: string, to: string, done: Done): void {
    this.#later(0.1, 1, () => {
      const file = this.#file(from);
      this.#change((files) => {
        files.delete(from);
        files.set(to, file);
      });
      done();
    });
  }
  remove(name: string, done: Done): void {
    this.#later(0.1, 1, () => {
      if (!this.#files.has(name)) return done(failure("ENOENT", name));
      this.#change((files) => files.delete(name));
      done();
    });
  }
  syncFolder(done: Done): void {
    const seen = this.#changes.length;
    this.#later(0.2, 5, () => {
      for (const change of this.#changes.splice(0, seen)) change(this.#durable);
      done();
    });
  }
  truncate(name: string, size: number, done: Done): void {
    this.#later(0.1, 1, () => {
      const file = this.#file(name);
      file.bytes = file.bytes.subarray(0, size);
      file.synced = Math.min(file.synced, size);
      done();
    });
  }
  later(next: () => void): void {
    this.#later(0, 0.1, next);
  }
  close(): void {}

  // --------------------------------------------------------------------------------------------------- inside

  #file(name: string): File {
    const file = this.#files.get(name);
    if (!file) throw failure("ENOENT", name);
    return file;
  }
  #change(change: FolderChange): void {
    change(this.#files);
    this.#changes.push(change);
  }
  #later(from: number, to: number, run: () => void): void {
    const process = this.#process;
    const { random, loop } = this.#world;
    loop.after(random.skewed(from, to) + (to > 0.5 ? this.slowness * random.unit() : 0), () => {
      if (process === this.#process) run();
    });
  }
}

/** Number of records in an append, counted as the core made them. Headers of files hold none. */
function recordsIn(bytes: Uint8Array): number {
  const isHeader = bytes.subarray(0, 4).every((byte, at) => byte === "RAIN".charCodeAt(at));
  if (isHeader || bytes.length <= FRAME_HEAD) return 0;
  const records = unpack(bytes.subarray(FRAME_HEAD)) as readonly object[];
  return records.reduce((sum, record) => sum + sizeOf(record), 0);
}

/** A joined record stands for many. */
const sizeOf = (record: object): number =>
  "tasks" in record && "governors" in record ? (record.tasks as readonly number[]).length : 1;

const failure = (code: string, path: string): Error =>
  Object.assign(new Error(`simulated ${code}`), { code, path });
