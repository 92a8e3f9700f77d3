import { open, unlink, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { nanoid } from "nanoid";
import { errorCode } from "../monitor/errno.ts";

/** Of the files without a name: so much of each is there from the beginning, as the memory may be full later. */
const RESERVED_BYTES = 16_384;
/** A file system in memory, on every Linux that was not told otherwise. */
const MEMORY = "/dev/shm";

/** The files between this process and one launcher. They have no names: nothing is left of them when both are gone. */
export interface Scratch {
  /** What the launcher is to do: each script is written over the last one, which costs one system call. */
  readonly script: FileHandle;
  /** Gets a byte for each program that is started. */
  readonly begun: FileHandle;
  /** The launcher's CPU times after its last program, as the shell's `times` tells them. */
  readonly times: FileHandle;
}

/** Makes them in memory, where writing is cheap, or in `folder` where that cannot be had. */
export async function openScratch(folder: string): Promise<Scratch> {
  const files: FileHandle[] = [];
  try {
    for (const flags of ["wx+", "ax+", "wx+"]) files.push(await nameless(folder, flags));
    const [script, begun, times] = files;
    if (script === undefined || begun === undefined || times === undefined) throw new Error("no files");
    await script.write(Buffer.alloc(RESERVED_BYTES, "\n"), 0, RESERVED_BYTES, 0);
    return { script, begun, times };
  } catch (error) {
    for (const file of files) await file.close();
    throw error;
  }
}

export async function closeScratch({ script, begun, times }: Scratch): Promise<void> {
  for (const file of [script, begun, times]) await file.close();
}

async function nameless(folder: string, flags: string): Promise<FileHandle> {
  try {
    return await namelessIn(MEMORY, flags);
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return await namelessIn(folder, flags);
  }
}

async function namelessIn(folder: string, flags: string): Promise<FileHandle> {
  const path = join(folder, `launcher-${nanoid()}`);
  const file = await open(path, flags, 0o600);
  await unlink(path);
  return file;
}
