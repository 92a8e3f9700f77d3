import { accessSync, constants, lstatSync, readdirSync, readlinkSync, type BigIntStats } from "node:fs";
import { join } from "node:path";
import { isUtf8 } from "node:buffer";
import { setImmediate as nextTurn } from "node:timers/promises";
import { linkProblem, packEntries, pathProblem, type TreeEntry } from "@rain/protocol/tree";
import { RainError } from "@rain/protocol";
import { errorCode } from "../monitor/errno.ts";
import type { TaskFolder } from "./folder.ts";
import { storeTar, type Collected } from "./outputs.ts";
import { TaskProblem } from "./problem.ts";
import type { Store } from "./types.ts";

/** What was in a task's folder before its program ran: the paths, with what tells whether it was changed. */
export type Snapshot = ReadonlyMap<string, string>;

/** Folders of no interest: Python writes them wherever it imports something. */
const IGNORED = "__pycache__";
/** Entries between two turns of the event loop. */
const AT_ONCE = 200;
/** Names of what was left out that a note tells. */
const NOTED = 20;
/** Two zero blocks: what packEntries makes of nothing. */
const EMPTY_TAR = Buffer.alloc(1_024);

/** Looks at a task's folder before its program runs. `readOnly`: paths of mapped directories that it cannot change. */
export async function takeSnapshot(work: string, readOnly: ReadonlySet<string>): Promise<Snapshot> {
  const snapshot = new Map<string, string>();
  for await (const { path, found } of walk(work, readOnly, () => undefined))
    snapshot.set(path, stateOf(found));
  for (const path of readOnly) snapshot.set(path, UNCHANGED);
  return snapshot;
}

/** State of a folder that is not looked into. */
const UNCHANGED = "read-only";

/** A folder's own times say nothing: what was made in it is there to be seen. */
const stateOf = ({ size, mtimeNs, ino, mode }: BigIntStats): string =>
  (mode & 0o170000n) === 0o040000n ? "folder" : `${size} ${mtimeNs} ${ino} ${mode}`;

/**
 * Takes what a program made or changed in its folder into the store, as a directory. `outputs`: paths of declared
 * outputs, which are not part of it. `onNote` is told what had to be left out.
 */
export async function takeMade(
  folder: TaskFolder,
  before: Snapshot,
  outputs: ReadonlySet<string>,
  store: Store,
  onNote: (note: string) => void,
): Promise<Collected> {
  const leftOut: string[] = [];
  const entries: TreeEntry[] = [];
  const skipped = new Set(outputs);
  for (const [path, state] of before) if (state === UNCHANGED) skipped.add(path);
  const omit = (path: string, why: string): void => {
    leftOut.push(`${JSON.stringify(path.slice(0, 300))} (${why})`);
  };
  for await (const { path, found } of walk(folder.work, skipped, omit)) {
    if (before.get(path) === stateOf(found)) continue;
    const entry = entryOf(folder.work, path, found, omit);
    if (entry !== undefined) entries.push(entry);
  }
  if (leftOut.length > 0) {
    const more = leftOut.length > NOTED ? `, and ${leftOut.length - NOTED} more` : "";
    onNote(`files: left out are ${leftOut.slice(0, NOTED).join(", ")}${more}`);
  }
  if (entries.length === 0) return { ...(await store.putBytes(EMPTY_TAR)), data: EMPTY_TAR };
  try {
    return await storeTar(packEntries(entries), join(folder.root, "made"), store);
  } catch (error) {
    if (!(error instanceof RainError) && errorCode(error) !== "EACCES") throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new TaskProblem("output-kind", `the files that the program made cannot be taken: ${why}`);
  }
}

interface Visited {
  readonly path: string;
  readonly found: BigIntStats;
}

/** Everything below a folder, a folder before what is in it. No link is followed. */
async function* walk(
  root: string,
  skipped: ReadonlySet<string>,
  omit: (path: string, why: string) => void,
): AsyncGenerator<Visited, void> {
  let count = 0;
  const folders = [""];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const raw of namesIn(root, folder, omit)) {
      const path = `${folder}${raw.toString()}`;
      count += 1;
      if (count % AT_ONCE === 0) await nextTurn();
      const problem = isUtf8(raw) ? pathProblem(path) : "has a name that is not valid UTF-8";
      if (problem !== undefined) {
        omit(path, problem);
        continue;
      }
      if (skipped.has(path)) continue;
      const found = lstatSync(`${root}/${path}`, { bigint: true });
      if (found.isDirectory() && raw.toString() === IGNORED) continue;
      yield { path, found };
      if (found.isDirectory()) folders.push(`${path}/`);
    }
  }
}

function namesIn(root: string, folder: string, omit: (path: string, why: string) => void): Buffer[] {
  try {
    return readdirSync(`${root}/${folder}`, { encoding: "buffer" });
  } catch (error) {
    if (errorCode(error) !== "EACCES") throw error;
    omit(folder, "its mode forbids to read it");
    return [];
  }
}

function entryOf(
  work: string,
  path: string,
  found: BigIntStats,
  omit: (path: string, why: string) => void,
): TreeEntry | undefined {
  const at = `${work}/${path}`;
  if (found.isDirectory()) return { path, kind: "directory" };
  if (found.isSymbolicLink()) {
    const raw = readlinkSync(at, { encoding: "buffer" });
    const target = raw.toString();
    const problem = isUtf8(raw) ? linkProblem(path, target) : "has a target that is not valid UTF-8";
    if (problem === undefined) return { path, kind: "link", target };
    omit(path, `a symbolic link that ${problem}`);
    return undefined;
  }
  if (!found.isFile()) {
    const what = found.isFIFO() ? "a FIFO" : found.isSocket() ? "a socket" : "a device";
    omit(path, what);
    return undefined;
  }
  if (!isReadable(at)) {
    omit(path, "its mode forbids to read it");
    return undefined;
  }
  return { path, kind: "file", source: at, executable: (found.mode & 0o100n) !== 0n };
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch (error) {
    if (errorCode(error) !== "EACCES") throw error;
    return false;
  }
}
