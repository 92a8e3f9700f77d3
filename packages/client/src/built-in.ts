import {
  checkAbsolutePath,
  checkSlicePath,
  limits,
  RainError,
  type ObjectKind,
  type Work,
} from "@rain/protocol";
import {
  badRequest,
  checkContentType,
  checkNumber,
  checkOptions,
  checkPath,
  checkText,
  show,
  wrongType,
} from "./check.ts";
import { isText } from "./content-types.ts";
import { nameObject, type DataObject } from "./data-object.ts";
import type { Pattern } from "./pattern.ts";
import { Places } from "./places.ts";
import { asObject, type ObjectLike } from "./slots.ts";
import { readTaskOptions, taskOptionNames, type TaskOptions } from "./task-options.ts";

const optionNames: ReadonlySet<string> = new Set(taskOptionNames);

/** One object of the bytes of many, in order. Of one text type throughout it is of that type, else untyped. */
export function concatPattern(objects: readonly ObjectLike[], options: TaskOptions): Pattern {
  if (!Array.isArray(objects)) throw wrongType(`concat: needs a list of data objects, not ${show(objects)}`);
  if (objects.length > limits.inputsPerTask) {
    throw new RainError(
      "limit-exceeded",
      `concat: ${objects.length} objects; the limit is ${limits.inputsPerTask}`,
    );
  }
  const inputs = objects.map((object, index) => readObject(`concat: object ${index}`, object, "blob"));
  const types = new Set(inputs.map((object) => object.contentType));
  const [type = ""] = types;
  const joined = types.size === 1 && isText(type) ? type : "";
  return builtIn("concat", { type: "concat" }, inputs, { contentType: joined }, options);
}

/** The same object, `seconds` later. */
export function sleepPattern(object: ObjectLike, seconds: number, options: TaskOptions): Pattern {
  const input = readObject("sleep", object, undefined);
  const work: Work = { type: "sleep", seconds: checkNumber("sleep: seconds", seconds, 0, 1e9) };
  return builtIn("sleep", work, [input], { kind: input.kind, contentType: input.contentType }, options);
}

export interface LoadOptions extends TaskOptions {
  readonly contentType?: string | undefined;
}

/** A file, or a folder, of the machine of the governor that runs it. */
export function loadPattern(kind: ObjectKind, path: string, options: LoadOptions): Pattern {
  const what = kind === "blob" ? "load" : "loadDir";
  const { contentType, ...common } = options;
  if (contentType !== undefined && kind === "directory")
    throw wrongType("loadDir: a directory has no content type");
  const type = contentType === undefined ? "" : checkContentType(`${what}: contentType`, contentType);
  const work: Work = { type: "load", path: readAbsolute(what, path) };
  return builtIn(what, work, [], { kind, contentType: type }, common);
}

/** The object as a new file or folder of the machine of the governor that runs it. */
export function storePattern(object: ObjectLike, path: string, options: TaskOptions): Pattern {
  const input = readObject("store", object, undefined);
  const work: Work = { type: "store", path: readAbsolute("store", path) };
  return builtIn("store", work, [input], undefined, options);
}

/** Objects by their paths in a directory, or by names with more of the like below; or pairs of path and object. */
export type DirectoryItems =
  | { readonly [path: string]: ObjectLike | DirectoryItems }
  | readonly (readonly [path: string, object: ObjectLike])[];

/** A directory of objects, each at its path. */
export function makeDirectoryPattern(items: DirectoryItems, options: TaskOptions): Pattern {
  const places = new Places("makeDirectory", "apart");
  const paths: string[] = [];
  const objects: DataObject[] = [];
  for (const [path, given] of flatten(items, "")) {
    if (objects.length === limits.inputsPerTask)
      throw new RainError("limit-exceeded", `makeDirectory: more than ${limits.inputsPerTask} objects`);
    const object = readObject(`makeDirectory: ${show(path)}`, given, undefined);
    places.take(path, object.kind);
    paths.push(path);
    objects.push(object);
  }
  return builtIn("makeDirectory", { type: "makeDirectory", paths }, objects, { kind: "directory" }, options);
}

function* flatten(items: unknown, folder: string): Generator<readonly [string, unknown], void> {
  if (typeof items !== "object" || items === null)
    throw wrongType(`makeDirectory: needs objects by path, not ${show(items)}`);
  const entries: readonly unknown[] = Array.isArray(items) ? items : Object.entries(items);
  if (folder !== "" && entries.length === 0)
    throw badRequest(`makeDirectory: ${show(folder)} has nothing in it; give it a directory() that is empty`);
  for (const entry of entries) {
    const [name, given] = Array.isArray(entry) ? (entry as readonly unknown[]) : [];
    if (typeof name !== "string")
      throw wrongType(`makeDirectory: needs pairs of a path and an object, not ${show(entry)}`);
    const path = checkPath("makeDirectory", folder === "" ? name : `${folder}/${name}`);
    if (isPlain(given)) yield* flatten(given, path);
    else yield [path, given];
  }
}
const isPlain = (value: unknown): boolean =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;

/** A file of a directory, or with '/' at the end of the path a folder of it. */
export function sliceDirectoryPattern(object: ObjectLike, path: string, options: LoadOptions): Pattern {
  const input = readObject("sliceDirectory", object, "directory");
  if (typeof path !== "string")
    throw wrongType(`sliceDirectory: the path must be a string, not ${show(path)}`);
  const problem = checkSlicePath(path);
  if (problem !== undefined) throw badRequest(`sliceDirectory: the path ${show(path)} ${problem}`);
  const { contentType, ...common } = options;
  const kind = path.endsWith("/") ? "directory" : "blob";
  if (contentType !== undefined && kind === "directory")
    throw wrongType("sliceDirectory: a directory has no content type");
  const type = contentType === undefined ? "" : checkContentType("sliceDirectory: contentType", contentType);
  return builtIn(
    "sliceDirectory",
    { type: "sliceDirectory", path },
    [input],
    { kind, contentType: type },
    common,
  );
}

function readAbsolute(what: string, path: unknown): string {
  if (typeof path !== "string") throw wrongType(`${what}: the path must be a string, not ${show(path)}`);
  const problem = checkAbsolutePath(path);
  if (problem !== undefined) throw badRequest(`${what}: the path ${show(path)} ${problem}`);
  return checkText(`${what}: the path`, path, limits.pathBytes);
}

function readObject(what: string, given: unknown, kind: ObjectKind | undefined): DataObject {
  const object = asObject(given);
  if (!object) throw wrongType(`${what}: must be a data object or a task, not ${show(given)}`);
  if (kind !== undefined && object.kind !== kind)
    throw badRequest(`${what}: ${nameObject(object)} must be a ${kind}, not a ${object.kind}`);
  return object;
}

const output = {
  label: "output",
  kind: "blob" as ObjectKind,
  contentType: "",
  path: undefined,
  capture: undefined,
  user: undefined,
};

function builtIn(
  what: string,
  work: Work,
  objects: readonly DataObject[],
  made: { readonly kind?: ObjectKind; readonly contentType?: string } | undefined,
  options: TaskOptions,
): Pattern {
  checkOptions(what, options, optionNames);
  return {
    what,
    work,
    inputs: objects.map((object) => ({
      object,
      label: undefined,
      path: undefined,
      write: false,
      shared: false,
      contentType: "",
      kind: undefined,
    })),
    outputs: made ? [{ ...output, ...made }] : [],
    common: readTaskOptions(what, options),
  };
}
