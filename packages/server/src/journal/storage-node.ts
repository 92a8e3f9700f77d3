import * as fs from "node:fs";
import { join } from "node:path";
import type { Done, JournalStorage, ReadDone } from "./storage.ts";

/** A lone append is done without a helper thread when so many before it took no longer than this, and it is short. */
const QUICK_APPENDS = 16;
const QUICK_MS = 1;
const SHORT_BYTES = 16_384;

/**
 * The journal's folder on a real disk: folder 0700, files 0600. Open files are kept. `close` releases them, when
 * nothing is under way any more.
 */
export class NodeJournalStorage implements JournalStorage {
  readonly #folder: string;
  readonly #now: () => number;
  readonly #open = new Map<string, number>();
  /** The same files, opened so that a write returns once its bytes survive a loss of power. */
  readonly #synced = new Map<string, number>();
  /** Synced appends in a row that were quick. */
  #quick = 0;

  /** Makes the folder when it is not there. `now`: milliseconds that never go back. */
  constructor(folder: string, now: () => number = () => performance.now()) {
    this.#folder = folder;
    this.#now = now;
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  list(): readonly string[] {
    return fs.readdirSync(this.#folder);
  }

  read(name: string): Uint8Array {
    const fd = fs.openSync(this.#path(name), "r");
    try {
      // Not readFileSync: it refuses files from 2 GiB on.
      const bytes = Buffer.allocUnsafe(fs.fstatSync(fd).size);
      let at = 0;
      while (at < bytes.length) {
        const count = fs.readSync(fd, bytes, at, Math.min(bytes.length - at, 1 << 30), at);
        if (count === 0) break;
        at += count;
      }
      return bytes.subarray(0, at);
    } finally {
      fs.closeSync(fd);
    }
  }

  readAt(name: string, offset: number, length: number, done: ReadDone): void {
    this.#withFile(name, done, (fd) => {
      fs.fstat(fd, (error, stat) => {
        if (error !== null) return done(this.#placed(error, name));
        const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, stat.size - offset)));
        this.#readRest(name, fd, bytes, 0, offset, done);
      });
    });
  }

  create(name: string, done: Done): void {
    // Append mode: bytes go to the end whatever else happens, also after a cut.
    fs.open(this.#path(name), "ax+", 0o600, (error, fd) => {
      if (error !== null) return done(this.#placed(error, name));
      this.#open.set(name, fd);
      done();
    });
  }

  append(name: string, bytes: Uint8Array, done: Done): void {
    this.#withFile(name, done, (fd) => this.#writeRest(name, fd, bytes, 0, done));
  }

  sync(name: string, done: Done): void {
    this.#withFile(name, done, (fd) => fs.fdatasync(fd, this.#finish(name, done)));
  }

  appendSynced(name: string, bytes: Uint8Array, isLone: boolean, done: Done): void {
    const begin = this.#now();
    const written: Done = (error) => {
      this.#quick = this.#now() - begin <= QUICK_MS ? this.#quick + 1 : 0;
      done(error);
    };
    const known = this.#synced.get(name);
    if (known !== undefined) {
      // To a thread and back takes as long as such a disk, and the peers wait. A slow one must not hold up the loop.
      const isQuick = isLone && this.#quick >= QUICK_APPENDS && bytes.length <= SHORT_BYTES;
      return isQuick
        ? this.#writeNow(name, known, bytes, written)
        : this.#writeRest(name, known, bytes, 0, written);
    }
    const flags = fs.constants.O_WRONLY | fs.constants.O_APPEND | fs.constants.O_DSYNC;
    fs.open(this.#path(name), flags, (error, fd) => {
      if (error !== null) return done(this.#placed(error, name));
      this.#synced.set(name, fd);
      this.#writeRest(name, fd, bytes, 0, written);
    });
  }

  rename(from: string, to: string, done: Done): void {
    fs.rename(this.#path(from), this.#path(to), (error) => {
      for (const open of [this.#open, this.#synced]) {
        const fd = open.get(from);
        if (error !== null || fd === undefined) continue;
        open.delete(from);
        open.set(to, fd);
      }
      this.#finish(from, done)(error);
    });
  }

  remove(name: string, done: Done): void {
    const unlink = (): void => fs.unlink(this.#path(name), this.#finish(name, done));
    this.#close([this.#open, this.#synced], name, (error) => (error === undefined ? unlink() : done(error)));
  }

  #close([open, ...rest]: readonly Map<string, number>[], name: string, done: Done): void {
    if (open === undefined) return done();
    const fd = open.get(name);
    if (fd === undefined) return this.#close(rest, name, done);
    open.delete(name);
    fs.close(fd, (error) =>
      error === null || error === undefined ? this.#close(rest, name, done) : done(this.#placed(error, name)),
    );
  }

  syncFolder(done: Done): void {
    fs.open(this.#folder, "r", (error, fd) => {
      if (error !== null) return done(this.#placed(error, "."));
      fs.fsync(fd, (syncError) => {
        fs.close(fd, (closeError) => this.#finish(".", done)(syncError ?? closeError ?? null));
      });
    });
  }

  truncate(name: string, size: number, done: Done): void {
    this.#withFile(name, done, (fd) => fs.ftruncate(fd, size, this.#finish(name, done)));
  }

  later(next: () => void): void {
    setImmediate(next);
  }

  close(): void {
    for (const open of [this.#open, this.#synced]) {
      for (const fd of open.values()) fs.closeSync(fd);
      open.clear();
    }
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #withFile(name: string, fail: (error: Error) => void, use: (fd: number) => void): void {
    const fd = this.#open.get(name);
    if (fd !== undefined) return use(fd);
    const flags = fs.constants.O_RDWR | fs.constants.O_APPEND;
    fs.open(this.#path(name), flags, (error, opened) => {
      if (error !== null) return fail(this.#placed(error, name));
      this.#open.set(name, opened);
      use(opened);
    });
  }

  /** A write may take a part only, as when the disk fills up: the rest is tried, and that tells the error. */
  #writeRest(name: string, fd: number, bytes: Uint8Array, from: number, done: Done): void {
    fs.write(fd, bytes, from, bytes.length - from, null, (error, count) => {
      if (error !== null) return done(this.#placed(error, name));
      if (from + count >= bytes.length) return done();
      this.#writeRest(name, fd, bytes, from + count, done);
    });
  }

  /** The same on the loop. */
  #writeNow(name: string, fd: number, bytes: Uint8Array, done: Done): void {
    try {
      for (let from = 0; from < bytes.length;)
        from += fs.writeSync(fd, bytes, from, bytes.length - from, null);
    } catch (error) {
      return done(this.#placed(error instanceof Error ? error : new Error(String(error)), name));
    }
    done();
  }

  #readRest(name: string, fd: number, bytes: Buffer, from: number, offset: number, done: ReadDone): void {
    if (from === bytes.length) return done(undefined, bytes);
    fs.read(fd, bytes, from, bytes.length - from, offset + from, (error, count) => {
      if (error !== null) return done(this.#placed(error, name));
      if (count === 0) return done(undefined, bytes.subarray(0, from));
      this.#readRest(name, fd, bytes, from + count, offset, done);
    });
  }

  #finish(name: string, done: Done): (error: Error | null) => void {
    return (error) => (error === null ? done() : done(this.#placed(error, name)));
  }

  /** Errors of operations on an open file do not say which; ours do. */
  #placed(error: Error, name: string): Error {
    return Object.assign(error, { path: this.#path(name) });
  }
}
