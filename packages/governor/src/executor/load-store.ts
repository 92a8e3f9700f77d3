import { createHash, randomUUID } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { chmod, link, lstat, mkdir, open, realpath, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { addAbortSignal } from "node:stream";
import { pipeline } from "node:stream/promises";
import { RainError } from "@rain/protocol";
import { extractTree, packToFile, packTree } from "@rain/protocol/tree";
import { errorCode } from "../monitor/errno.ts";
import type { House } from "./house.ts";
import { readyInput } from "./inputs.ts";
import { storeTar, takeFile, type Collected } from "./outputs.ts";
import { TaskProblem } from "./problem.ts";
import { removeTree } from "./folder.ts";
import { writeStream } from "./stream-file.ts";
import type { RunEffect } from "./types.ts";

/** Takes a file or a folder of this machine in: a copy, so that what happens to it later does not matter. */
export async function load(
  house: House,
  effect: RunEffect,
  path: string,
  signal: AbortSignal,
): Promise<Collected> {
  const copy = join(house.tasks, `load-${randomUUID()}`);
  const isFolder = effect.spec.outputs[0]?.kind === "directory";
  try {
    if (isFolder) {
      const tar = packTree(await findFolder(path));
      return await storeTar(addAbortSignal(signal, tar), copy, house.store);
    }
    await copyFrom(path, copy, signal);
    return await takeFile(copy, { root: house.tasks }, house.store);
  } catch (error) {
    throw loadProblem(error, isFolder ? "loadDir" : "load", path);
  } finally {
    await rm(copy, { force: true });
  }
}

async function findFolder(path: string): Promise<string> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  await folder.close();
  return await realpath(path); // a link to a folder is one: the path is the user's own, not a program's
}

async function copyFrom(path: string, copy: string, signal: AbortSignal): Promise<void> {
  const source = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const found = await source.stat();
    if (found.isDirectory())
      throw new TaskProblem("input-unavailable", notFile(path, "a folder; use loadDir"));
    if (!found.isFile()) throw new TaskProblem("input-unavailable", notFile(path, "something else"));
    await writeStream(source.createReadStream({ autoClose: false }), copy, signal);
  } finally {
    await source.close();
  }
}
const notFile = (path: string, what: string): string =>
  `load: ${JSON.stringify(path)} on this governor must be a file, but is ${what}`;

function loadProblem(error: unknown, what: string, path: string): unknown {
  const where = `${what}: ${JSON.stringify(path)} on this governor`;
  const problem = (text: string): TaskProblem => new TaskProblem("input-unavailable", `${where} ${text}`);
  if (error instanceof RainError) return problem(`cannot be taken: ${error.message}`);
  switch (errorCode(error)) {
    case "ENOENT":
      return problem("does not exist");
    case "ENOTDIR":
      return problem(what === "loadDir" ? "is not a folder; use load for a file" : "does not exist");
    case "EACCES":
    case "EPERM":
    case "ELOOP":
      return problem(`cannot be read: ${errorCode(error)}`);
    case undefined:
    default:
      return error;
  }
}

/**
 * Writes the input to a path that does not exist yet, where it appears whole; folders above it are made. A later
 * attempt takes what an earlier one has stored for its own.
 */
export async function storeAt(
  house: House,
  effect: RunEffect,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const input = readyInput(effect, 0);
  const target = path.replace(/\/+$/, "");
  if (target === "") throw existing("/");
  try {
    if (!(await exists(target))) {
      await mkdir(dirname(target), { recursive: true });
      return await write(house, input, target, signal);
    }
    if (effect.ref.attempt > 1 && (await isStored(house, target, input))) return;
  } catch (error) {
    throw storeProblem(error, path);
  }
  throw existing(path);
}

async function write(
  house: House,
  input: ReturnType<typeof readyInput>,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  const { kind, size, sha256 } = input;
  const partial = join(dirname(target), `.${basename(target).slice(0, 200)}.${randomUUID()}.tmp`);
  const source = createReadStream(await house.store.onDisk(sha256));
  try {
    if (kind === "directory") {
      await extractTree(addAbortSignal(signal, source), partial, { size, sha256 });
      if (await exists(target)) throw existing(target);
      await rename(partial, target);
    } else {
      await writeStream(source, partial, signal);
      await chmod(partial, 0o644);
      await link(partial, target); // fails when there is something, unlike a rename
    }
  } finally {
    await removeTree(partial);
  }
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    (error: unknown) => {
      if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return false;
      throw error;
    },
  );
}

const existing = (path: string): TaskProblem =>
  new TaskProblem(
    "output-kind",
    `store: ${JSON.stringify(path)} exists already on this governor; remove it or store to another path`,
  );

/** Is what lies there what this task stores? */
async function isStored(
  house: House,
  target: string,
  input: ReturnType<typeof readyInput>,
): Promise<boolean> {
  const found = await lstat(target);
  if (input.kind === "blob") return found.isFile() && (await hashOf(target)) === input.sha256;
  if (!found.isDirectory()) return false;
  const tar = join(house.tasks, `stored-${randomUUID()}`);
  try {
    return (await packToFile(packTree(target), tar)).sha256 === input.sha256;
  } finally {
    await rm(tar, { force: true });
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

function storeProblem(error: unknown, path: string): unknown {
  const where = `store: ${JSON.stringify(path)} on this governor cannot be written`;
  if (error instanceof RainError) return new TaskProblem("output-kind", `${where}: ${error.message}`);
  switch (errorCode(error)) {
    case "EEXIST":
      return existing(path);
    case "EACCES":
    case "EPERM":
    case "EROFS":
    case "ENOTDIR":
      return new TaskProblem("output-kind", `${where}: ${errorCode(error)}`);
    case undefined:
    default:
      return error;
  }
}
