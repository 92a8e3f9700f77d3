import { chmod, lstat, readdir } from "node:fs/promises";
import { join } from "node:path";

/** What a tree looked like: a write, a new name or a removed one changes it. */
interface TreeState {
  readonly entries: number;
  readonly newestNs: bigint;
}
export const isSameState = (one: TreeState, other: TreeState): boolean =>
  one.entries === other.entries && one.newestNs === other.newestNs;

/** Takes the right to write from everything in a tree: files 0444 or 0555, folders 0555. Answers its state. */
export const makeReadOnly = (root: string): Promise<TreeState> => walk(root, true);

/** The state of a tree now; without an entry when it is gone. */
export const treeState = (root: string): Promise<TreeState> => walk(root, false);

async function walk(root: string, protect: boolean): Promise<TreeState> {
  let entries = 0;
  let newestNs = 0n;
  const folders = [root];
  const note = async (path: string): Promise<void> => {
    const found = await lstat(path, { bigint: true });
    entries += 1;
    if (found.mtimeNs > newestNs) newestNs = found.mtimeNs;
    if (!protect || found.isSymbolicLink()) return;
    const isOpen = found.isDirectory() || (found.mode & 0o100n) !== 0n;
    await chmod(path, isOpen ? 0o555 : 0o444);
  };
  try {
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      await note(folder);
      for (const entry of await readdir(folder, { withFileTypes: true })) {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) folders.push(path);
        else await note(path);
      }
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (protect || (code !== "ENOENT" && code !== "ENOTDIR")) throw error;
    return { entries: -1, newestNs }; // the program took it away
  }
  return { entries, newestNs };
}
