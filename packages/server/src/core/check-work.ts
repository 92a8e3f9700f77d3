import {
  limits,
  TASK_FOLDER,
  utf8Length,
  type InputSpec,
  type ObjectId,
  type ObjectKind,
  type OutputSpec,
  type TaskSpec,
} from "@rain/protocol";
import { checkCache } from "./cache-key.ts";
import { checkCustom } from "./check-custom.ts";

/** The kind of an object that is known to exist. */
type KindOf = (id: ObjectId) => ObjectKind | undefined;

/** Says what a task cannot be asked, or nothing: counts, kinds and places of its inputs and outputs. */
export function checkWork(spec: TaskSpec, kindOf: KindOf): string | undefined {
  for (const output of spec.outputs) {
    if (output.kind === "directory" && output.contentType !== "")
      return `output ${output.label} is a directory, which has no content type`;
    if (output.capture === "files" && spec.work.type !== "execute")
      return `output ${output.label} is all files that a program makes, and ${spec.work.type} runs none of its own`;
  }
  for (const [at, input] of spec.inputs.entries()) {
    if ((input.contentType ?? "") !== "" && kindOf(input.object) === "directory")
      return `input ${at} is a directory, which has no content type`;
    const problem = checkPlace(input, at, spec, kindOf);
    if (problem !== undefined) return problem;
  }
  const cache = checkCache(spec);
  if (cache !== undefined) return cache;
  if (spec.work.type === "execute") return checkExecute(spec, kindOf);
  return spec.work.type === "custom" ? checkCustom(spec) : checkBuiltIn(spec, kindOf);
}

/** The task's folder itself, and a link to what all tasks share, are directories. */
function checkPlace(input: InputSpec, at: number, { work }: TaskSpec, kindOf: KindOf): string | undefined {
  const isFolder = input.path === TASK_FOLDER;
  if (!isFolder && input.shared !== true) return undefined;
  const what = isFolder ? "is the task's folder itself (path '.')" : "is shared";
  if (kindOf(input.object) !== "directory") return `input ${at} ${what}: it must be a directory, not a blob`;
  if (isFolder && work.type !== "execute") return `input ${at} ${what}, which ${work.type} does not have`;
  return undefined;
}

/** How many inputs and outputs each built-in takes; undefined for any number. */
const counts = {
  concat: { inputs: undefined, outputs: 1 },
  sleep: { inputs: 1, outputs: 1 },
  load: { inputs: 0, outputs: 1 },
  store: { inputs: 1, outputs: 0 },
  makeDirectory: { inputs: undefined, outputs: 1 },
  sliceDirectory: { inputs: 1, outputs: 1 },
} as const;

function checkBuiltIn(spec: TaskSpec, kindOf: KindOf): string | undefined {
  const { work, inputs, outputs } = spec;
  if (work.type === "execute" || work.type === "custom") return undefined;
  const wanted = counts[work.type];
  if (outputs.length !== wanted.outputs)
    return `${work.type} has ${count(wanted.outputs, "output")}, not ${outputs.length}`;
  if (wanted.inputs !== undefined && inputs.length !== wanted.inputs)
    return `${work.type} has ${count(wanted.inputs, "input")}, not ${inputs.length}`;
  const kinds = inputs.map((input) => kindOf(input.object));
  const made = outputs[0]?.kind;
  switch (work.type) {
    case "concat":
      if (made !== "blob" || kinds.includes("directory"))
        return "concat joins blobs to a blob, not directories";
      return undefined;
    case "sleep":
      return made === kinds[0] ? undefined : `sleep hands a ${kinds[0]} on, so its output is no ${made}`;
    case "makeDirectory":
      if (made !== "directory") return "makeDirectory makes a directory, not a blob";
      if (work.paths.length !== inputs.length)
        return `makeDirectory has ${work.paths.length} paths for ${inputs.length} inputs`;
      return overlap(work.paths);
    case "sliceDirectory": {
      if (kinds[0] !== "directory") return "sliceDirectory takes a directory, not a blob";
      const wantsFolder = work.path.endsWith("/");
      if (wantsFolder === (made === "directory")) return undefined;
      return wantsFolder
        ? `the path ${work.path} names a folder, so that the output must be a directory`
        : `the path ${work.path} names a file, so that the output must be a blob; a folder's path ends with '/'`;
    }
    case "load":
    case "store":
      return undefined;
  }
}

const count = (number: number, what: string): string =>
  `${["no", "one"][number] ?? number} ${what}${number === 1 ? "" : "s"}`;

/** Says which of these paths is used twice, or lies inside another one. */
function overlap(paths: readonly string[]): string | undefined {
  const taken = new Set<string>();
  for (const path of paths) {
    if (taken.has(path)) return `the path ${path} is used twice`;
    taken.add(path);
  }
  for (const path of paths) {
    const inside = foldersOf(path).find((folder) => taken.has(folder));
    if (inside !== undefined) return `the path ${path} lies in ${inside}, which is another input`;
  }
  return undefined;
}

/** `a`, `a/b` of `a/b/c`. */
function foldersOf(path: string): string[] {
  const folders: string[] = [];
  for (let slash = path.indexOf("/"); slash !== -1; slash = path.indexOf("/", slash + 1))
    folders.push(path.slice(0, slash));
  return folders;
}

function checkExecute(spec: TaskSpec, kindOf: KindOf): string | undefined {
  const { work, inputs, outputs } = spec;
  if (work.type !== "execute") return undefined;
  if (work.stdin !== undefined) {
    const stdin = inputs[work.stdin];
    if (!stdin) return `stdin is input ${work.stdin}, but there are ${inputs.length} inputs`;
    if (kindOf(stdin.object) === "directory") return "stdin must be a blob, not a directory";
  }
  let bytes = 0;
  for (const arg of work.args) {
    if (typeof arg === "string") bytes += utf8Length(arg) + 1;
    else if ("input" in arg && inputs[arg.input]?.path === undefined) {
      return `an argument is input ${arg.input}, which has no path`;
    } else if ("output" in arg && outputs[arg.output]?.path === undefined) {
      return `an argument is output ${arg.output}, which has no path`;
    }
  }
  for (const [name, value] of Object.entries(work.env ?? {})) {
    if (typeof value === "string") bytes += utf8Length(name) + utf8Length(value) + 2;
    else if (inputs[value.input]?.path === undefined)
      return `the variable ${name} is input ${value.input}, which has no path`;
  }
  if (bytes > limits.argsBytes)
    return `arguments and environment have ${bytes} bytes; the limit is ${limits.argsBytes}`;
  for (const output of outputs) {
    if ((output.path === undefined) === (output.capture === undefined))
      return `output ${output.label} needs a path, or to be stdout, stderr or files, and not both`;
    if (output.capture === "files" && output.kind !== "directory")
      return `output ${output.label} is all files that the program makes: it must be a directory, not a blob`;
    if (output.capture !== "files" && output.capture !== undefined && output.kind === "directory")
      return `output ${output.label} is ${output.capture}, which is no directory`;
  }
  if (outputs.filter(({ capture }) => capture === "files").length > 1)
    return "two outputs are all files that the program makes; one can be";
  return overlap(placesOf(inputs)) ?? checkOutputPlaces(inputs, outputs, kindOf);
}

const placesOf = (list: readonly (InputSpec | OutputSpec)[]): string[] =>
  list.flatMap(({ path }) => (path === undefined ? [] : [path]));

/** An output may be an input's own place or lie in a mapped folder; but where a file is, nothing lies below it. */
function checkOutputPlaces(
  inputs: readonly InputSpec[],
  outputs: readonly OutputSpec[],
  kindOf: KindOf,
): string | undefined {
  const twice = new Set<string>();
  for (const path of placesOf(outputs)) {
    if (twice.has(path)) return `the path ${path} is used by two outputs`;
    twice.add(path);
  }
  const files = new Set<string>();
  for (const { path, kind } of outputs) if (path !== undefined && kind === "blob") files.add(path);
  const inputFiles = new Set<string>();
  for (const { path, object } of inputs)
    if (path !== undefined && kindOf(object) !== "directory") inputFiles.add(path);
  for (const path of placesOf(outputs)) {
    const file = foldersOf(path).find((folder) => files.has(folder) || inputFiles.has(folder));
    if (file !== undefined) return `the path ${path} lies in ${file}, which is a file`;
  }
  for (const path of placesOf(inputs)) {
    const file = foldersOf(path).find((folder) => files.has(folder));
    if (file !== undefined) return `the path ${path} lies in ${file}, which is a file`;
  }
  return undefined;
}
