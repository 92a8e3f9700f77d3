import { constants, type Stats } from "node:fs";
import { access, copyFile, lstat, open, readFile, readlink, realpath, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Readable } from "node:stream";
import {
  asDigest,
  limits,
  RainError,
  type Digest,
  type FailureReason,
  type OutputReport,
  type OutputSpec,
} from "@rain/protocol";
import { packToFile, packTree } from "@rain/protocol/tree";
import type { TaskFolder } from "./folder.ts";
import { errorCode } from "../monitor/errno.ts";
import { takeMade, type Snapshot } from "./made.ts";
import { TaskProblem } from "./problem.ts";
import type { LogStream, Store } from "./types.ts";

export interface Collected {
  readonly size: number;
  readonly sha256: Digest;
  readonly data?: Uint8Array;
}

export interface Collection {
  readonly reports: readonly OutputReport[];
  /** Captures whose file is now the store's, under this digest. */
  readonly adopted: ReadonlyMap<LogStream, Digest>;
  /** What people should know of what was left out. */
  readonly notes: readonly string[];
}

/**
 * Takes the declared outputs of a program into the store. To be called when the whole family is dead: nothing may
 * change between a check and what follows from it. Throws one problem that lists everything that is wrong.
 * `before`: what was in the folder, for an output of all that was made. `copy`: someone who lives on may still have the files open, so that the store gets copies.
 */
export async function collectOutputs(
  outputs: readonly OutputSpec[],
  folder: TaskFolder,
  store: Store,
  { copy = false, before }: { readonly copy?: boolean; readonly before?: Snapshot | undefined } = {},
): Promise<Collection> {
  await checkOutputs(outputs, folder);
  const byPath = new Map<string, Collected>(); // two outputs may name one file
  const notes: string[] = [];
  const declared = new Set(outputs.flatMap(({ path }) => (path === undefined ? [] : [path])));
  // Folders first: a large file is moved into the store, and one of them may hold it.
  for (const output of outputs) {
    const path = outputFile(output, folder);
    if (output.capture === "files") {
      const note = (text: string): unknown => notes.push(text);
      byPath.set(path, await takeMade(folder, before ?? new Map(), declared, store, note));
    } else if (output.kind === "directory") byPath.set(path, await takeFolder(path, output, folder, store));
  }
  const adopted = new Map<LogStream, Digest>();
  const reports: OutputReport[] = [];
  for (const output of outputs) {
    const path = outputFile(output, folder);
    const collected = byPath.get(path) ?? (await takeFile(path, folder, store, { copy }));
    byPath.set(path, collected);
    if (output.capture !== undefined && output.capture !== "files" && collected.data === undefined)
      adopted.set(output.capture, collected.sha256);
    reports.push({ object: output.object, contentType: output.contentType, ...collected });
  }
  return { reports, adopted, notes };
}

function outputFile(output: OutputSpec, folder: TaskFolder): string {
  if (output.capture === "files") return folder.work;
  if (output.capture !== undefined) return folder[output.capture];
  if (output.path !== undefined) return join(folder.work, output.path);
  throw new TaskProblem(
    "internal",
    `output ${JSON.stringify(output.label)} has neither a path nor a capture`,
  );
}

async function checkOutputs(outputs: readonly OutputSpec[], folder: TaskFolder): Promise<void> {
  const problems: { readonly reason: FailureReason; readonly message: string }[] = [];
  for (const output of outputs) {
    const problem = await checkOutput(outputFile(output, folder), output, folder);
    if (problem !== undefined) problems.push(problem);
  }
  const [first] = problems;
  if (first !== undefined)
    throw new TaskProblem(first.reason, problems.map((problem) => problem.message).join("\n"));
}

async function checkOutput(
  path: string,
  output: OutputSpec,
  folder: TaskFolder,
): Promise<{ reason: FailureReason; message: string } | undefined> {
  const name = `output ${JSON.stringify(output.label)} (${JSON.stringify(output.path ?? output.capture)})`;
  try {
    const parent = await realpath(dirname(path));
    if (parent !== folder.root && parent !== folder.work && !parent.startsWith(`${folder.work}/`))
      return { reason: "output-kind", message: `${name} lies outside the task's folder: at ${parent}` };
    const found = await lstat(path);
    const isRight = output.kind === "directory" ? found.isDirectory() : found.isFile();
    if (isRight) return undefined;
    const wanted = output.kind === "directory" ? "a directory" : "a file";
    return {
      reason: "output-kind",
      message: `${name} must be ${wanted}, found ${await kindOf(found, path)}`,
    };
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ENOTDIR")
      return { reason: "output-missing", message: `${name} was not made by the program` };
    if (code === "EACCES" || code === "ELOOP")
      return { reason: "output-kind", message: `${name} cannot be reached: ${code}` };
    throw error;
  }
}

async function kindOf(found: Stats, path: string): Promise<string> {
  if (found.isSymbolicLink()) return `a symbolic link to ${JSON.stringify(await readlink(path))}`;
  if (found.isDirectory()) return "a directory";
  if (found.isFile()) return "a file";
  if (found.isFIFO()) return "a FIFO";
  if (found.isSocket()) return "a socket";
  return found.isCharacterDevice() || found.isBlockDevice() ? "a device" : "something else";
}

/** Takes a plain file into the store, by a move if nothing else can reach it. `root` is a folder for copies. */
export async function takeFile(
  path: string,
  folder: Pick<TaskFolder, "root">,
  store: Store,
  { copy = false }: { readonly copy?: boolean } = {},
): Promise<Collected> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: unknown) => {
      const what = `output ${JSON.stringify(basename(path))} cannot be read: ${errorCode(error)}`;
      throw new TaskProblem("output-kind", what);
    },
  );
  let links: number;
  try {
    const found = await file.stat();
    if (!found.isFile())
      throw new TaskProblem("output-kind", `output ${JSON.stringify(basename(path))} is not a file`);
    if (found.size <= limits.inlineBytes) {
      const data = await file.readFile();
      return { ...(await store.putBytes(data)), data };
    }
    links = found.nlink;
  } finally {
    await file.close();
  }
  const isOurs = links === 1 && !copy && (await isWritable(dirname(path)));
  return await store.adoptFile(isOurs ? path : await ownCopy(path, folder));
}

/** A file of a directory that is mapped read-only cannot be moved out of it. */
async function isWritable(folder: string): Promise<boolean> {
  return await access(folder, constants.W_OK).then(
    () => true,
    () => false,
  );
}

async function takeFolder(
  path: string,
  output: OutputSpec,
  folder: TaskFolder,
  store: Store,
): Promise<Collected> {
  try {
    return await storeTar(packTree(path), join(folder.root, `tree-${output.object}`), store);
  } catch (error) {
    const isItsFault = error instanceof RainError || errorCode(error) === "EACCES";
    if (!isItsFault) throw error;
    const what = `output ${JSON.stringify(output.label)} (${JSON.stringify(output.path)})`;
    throw new TaskProblem("output-kind", `${what} cannot be taken: ${(error as Error).message}`);
  }
}

/** Takes a tar into the store; `file` is a path for it that is free. */
export async function storeTar(tar: Readable, file: string, store: Store): Promise<Collected> {
  try {
    const packed = await packToFile(tar, file);
    const sha256 = asDigest(packed.sha256);
    if (packed.size <= limits.inlineBytes) {
      const data = await readFile(file);
      return { ...(await store.putBytes(data)), data };
    }
    await store.install(file, sha256);
    return { size: packed.size, sha256 };
  } finally {
    await rm(file, { force: true });
  }
}

/** A file with other names could be changed through them after it is in the store: it goes there as a copy. */
async function ownCopy(path: string, folder: Pick<TaskFolder, "root">): Promise<string> {
  const copy = join(folder.root, `copy-${basename(path).slice(0, 100)}`);
  await copyFile(path, copy, constants.COPYFILE_FICLONE);
  return copy;
}
