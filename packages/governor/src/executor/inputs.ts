import { constants, type BigIntStats } from "node:fs";
import { chmod, copyFile, link, lstat, mkdir, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { formatObject, isSubtype, RainError, TASK_FOLDER, type InputSpec } from "@rain/protocol";
import { extractTree } from "@rain/protocol/tree";
import { eachLimited } from "./each.ts";
import { errorCode } from "../monitor/errno.ts";
import { readTar, type TreeUses } from "../store/trees.ts";
import { TaskProblem } from "./problem.ts";
import { spreadTree } from "./project.ts";
import { isSameState, makeReadOnly, treeState } from "./read-only.ts";
import type { RunEffect, Store } from "./types.ts";

type ReadyInput = RunEffect["inputs"][number];

/** Modes do not bind the superuser: what its programs wrote to is found out afterwards. */
const modesAreVoid = process.getuid?.() === 0;

/**
 * Up to this size an input is copied: cheaper than to watch over a link. A program of the superuser writes through a
 * link without noticing, and what it spoils is everybody's: there only what is costly to copy is linked.
 */
const COPY_BYTES = modesAreVoid ? 67_108_864 : 1_048_576;
const AT_ONCE = 8;

/** Tells, once the program is dead, whether it changed what it may only read. */
export interface Watch {
  readonly isChanged: () => Promise<boolean>;
}
export interface ReadOnly extends Watch {
  readonly label: string;
}

/** How people know an input: its label, where it is mapped, or its object. */
export function inputName(effect: RunEffect, index: number): string {
  const spec = effect.spec.inputs[index];
  if (spec?.label !== undefined && spec.label !== "") return JSON.stringify(spec.label);
  if (spec?.path !== undefined) return JSON.stringify(spec.path);
  return spec === undefined ? `number ${index}` : formatObject(effect.ref.session, spec.object);
}

/** The bytes of input `index`. */
export function readyInput(effect: RunEffect, index: number): ReadyInput {
  const object = effect.spec.inputs[index]?.object;
  const ready =
    effect.inputs[index]?.object === object
      ? effect.inputs[index]
      : effect.inputs.find((input) => input.object === object);
  if (ready === undefined)
    throw new TaskProblem("input-unavailable", `input ${inputName(effect, index)} has no bytes here`);
  return ready;
}

/** Where input `index` is mapped, relative to the task's folder. */
export function inputPath(effect: RunEffect, index: number): string {
  const path = effect.spec.inputs[index]?.path;
  if (path !== undefined) return path;
  throw new TaskProblem("internal", `input ${index} is named by its path, and has none`);
}

/** The measured type of each input must be what its task asks; an object without a type is taken for it. */
export function checkInputTypes(effect: RunEffect): void {
  for (const [index, { contentType: wanted }] of effect.spec.inputs.entries()) {
    if (wanted === undefined) continue;
    const { contentType } = readyInput(effect, index);
    if (contentType === "" || isSubtype(contentType, wanted)) continue;
    throw new TaskProblem(
      "content-type",
      `input ${inputName(effect, index)} must have content type "${wanted}", but has "${contentType}"`,
    );
  }
}

/** Maps all inputs that have a path into the folder. Answers what the program may read but could write to. */
export async function mapInputs(
  effect: RunEffect,
  store: Store,
  trees: TreeUses,
  work: string,
): Promise<ReadOnly[]> {
  const readOnly: ReadOnly[] = [];
  await mapProject(effect, store, trees, work, readOnly);
  await eachLimited([...effect.spec.inputs.entries()], AT_ONCE, async ([index, spec]) => {
    if (spec.path === undefined || spec.path === TASK_FOLDER) return;
    const input = readyInput(effect, index);
    const target = join(work, spec.path);
    const what = `input ${inputName(effect, index)}`;
    try {
      if (spec.path.includes("/")) await mkdir(dirname(target), { recursive: true });
      const mapped =
        spec.shared === true
          ? await mapShared(store, trees, input, target)
          : await (input.kind === "directory" ? mapDirectory : mapBlob)(store, input, target, spec);
      if (mapped !== undefined) readOnly.push({ label: inputName(effect, index), ...mapped });
    } catch (error) {
      throw mapProblem(error, what, spec.path);
    }
  });
  return readOnly;
}

/** The input that is the task's folder itself, if there is one. It comes first: the others go on top of it. */
async function mapProject(
  effect: RunEffect,
  store: Store,
  trees: TreeUses,
  work: string,
  readOnly: ReadOnly[],
): Promise<void> {
  const index = effect.spec.inputs.findIndex(({ path }) => path === TASK_FOLDER);
  if (index === -1) return;
  const input = readyInput(effect, index);
  const others = effect.spec.inputs.flatMap(({ path }, at) => {
    if (path === undefined || at === index) return [];
    return [{ path, isFile: readyInput(effect, at).kind === "blob", name: inputName(effect, at) }];
  });
  const label = inputName(effect, index);
  try {
    const tree = await trees.take(input, await store.onDisk(input.sha256));
    const watch = await spreadTree(tree, work, others, COPY_BYTES);
    if (watch !== undefined) readOnly.push({ label, ...watch });
  } catch (error) {
    throw mapProblem(error, `input ${label}`, TASK_FOLDER);
  }
}

/** Trees with more entries are not looked at after a program of the superuser: that would take too long. */
const WATCHED_ENTRIES = 10_000;

/** A link to the tree that all tasks share. */
async function mapShared(
  store: Store,
  trees: TreeUses,
  input: ReadyInput,
  target: string,
): Promise<Watch | undefined> {
  const tree = await trees.take(input, await store.onDisk(input.sha256));
  await symlink(tree.path, target);
  if (!modesAreVoid || tree.state.entries > WATCHED_ENTRIES) return undefined;
  return {
    isChanged: async () => {
      if (isSameState(await treeState(tree.path), tree.state)) return false;
      tree.spoil();
      return true;
    },
  };
}

/** An input that is only stdin: the store's own file, which the program could open again for writing. */
export async function watchStdin(effect: RunEffect, store: Store, index: number): Promise<ReadOnly[]> {
  if (!modesAreVoid) return [];
  const input = readyInput(effect, index);
  try {
    return [{ label: inputName(effect, index), ...(await watchStored(store, input)) }];
  } catch (error) {
    throw mapProblem(error, `input ${inputName(effect, index)}`, "stdin");
  }
}

async function mapBlob(
  store: Store,
  input: ReadyInput,
  target: string,
  spec: InputSpec,
): Promise<Watch | undefined> {
  const data = store.bytes(input.sha256);
  if (data !== undefined) {
    // Writable or not, it is a copy of the task's own.
    await writeFile(target, data, { flag: "wx", mode: 0o444 });
    if (spec.write === true) await chmod(target, 0o644);
    return modesAreVoid && spec.write !== true ? await watchFile(target) : undefined;
  }
  const source = store.path(input.sha256);
  if (spec.write === true) {
    await copyFile(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await chmod(target, 0o644);
    return undefined;
  }
  if (input.size <= COPY_BYTES) {
    await copyFile(source, target, constants.COPYFILE_EXCL); // takes the mode of the store's file, 0444, along
    return modesAreVoid ? await watchFile(target) : undefined;
  }
  try {
    await copyFile(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return modesAreVoid ? await watchFile(target) : undefined;
  } catch (error) {
    if (errorCode(error) === "EEXIST" || errorCode(error) === "ENOENT") throw error;
  }
  const watch = await watchStored(store, input, target);
  await link(source, target);
  return watch;
}

/** A directory is always the task's own copy; its modes keep programs from changing it by mistake. */
async function mapDirectory(
  store: Store,
  input: ReadyInput,
  target: string,
  spec: InputSpec,
): Promise<Watch | undefined> {
  const { sha256, size } = input;
  // The store has checked its digest.
  await extractTree(readTar(await store.onDisk(sha256)), target, { size });
  if (spec.write === true) return undefined;
  const before = await makeReadOnly(target);
  if (!modesAreVoid) return undefined;
  return { isChanged: async () => !isSameState(await treeState(target), before) };
}

/** A copy in the task's folder: it may be replaced, as a name in a folder of one's own may, but not written to. */
async function watchFile(path: string): Promise<Watch> {
  const before = await stat(path, { bigint: true });
  return {
    isChanged: async () => {
      const now = await lstat(path, { bigint: true }).catch(absent);
      if (now === undefined || now.ino !== before.ino || now.birthtimeNs !== before.birthtimeNs) return false;
      return now.size !== before.size || now.mtimeNs !== before.mtimeNs;
    },
  };
}

/** The store's own file: when it was changed its bytes are not what its digest says, and it leaves the store. */
async function watchStored(store: Store, { sha256 }: ReadyInput, linked?: string): Promise<Watch> {
  const path = await store.onDisk(sha256);
  const before = await stat(path, { bigint: true });
  /** The file as it is now; undefined when it has left the store and the folder: nobody will read it. */
  const find = async (): Promise<BigIntStats | undefined> => {
    const own = linked === undefined ? undefined : await lstat(linked, { bigint: true }).catch(absent);
    return own?.ino === before.ino ? own : await stat(path, { bigint: true }).catch(absent);
  };
  return {
    isChanged: async () => {
      const now = await find();
      if (now === undefined) return false;
      if (now.size !== before.size || now.mtimeNs !== before.mtimeNs) {
        await store.discard(sha256);
        return true;
      }
      if (now.mode !== before.mode) await chmod(path, Number(before.mode & 0o777n)).catch(absent);
      return false;
    },
  };
}

function absent(error: unknown): undefined {
  if (errorCode(error) !== "ENOENT" && errorCode(error) !== "ENOTDIR") throw error;
}

function mapProblem(error: unknown, what: string, path: string): unknown {
  const where = `cannot be mapped at ${JSON.stringify(path)}`;
  if (error instanceof RainError && error.code === "bad-file")
    return new TaskProblem("input-unavailable", `${what} ${where}: ${error.message}`);
  switch (errorCode(error)) {
    case "ENOENT":
      return new TaskProblem("input-unavailable", `${what} ${where}: its bytes are not in the store`);
    case "EEXIST":
    case "ENOTDIR":
    case "EISDIR":
      return new TaskProblem("internal", `${what} ${where}: another input is already there`);
    case undefined:
    default:
      return error;
  }
}

/** Names of the inputs that the program changed although it may only read them. */
export async function changedInputs(readOnly: readonly ReadOnly[]): Promise<string[]> {
  const changed: string[] = [];
  for (const each of readOnly) if (await each.isChanged()) changed.push(each.label);
  return changed;
}
