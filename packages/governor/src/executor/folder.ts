import { chmod, lstat, mkdir, readdir, rm, rmdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { nanoid } from "nanoid";
import type { AttemptRef } from "@rain/protocol";
import { errorCode } from "../monitor/errno.ts";

/** Where one attempt lives: a control folder, with the program's own folder inside. */
export interface TaskFolder {
  readonly root: string;
  /** The program's working folder. */
  readonly work: string;
  readonly tmp: string;
  readonly stdout: string;
  readonly stderr: string;
  /** Where the program may tell attributes of its run. */
  readonly info: string;
  /** Where the program may tell metrics, one JSON object a line. */
  readonly metrics: string;
}

/** Names the folder of an attempt; `tasks` is free of symbolic links. */
export const taskFolder = (tasks: string, ref: AttemptRef): TaskFolder =>
  namedFolder(tasks, `${ref.session}-${ref.task}-${ref.attempt}`);

/** A folder whose name begins like this and is unlike any other. */
export function namedFolder(place: string, name: string): TaskFolder {
  const root = join(place, `${name}-${nanoid(10)}`);
  const at = (part: string): string => `${root}/${part}`;
  return {
    root,
    work: at("work"),
    tmp: at("tmp"),
    stdout: at("stdout"),
    stderr: at("stderr"),
    info: at("info.json"),
    metrics: at("metrics.jsonl"),
  };
}

export async function makeTaskFolder(folder: TaskFolder): Promise<void> {
  await mkdir(folder.root, { mode: 0o700 });
  await Promise.all([mkdir(folder.work, { mode: 0o700 }), mkdir(folder.tmp, { mode: 0o700 })]);
}

/** Removes the folder with all that the program left in it. */
export async function removeTaskFolder(folder: TaskFolder): Promise<void> {
  // What nearly every task leaves, without a look into each folder; anything else takes the long way.
  try {
    const files = [folder.stdout, folder.stderr].map(unlinkIfThere);
    await Promise.all([...files, rmdir(folder.work), rmdir(folder.tmp)]);
    await rmdir(folder.root);
  } catch {
    await removeTree(folder.root);
  }
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
}

/** Removes a tree, also one with folders that forbid it. Follows no symbolic links. */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    const code = errorCode(error);
    if (code !== "EACCES" && code !== "EPERM") throw error;
    await openFolders(path);
    await rm(path, { recursive: true, force: true });
  }
}

/**
 * Gives the right to write to all folders of a tree back, so that anybody's `rm -r` can remove it. Something of it may
 * vanish meanwhile: a removal that failed goes on for a while with what it had begun.
 */
export async function openFolders(path: string): Promise<void> {
  try {
    if (!(await lstat(path)).isDirectory()) return;
    await chmod(path, 0o700);
    for (const entry of await readdir(path, { withFileTypes: true }))
      if (entry.isDirectory()) await openFolders(join(path, entry.name));
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
}
