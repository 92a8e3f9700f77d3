import type { Done, JournalStorage, ReadDone } from "../../packages/server/src/journal/storage.ts";

/** A change to the disk that is about to be made. `index` counts them from 0 over the life of the storage. */
export interface Change {
  readonly index: number;
  readonly kind: "create" | "append" | "sync" | "rename" | "remove" | "syncFolder" | "truncate";
  /** The file; empty for the folder. */
  readonly name: string;
  /** Of an append. */
  readonly bytes?: number | undefined;
}
/** How a change fails: the error's code, and how many bytes of an append are written all the same. */
export interface Fault {
  readonly code: string;
  readonly written?: number | undefined;
}
/** `power`: what was not synced may be lost. `kill`: only the process dies, what was written stays. */
export type CrashKind = "power" | "kill";

interface Inode {
  bytes: Buffer;
  size: number;
  /** The first `synced` bytes survive a loss of power. */
  synced: number;
  /** Content before a cut that was not synced: it may come back. */
  uncut: Buffer | undefined;
}
type FolderChange =
  | { readonly kind: "create"; readonly name: string; readonly inode: Inode }
  | { readonly kind: "rename"; readonly from: string; readonly to: string }
  | { readonly kind: "remove"; readonly name: string };

/**
 * A journal's folder in memory, on a disk that can fail and lose power. Every operation happens in one call of
 * `schedule`'s function, and its callback is called in it: the owner decides when, and so the order between files.
 */
export class MemoryStorage implements JournalStorage {
  readonly #schedule: (run: () => void) => void;
  #files = new Map<string, Inode>();
  /** Names as they are on the disk for sure, and what was done to them since. */
  #safeFiles = new Map<string, Inode>();
  #folderChanges: FolderChange[] = [];
  #pendingAppends: { readonly inode: Inode; readonly bytes: Uint8Array }[] = [];
  #changes = 0;
  #dead = false;
  #closed = false;
  /** Asked before each change; what it returns makes the change fail. */
  fault: (change: Change) => Fault | undefined = () => undefined;

  constructor(schedule: (run: () => void) => void, files: ReadonlyMap<string, Uint8Array> = new Map()) {
    this.#schedule = schedule;
    for (const [name, content] of files) this.put(name, content);
  }

  /** Number of changes asked for so far. */
  get changes(): number {
    return this.#changes;
  }
  get isClosed(): boolean {
    return this.#closed;
  }

  /** Content of all files as a process sees them, by name. */
  files(): Map<string, Uint8Array> {
    return new Map([...this.#files].map(([name, inode]) => [name, Uint8Array.from(contentOf(inode))]));
  }
  /** Puts a file on the disk, synced. */
  put(name: string, content: Uint8Array): void {
    const inode = {
      bytes: Buffer.from(content),
      size: content.length,
      synced: content.length,
      uncut: undefined,
    };
    this.#files.set(name, inode);
    this.#safeFiles.set(name, inode);
  }

  /**
   * The disk after a crash, as a new storage; this one does nothing any more. `random` gives numbers in [0, 1). What
   * was asked for and not done yet is not done, but of an append any first part may be.
   */
  crash(random: () => number, kind: CrashKind = "power", schedule = this.#schedule): MemoryStorage {
    this.#dead = true;
    for (const { inode, bytes } of this.#pendingAppends)
      addBytes(inode, bytes.subarray(0, Math.floor(random() * (bytes.length + 1))));
    const next = new MemoryStorage(schedule);
    if (kind === "kill") {
      // The system still holds what was not synced, and may lose it later.
      next.#files = this.#files;
      next.#safeFiles = this.#safeFiles;
      next.#folderChanges = this.#folderChanges;
      return next;
    }
    for (const [name, inode] of this.#survivingNames(random)) next.put(name, survivingContent(inode, random));
    return next;
  }

  list(): readonly string[] {
    return [...this.#files.keys()];
  }

  read(name: string): Uint8Array {
    return Uint8Array.from(contentOf(this.#inode(name)));
  }

  readAt(name: string, offset: number, length: number, done: ReadDone): void {
    this.#later(() => {
      const inode = this.#files.get(name);
      if (inode === undefined) return done(failure("ENOENT", "read", name));
      done(undefined, Uint8Array.from(contentOf(inode).subarray(offset, offset + length)));
    });
  }

  create(name: string, done: Done): void {
    this.#change({ kind: "create", name }, done, () => {
      if (this.#files.has(name)) throw failure("EEXIST", "open", name);
      const inode = { bytes: Buffer.alloc(256), size: 0, synced: 0, uncut: undefined };
      this.#files.set(name, inode);
      this.#folderChanges.push({ kind: "create", name, inode });
    });
  }

  append(name: string, bytes: Uint8Array, done: Done): void {
    const inode = this.#files.get(name);
    const pending = inode === undefined ? undefined : { inode, bytes };
    if (pending !== undefined) this.#pendingAppends.push(pending);
    const forget = (): void => {
      this.#pendingAppends = this.#pendingAppends.filter((other) => other !== pending);
    };
    const fail = (fault: Fault): void => {
      forget();
      addBytes(this.#inode(name), bytes.subarray(0, fault.written ?? 0));
    };
    const apply = (): void => {
      forget();
      addBytes(this.#inode(name), bytes);
    };
    this.#change({ kind: "append", name, bytes: bytes.length }, done, apply, fail);
  }

  sync(name: string, done: Done): void {
    this.#change({ kind: "sync", name }, done, () => {
      const inode = this.#inode(name);
      inode.synced = inode.size;
      inode.uncut = undefined;
    });
  }

  rename(from: string, to: string, done: Done): void {
    this.#change({ kind: "rename", name: from }, done, () => {
      this.#inode(from);
      moveName(this.#files, from, to);
      this.#folderChanges.push({ kind: "rename", from, to });
    });
  }

  remove(name: string, done: Done): void {
    this.#change({ kind: "remove", name }, done, () => {
      this.#inode(name);
      this.#files.delete(name);
      this.#folderChanges.push({ kind: "remove", name });
    });
  }

  syncFolder(done: Done): void {
    this.#change({ kind: "syncFolder", name: "" }, done, () => {
      this.#safeFiles = new Map(this.#files);
      this.#folderChanges = [];
    });
  }

  truncate(name: string, size: number, done: Done): void {
    this.#change({ kind: "truncate", name }, done, () => {
      const inode = this.#inode(name);
      inode.uncut ??= Buffer.from(contentOf(inode));
      inode.size = Math.min(inode.size, size);
      inode.synced = Math.min(inode.synced, inode.size);
    });
  }

  later(next: () => void): void {
    this.#later(next);
  }

  close(): void {
    this.#closed = true;
  }

  #later(run: () => void): void {
    this.#schedule(() => {
      if (!this.#dead) run();
    });
  }

  #change(
    change: Omit<Change, "index">,
    done: Done,
    apply: () => void,
    fail: (fault: Fault) => void = () => undefined,
  ): void {
    if (this.#dead) return;
    const index = this.#changes;
    this.#changes += 1;
    this.#later(() => {
      const fault = this.fault({ index, ...change });
      let error: Error | undefined;
      try {
        if (fault === undefined) apply();
        else fail(fault);
      } catch (thrown) {
        error = thrown instanceof Error ? thrown : new Error(String(thrown));
      }
      done(fault === undefined ? error : failure(fault.code, change.kind, change.name));
    });
  }

  #inode(name: string): Inode {
    const inode = this.#files.get(name);
    if (inode === undefined) throw failure("ENOENT", "open", name);
    return inode;
  }

  /** Names after a loss of power: changes since the last sync of the folder up to some one; removals as they like. */
  #survivingNames(random: () => number): Map<string, Inode> {
    const names = new Map(this.#safeFiles);
    let lost = false;
    for (const change of this.#folderChanges) {
      if (change.kind === "remove") {
        if (random() < 0.5) names.delete(change.name);
        continue;
      }
      lost ||= random() < 0.3;
      if (lost) continue;
      if (change.kind === "create") names.set(change.name, change.inode);
      else moveName(names, change.from, change.to);
    }
    return names;
  }
}

const contentOf = (inode: Inode): Buffer => inode.bytes.subarray(0, inode.size);

function addBytes(inode: Inode, bytes: Uint8Array): void {
  const size = inode.size + bytes.length;
  if (size > inode.bytes.length) {
    const grown = Buffer.alloc(Math.max(size, inode.bytes.length * 2));
    grown.set(contentOf(inode));
    inode.bytes = grown;
  }
  inode.bytes.set(bytes, inode.size);
  inode.size = size;
}

/** The synced bytes and a part of the rest; now and then the file keeps its size and the lost part reads as zeros. */
function survivingContent(inode: Inode, random: () => number): Buffer {
  if (inode.uncut !== undefined && random() < 0.5) return inode.uncut;
  const kept = inode.synced + Math.floor(random() * (inode.size - inode.synced + 1));
  const content = Buffer.alloc(random() < 0.25 ? inode.size : kept);
  content.set(inode.bytes.subarray(0, kept));
  return content;
}

function moveName(names: Map<string, Inode>, from: string, to: string): void {
  const inode = names.get(from);
  if (inode === undefined) return;
  names.delete(from);
  names.set(to, inode);
}

const failure = (code: string, operation: string, name: string): Error =>
  Object.assign(new Error(`${code}: simulated failure, ${operation} '${name}'`), { code, path: name });

/** A queue of callbacks for tests that need no order of their own. */
export class CallbackQueue {
  #waiting: (() => void)[] = [];
  readonly schedule = (run: () => void): void => {
    this.#waiting.push(run);
  };
  /** Runs the first one; false when none waits. */
  step(): boolean {
    const next = this.#waiting.shift();
    next?.();
    return next !== undefined;
  }
  /** Runs them, and what they schedule, until none waits. */
  drain(): void {
    while (this.step());
  }
}
