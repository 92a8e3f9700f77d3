import { createReadStream } from "node:fs";
import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { addAbortSignal, type Readable } from "node:stream";
import { RainError } from "@rain/protocol";
import { listTree, packEntries, sliceTree, type TreeEntry } from "@rain/protocol/tree";
import type { House } from "./house.ts";
import { inputName, readyInput } from "./inputs.ts";
import { storeTar, takeFile, type Collected } from "./outputs.ts";
import { TaskProblem } from "./problem.ts";
import { writeStream } from "./stream-file.ts";
import type { RunEffect } from "./types.ts";

/** One directory of all inputs, each at its path. Trees are taken over from their tars, without unpacking them. */
export async function makeDirectory(
  house: House,
  effect: RunEffect,
  paths: readonly string[],
  signal: AbortSignal,
): Promise<Collected> {
  const tar = addAbortSignal(signal, packEntries(entriesOf(house, effect, paths)));
  return await storeTar(tar, join(house.tasks, `directory-${randomUUID()}`), house.store);
}

async function* entriesOf(
  house: House,
  effect: RunEffect,
  paths: readonly string[],
): AsyncGenerator<TreeEntry, void> {
  const folders = new Set<string>();
  for (const [index, path] of paths.entries()) {
    for (const folder of parentsOf(path)) {
      if (folders.has(folder)) continue;
      folders.add(folder);
      yield { path: folder, kind: "directory" };
    }
    const input = readyInput(effect, index);
    const source = await house.store.onDisk(input.sha256);
    if (input.kind === "blob") {
      yield { path, kind: "file", source, executable: false };
      continue;
    }
    yield { path, kind: "directory" };
    try {
      yield* entriesBelow(path, source);
    } catch (error) {
      if (!(error instanceof RainError)) throw error;
      throw new TaskProblem("input-unavailable", `input ${inputName(effect, index)}: ${error.message}`);
    }
  }
}

async function* entriesBelow(folder: string, tar: string): AsyncGenerator<TreeEntry, void> {
  for await (const entry of listTree(createReadStream(tar))) {
    const path = `${folder}/${entry.path}`;
    if (entry.kind === "directory") yield { path, kind: "directory" };
    else if (entry.kind === "link") yield { path, kind: "link", target: entry.target ?? "" };
    else {
      const { executable, size, offset } = entry;
      yield { path, kind: "file", source: tar, executable, part: { start: offset, size } };
    }
  }
}

function parentsOf(path: string): string[] {
  const parents: string[] = [];
  for (let slash = path.indexOf("/"); slash !== -1; slash = path.indexOf("/", slash + 1))
    parents.push(path.slice(0, slash));
  return parents;
}

/** A file of a directory, or a folder of it as a directory of its own. */
export async function sliceDirectory(
  house: House,
  effect: RunEffect,
  path: string,
  signal: AbortSignal,
): Promise<Collected> {
  const tar = createReadStream(await house.store.onDisk(readyInput(effect, 0).sha256));
  const slice: Readable = addAbortSignal(signal, sliceTree(tar, path));
  const file = join(house.tasks, `slice-${randomUUID()}`);
  try {
    if (path.endsWith("/")) return await storeTar(slice, file, house.store);
    await writeStream(slice, file);
    return await takeFile(file, { root: house.tasks }, house.store);
  } catch (error) {
    if (!(error instanceof RainError)) throw error;
    throw new TaskProblem("output-missing", `input ${inputName(effect, 0)}: ${error.message}`);
  } finally {
    await rm(file, { force: true });
  }
}
