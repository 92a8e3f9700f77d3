import {
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  futimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
  writeSync,
  chmodSync,
} from "node:fs";
import { chmod, copyFile, link, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Tree, TreeItem } from "../store/trees.ts";
import { TaskProblem } from "./problem.ts";
import type { Watch } from "./inputs.ts";

type FileItem = Extract<TreeItem, { readonly kind: "file" }>;

/** Files up to this size are written without waiting: a wait would take longer than the work. */
const SMALL_BYTES = 65_536;
/** So many of them between two turns of the event loop. */
const AT_ONCE = 50;

/** Where the other inputs of the task go. */
export interface Mapped {
  readonly path: string;
  readonly isFile: boolean;
  /** How people know it. */
  readonly name: string;
}

/**
 * Spreads a tree out in the task's folder, so that the program may change what is there: folders, links and files are
 * its own; only files of more than `copyBytes` are links to the one tree, and read-only. A file at whose place another
 * input goes is left out. Answers what tells whether a linked file was changed.
 */
export async function spreadTree(
  tree: Tree,
  work: string,
  others: readonly Mapped[],
  copyBytes: number,
): Promise<Watch | undefined> {
  const items = await tree.items();
  const replaced = replacedFiles(items, others);
  const links: TreeItem[] = [];
  const watched: string[] = [];
  let count = 0;
  for (const item of items) {
    count += 1;
    if (count % AT_ONCE === 0) await nextTurn();
    const target = `${work}/${item.path}`;
    if (item.kind === "directory") mkdirSync(target);
    else if (item.kind === "link") links.push(item);
    else if (replaced.has(item.path)) continue;
    else if (item.size <= copyBytes) await copyItem(tree, item, target);
    else {
      const source = join(tree.path, item.path);
      await link(source, target);
      watched.push(source);
    }
  }
  // Last of all: while files are written there is no link that one could go through.
  for (const item of links) if (item.kind === "link") symlinkSync(item.target, `${work}/${item.path}`);
  return watched.length === 0 ? undefined : await watchLinked(tree, watched);
}

async function copyItem(
  tree: Tree,
  { path, size, executable, data }: FileItem,
  target: string,
): Promise<void> {
  const mode = executable ? 0o755 : 0o644;
  const { time } = tree;
  if (data !== undefined) {
    writeSmall(target, data, mode, time);
    return;
  }
  const source = join(tree.path, path);
  const flags = constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE;
  if (size <= SMALL_BYTES) {
    copyFileSync(source, target, flags);
    chmodSync(target, mode);
    utimesSync(target, time, time);
    return;
  }
  await copyFile(source, target, flags);
  await chmod(target, mode);
  await utimes(target, time, time);
}

function writeSmall(target: string, data: Buffer, mode: number, time: number): void {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const fd = openSync(target, flags, mode);
  try {
    for (let at = 0; at < data.length;) at += writeSync(fd, data, at);
    fchmodSync(fd, mode); // whatever the umask
    // An old time: a change in the same moment, of the same size, is seen by it.
    futimesSync(fd, time, time);
  } finally {
    closeSync(fd);
  }
}

/** The tree's own files: when the program changed one, the tree is of no use any more. */
async function watchLinked(tree: Tree, paths: readonly string[]): Promise<Watch> {
  const before = await Promise.all(paths.map((path) => stat(path, { bigint: true })));
  return {
    isChanged: async () => {
      for (const [at, path] of paths.entries()) {
        const was = before[at];
        const now = await stat(path, { bigint: true });
        if (was === undefined || now.size !== was.size || now.mtimeNs !== was.mtimeNs) {
          tree.spoil();
          return true;
        }
        if (now.mode !== was.mode) await chmod(path, Number(was.mode & 0o777n));
      }
      return false;
    },
  };
}

/** The files of a tree in whose places other inputs go. Throws when one of these goes where it cannot. */
function replacedFiles(items: readonly TreeItem[], others: readonly Mapped[]): ReadonlySet<string> {
  const replaced = new Set<string>();
  if (others.length === 0) return replaced;
  const kinds = new Map(items.map((item) => [item.path, item.kind]));
  for (const { path, isFile, name } of others) {
    const kind = kinds.get(path);
    if (kind === "file" && isFile) replaced.add(path);
    else if (kind !== undefined) throw inTheWay(name, path, path, kind);
    for (let slash = path.indexOf("/"); slash !== -1; slash = path.indexOf("/", slash + 1)) {
      const folder = path.slice(0, slash);
      const above = kinds.get(folder);
      if (above !== undefined && above !== "directory") throw inTheWay(name, path, folder, above);
    }
  }
  return replaced;
}

function inTheWay(name: string, path: string, at: string, kind: TreeItem["kind"]): TaskProblem {
  const what = { directory: "a folder", file: "a file", link: "a symbolic link" }[kind];
  return new TaskProblem(
    "input-unavailable",
    `input ${name} cannot be mapped at ${JSON.stringify(path)}: the project has ${what} at ${JSON.stringify(at)}; ` +
      "map the input elsewhere, or leave that out of the project",
  );
}
