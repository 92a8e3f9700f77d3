import { constants } from "node:fs";
import { chmod, copyFile, link, mkdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { formatObject, type InputSpec } from "@rain/protocol";
import { eachLimited } from "./each.ts";
import { errorCode } from "../monitor/errno.ts";
import { TaskProblem } from "./problem.ts";
import type { RunEffect, Store } from "./types.ts";

type ReadyInput = RunEffect["inputs"][number];

/** Up to this size an input is copied: cheaper than to watch over a link. */
const COPY_BYTES = 1_048_576;
const AT_ONCE = 8;

/** A store file that the task's folder has a hard link to, as it was before. */
export interface Linked {
  readonly input: ReadyInput;
  readonly label: string;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly mode: bigint;
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

/** Maps all inputs that have a path into the folder. Answers the store files that became reachable for writing. */
export async function mapInputs(effect: RunEffect, store: Store, work: string): Promise<Linked[]> {
  const linked: Linked[] = [];
  await eachLimited([...effect.spec.inputs.entries()], AT_ONCE, async ([index, spec]) => {
    if (spec.path === undefined) return;
    const input = readyInput(effect, index);
    const target = join(work, spec.path);
    try {
      if (spec.path.includes("/")) await mkdir(dirname(target), { recursive: true });
      const before = await mapOne(store.path(input.sha256), target, input.size, spec);
      if (before !== undefined) linked.push({ input, label: inputName(effect, index), ...before });
    } catch (error) {
      throw mapProblem(error, `input ${inputName(effect, index)}`, spec.path);
    }
  });
  return linked;
}

async function mapOne(
  source: string,
  target: string,
  size: number,
  spec: InputSpec,
): Promise<Omit<Linked, "input" | "label"> | undefined> {
  if (spec.write === true) {
    await copyFile(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await chmod(target, 0o644);
    return undefined;
  }
  if (size <= COPY_BYTES) {
    await copyFile(source, target, constants.COPYFILE_EXCL); // takes the mode of the store's file, 0444, along
    return undefined;
  }
  try {
    await copyFile(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return undefined;
  } catch (error) {
    if (errorCode(error) === "EEXIST" || errorCode(error) === "ENOENT") throw error;
  }
  const before = await stat(source, { bigint: true });
  await link(source, target);
  return { size: before.size, mtimeNs: before.mtimeNs, mode: before.mode };
}

function mapProblem(error: unknown, what: string, path: string): unknown {
  const where = `cannot be mapped at ${JSON.stringify(path)}`;
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

/**
 * Looks whether the program changed store files through their links. Such bytes are not what their digest says: they
 * leave the store, and the names of the inputs are answered.
 */
export async function checkLinked(linked: readonly Linked[], store: Store): Promise<string[]> {
  const modified: string[] = [];
  for (const before of linked) {
    const path = store.path(before.input.sha256);
    try {
      const now = await stat(path, { bigint: true });
      if (now.size !== before.size || now.mtimeNs !== before.mtimeNs) {
        modified.push(before.label);
        await store.remove(before.input.sha256);
      } else if (now.mode !== before.mode) await chmod(path, Number(before.mode & 0o777n));
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error; // removed meanwhile: nobody will read it
    }
  }
  return modified;
}
