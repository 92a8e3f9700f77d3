import { createReadStream, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Digest } from "@rain/protocol";
import { extractTree } from "@rain/protocol/tree";
import { openFolders, removeTree } from "../executor/folder.ts";
import { makeReadOnly, type TreeState } from "../executor/read-only.ts";

/** Trees that nobody uses and whose blob is still here: of more than so many, those that were not used for longest go. */
const MAX_IDLE = 100;
/** Bytes of small files of one tree that are held in memory once it was listed, and the largest of them. */
const HELD_BYTES = 1_048_576;
const HELD_FILE_BYTES = 65_536;
const AT_ONCE = 200;

export type TreeItem =
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "link"; readonly path: string; readonly target: string }
  | {
      readonly kind: "file";
      readonly path: string;
      readonly size: number;
      readonly executable: boolean;
      /** Its bytes, of small files. */
      readonly data: Buffer | undefined;
    };

/** A directory object, unpacked: read-only, and the same for all who use it. */
export interface Tree {
  readonly path: string;
  /** Bytes of its files. */
  readonly bytes: number;
  /** What it looked like when it was unpacked. */
  readonly state: TreeState;
  /** When it was unpacked, whole seconds since 1970. */
  readonly time: number;
  /** What is in it; a folder comes before what is in it. */
  items(): Promise<readonly TreeItem[]>;
  /** Somebody has changed it: whoever comes next gets a new one. */
  spoil(): void;
}

interface Entry {
  readonly path: string;
  readonly unpacked: Promise<Tree>;
  bytes: number;
  uses: number;
  /** It goes with its last user. */
  isGone: boolean;
}

/** A tar to be unpacked: in large pieces, which costs half the time of small ones. */
export const readTar = (file: string): Readable => createReadStream(file, { highWaterMark: 1_048_576 });

/** What is needed of a directory object to unpack it. */
interface Packed {
  readonly sha256: Digest;
  readonly size: number;
}

/**
 * Directory objects unpacked once for all tasks, in `trees/` of the work folder. They are checked against their digest
 * while they are unpacked, and stay as long as somebody uses them or their blob is in the store. A new governor starts
 * without any: what happened to them meanwhile nobody knows.
 */
export class Trees {
  readonly #folder: string;
  readonly #onError: (error: unknown) => void;
  /** Those that may still be taken, the one that was used last at the end. */
  readonly #entries = new Map<Digest, Entry>();
  #made = 0;

  private constructor(folder: string, onError: (error: unknown) => void) {
    this.#folder = folder;
    this.#onError = onError;
  }

  /** `onError` is told when a tree cannot be removed. */
  static async open(workdir: string, onError: (error: unknown) => void): Promise<Trees> {
    const folder = join(workdir, "trees");
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const name of await readdir(folder)) await removeTree(join(folder, name));
    return new Trees(folder, onError);
  }

  /** Bytes on disk of the tree of this blob, 0 when there is none. */
  bytesOf(sha256: Digest): number {
    return this.#entries.get(sha256)?.bytes ?? 0;
  }

  /** The blob is not in the store any more. */
  drop(sha256: Digest): void {
    const entry = this.#entries.get(sha256);
    if (entry !== undefined) this.#discard(sha256, entry);
  }

  /** To be followed by `release`, also when `unpacked` rejects. `file`: where the blob is. */
  take(packed: Packed, file: string): { readonly unpacked: Promise<Tree>; readonly release: () => void } {
    const { sha256 } = packed;
    const entry = this.#entries.get(sha256) ?? this.#unpack(packed, file);
    entry.uses += 1;
    this.#entries.delete(sha256);
    this.#entries.set(sha256, entry);
    return { unpacked: entry.unpacked, release: () => this.#release(entry) };
  }

  /** Nobody uses any of them any more, and the governor ends: what is left on disk can be removed by its user. */
  async close(): Promise<void> {
    for (const { path } of this.#entries.values()) await openFolders(path);
  }

  #unpack({ sha256, size }: Packed, file: string): Entry {
    const path = join(this.#folder, `${sha256}-${this.#made++}`);
    const unpack = async (): Promise<Tree> => {
      try {
        // The store has checked its digest.
        const { bytes } = await extractTree(readTar(file), path, { size });
        const state = await makeReadOnly(path);
        entry.bytes = bytes;
        let items: Promise<TreeItem[]> | undefined;
        const time = Math.floor(Date.now() / 1_000) - 1;
        return {
          path,
          bytes,
          state,
          time,
          items: () => (items ??= listTree(path)),
          spoil: () => this.#discard(sha256, entry),
        };
      } catch (error) {
        this.#discard(sha256, entry);
        throw error;
      }
    };
    // `unpack` runs up to its first wait only, where nobody asks for `entry`.
    const entry: Entry = { path, unpacked: Promise.resolve().then(unpack), bytes: 0, uses: 0, isGone: false };
    this.#entries.set(sha256, entry);
    return entry;
  }

  #release(entry: Entry): void {
    entry.uses -= 1;
    if (entry.uses > 0) return;
    if (entry.isGone) this.#remove(entry);
    else this.#shrink();
  }

  #shrink(): void {
    if (this.#entries.size <= MAX_IDLE) return;
    const idle = [...this.#entries].filter(([, { uses }]) => uses === 0);
    for (const [sha256, entry] of idle.slice(0, Math.max(0, idle.length - MAX_IDLE)))
      this.#discard(sha256, entry);
  }

  #discard(sha256: Digest, entry: Entry): void {
    if (this.#entries.get(sha256) === entry) this.#entries.delete(sha256);
    if (entry.isGone) return;
    entry.isGone = true;
    if (entry.uses === 0) this.#remove(entry);
  }

  #remove(entry: Entry): void {
    removeTree(entry.path).catch(this.#onError);
  }
}

/** The trees that one run uses. */
export class TreeUses {
  readonly #trees: Trees;
  readonly #releases: (() => void)[] = [];

  constructor(trees: Trees) {
    this.#trees = trees;
  }

  take(packed: Packed, file: string): Promise<Tree> {
    const { unpacked, release } = this.#trees.take(packed, file);
    this.#releases.push(release);
    return unpacked;
  }

  /** The run is over. */
  release(): void {
    for (const release of this.#releases.splice(0)) release();
  }
}

async function listTree(root: string): Promise<TreeItem[]> {
  const items: TreeItem[] = [];
  let room = HELD_BYTES;
  const folders = [""];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const entry of readdirSync(`${root}/${folder}`, { withFileTypes: true })) {
      const path = `${folder}${entry.name}`;
      const at = `${root}/${path}`;
      if (items.length % AT_ONCE === AT_ONCE - 1) await nextTurn();
      if (entry.isDirectory()) {
        items.push({ kind: "directory", path });
        folders.push(`${path}/`);
      } else if (entry.isSymbolicLink()) {
        items.push({ kind: "link", path, target: readlinkSync(at) });
      } else {
        const { size, mode } = lstatSync(at);
        const isHeld = size <= HELD_FILE_BYTES && size <= room;
        if (isHeld) room -= size;
        const data = isHeld ? readFileSync(at) : undefined;
        items.push({ kind: "file", path, size, executable: (mode & 0o100) !== 0, data });
      }
    }
  }
  return items;
}
