/**
 * The only way in which the journal touches a disk: one flat folder of files. The server gives it a real folder,
 * the simulator one in memory.
 *
 * Every `done` is called exactly once, later, never inside the call that got it, but for `appendSynced`. Errors carry `code` ("ENOSPC") and
 * `path` as the errors of node:fs do. The journal has at most one operation in flight for each file.
 */
export interface JournalStorage {
  /** Names of the files in the folder, in any order. Used at opening only. */
  list(): readonly string[];
  /** A whole file. Used at opening only. */
  read(name: string): Uint8Array;
  /** `length` bytes from `offset`; fewer only where the file ends. */
  readAt(name: string, offset: number, length: number, done: ReadDone): void;
  /** Makes an empty file; an error when the name is taken. */
  create(name: string, done: Done): void;
  /** Adds all the bytes at the end of the file, or fails: then any first part of them may have been written. */
  append(name: string, bytes: Uint8Array, done: Done): void;
  /** Returns once the file's bytes survive a loss of power. Never tried again after an error. */
  sync(name: string, done: Done): void;
  /**
   * `append` and `sync` as one operation, for a file of which everything before is synced: a disk may do the two with
   * one errand of a helper thread, or, when little else is going on (`isLone`), without one. Then `done` is called inside
   * the call. Absent: they are done one after the other.
   */
  appendSynced?(name: string, bytes: Uint8Array, isLone: boolean, done: Done): void;
  rename(from: string, to: string, done: Done): void;
  remove(name: string, done: Done): void;
  /** Returns once creations, renames and removals survive a loss of power. */
  syncFolder(done: Done): void;
  /** Cuts the file to its first `size` bytes. Used at opening only. */
  truncate(name: string, size: number, done: Done): void;
  /** Calls `next` after everything else that waits has had its turn. */
  later(next: () => void): void;
  /** The journal is closed or could not be opened: gives open files back. Nothing is under way. */
  close(): void;
}
/** What is needed to read a journal whole. */
export type StoredFiles = Pick<JournalStorage, "list" | "read">;
export type Done = (error?: Error) => void;
export type ReadDone = (error: Error | undefined, bytes?: Uint8Array) => void;

/** The part of a storage that a chain of writes uses. */
export type Operation = (done: Done) => void;

/** Runs operations one after the other and stops at the first that fails. */
export function inOrder(operations: readonly Operation[], done: Done): void {
  const [first, ...rest] = operations;
  if (first === undefined) return done();
  first((error) => (error === undefined ? inOrder(rest, done) : done(error)));
}
