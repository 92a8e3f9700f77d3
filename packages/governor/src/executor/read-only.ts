import { chmodSync, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { errorCode } from "../monitor/errno.ts";

/** What a tree looked like: a write, a new name or a removed one changes it. */
export interface TreeState {
  readonly entries: number;
  readonly newestNs: bigint;
}
export const isSameState = (one: TreeState, other: TreeState): boolean =>
  one.entries === other.entries && one.newestNs === other.newestNs;

/** Takes the right to write from everything in a tree: files 0444 or 0555, folders 0555. Answers its state. */
export const makeReadOnly = (root: string): Promise<TreeState> => walk(root, true);

/** The state of a tree now; of none when it is gone. */
export async function treeState(root: string): Promise<TreeState> {
  try {
    return await walk(root, false);
  } catch (error) {
    const code = errorCode(error);
    if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
    return { entries: 0, newestNs: 0n }; // the program took it away
  }
}

/** Entries between two turns of the event loop: a few milliseconds. Calls that wait would take ten times as long. */
const AT_ONCE = 200;

async function walk(root: string, protect: boolean): Promise<TreeState> {
  let entries = 0;
  let newestNs = 0n;
  const note = (path: string): void => {
    const found = lstatSync(path, { bigint: true });
    if (found.mtimeNs > newestNs) newestNs = found.mtimeNs;
    if (!protect || found.isSymbolicLink()) return;
    const isOpen = found.isDirectory() || (found.mode & 0o100n) !== 0n;
    chmodSync(path, isOpen ? 0o555 : 0o444);
  };
  const folders = [root];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    note(folder);
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) folders.push(path);
      else note(path);
      entries += 1;
      if (entries % AT_ONCE === 0) await nextTurn();
    }
  }
  return { entries, newestNs };
}
