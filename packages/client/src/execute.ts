import {
  limits,
  RainError,
  TASK_FOLDER,
  type Arg,
  type Capture,
  type EnvironmentValue,
} from "@rain/protocol";
import { quote } from "shlex";
import {
  badRequest,
  checkFlag,
  checkOptions,
  checkPath,
  checkText,
  isForbiddenName,
  show,
  wrongType,
} from "./check.ts";
import type { DataObject } from "./data-object.ts";
import { Slots, type Pattern } from "./pattern.ts";
import { asObject, Input, Output, type ObjectLike } from "./slots.ts";
import { readTaskOptions, taskOptionNames, type TaskOptions } from "./task-options.ts";
import { splitWords } from "./words.ts";

/** One argument: text, or something whose path in the task's folder is the argument. */
export type Argument = string | ObjectLike | Input | Output;

export interface ExecuteOptions extends TaskOptions {
  /** Make an output of stdout: true, its label, or an `output()`. */
  readonly stdout?: boolean | string | Output | undefined;
  readonly stderr?: boolean | string | Output | undefined;
  /** What the program reads from stdin; default: nothing. */
  readonly stdin?: ObjectLike | Input | undefined;
  /** Inputs that are not arguments: mapped at their path; the path of a plain object is its label. */
  readonly inputPaths?: readonly (ObjectLike | Input)[] | undefined;
  /** What the program writes: a file's path, which is its label too, an `output()` or an `outputDir()`. */
  readonly outputPaths?: readonly (string | Output)[] | undefined;
  /** Run the line by `/bin/sh -c`. A list is joined with blanks; paths in it are quoted, texts are not. */
  readonly shell?: boolean | undefined;
  /** The value of a data object is the absolute path where it is mapped. */
  readonly env?: Readonly<Record<string, string | ObjectLike | Input>> | undefined;
  /** Name of an environment that governors have in their configuration: its prefix comes before the program. */
  readonly environment?: string | undefined;
  /** Read metrics from its stdout, and from the file that RAIN_METRICS names: see docs/runs.md. */
  readonly metrics?: boolean | undefined;
  /** Make an output, a directory, of all files that it made or changed in its folder: true or its label ("files"). */
  readonly files?: boolean | string | Output | undefined;
}
const ownNames = [
  "stdout",
  "stderr",
  "stdin",
  "inputPaths",
  "outputPaths",
  "shell",
  "env",
  "environment",
  "metrics",
  "files",
];
const optionNames: ReadonlySet<string> = new Set(ownNames.concat(taskOptionNames));

/**
 * Checks what a program is to be run with, for the method that errors name. The order of the outputs: stdout, stderr, files, those among the arguments,
 * `outputPaths`.
 */
export function executePattern(
  args: string | readonly Argument[],
  options: ExecuteOptions,
  method = "execute",
): Pattern {
  checkOptions(method, options, optionNames);
  const what = typeof options.name === "string" ? `${method} (${show(options.name)})` : method;
  const common = readTaskOptions(what, options);
  const slots = new Slots(what);
  for (const stream of ["stdout", "stderr", "files"] as const)
    addCapture(what, slots, stream, options[stream]);
  const shell = options.shell !== undefined && checkFlag(`${what}: shell`, options.shell);
  const words = readArguments(what, args, shell, slots);
  for (const [index, given] of list(`${what}: inputPaths`, options.inputPaths).entries()) {
    addInputPath(`${what}: inputPaths[${index}]`, slots, given);
  }
  const stdin = options.stdin === undefined ? undefined : addStdin(`${what}: stdin`, slots, options.stdin);
  for (const [index, given] of list(`${what}: outputPaths`, options.outputPaths).entries()) {
    slots.addFile(readOutputPath(`${what}: outputPaths[${index}]`, given));
  }
  const env = options.env === undefined ? undefined : readEnvironment(`${what}: env`, slots, options.env);
  slots.checkPlaces();
  const metrics = options.metrics !== undefined && checkFlag(`${what}: metrics`, options.metrics);
  const { environment } = options;
  if (environment !== undefined) checkEnvironmentName(`${what}: environment`, environment);
  const line = shell ? [shellLine(words, slots)] : words;
  checkSizes(what, line, env);
  return {
    what,
    work: {
      type: "execute",
      args: line,
      ...(shell && { shell }),
      ...(stdin !== undefined && { stdin }),
      ...(env !== undefined && { env }),
      ...(environment !== undefined && { environment }),
    },
    inputs: slots.inputs,
    outputs: slots.outputs,
    common: metrics ? { ...common, metrics } : common,
  };
}

function readArguments(
  what: string,
  args: string | readonly Argument[],
  shell: boolean,
  slots: Slots,
): Arg[] {
  if (typeof args !== "string" && !Array.isArray(args)) {
    throw wrongType(`${what}: the arguments must be a string or a list, not ${show(args)}`);
  }
  const split = (line: string): string[] => (shell ? [line] : splitWords(what, line));
  const given = typeof args === "string" ? split(args) : (args as readonly Argument[]);
  const words = given.map((each, index) => readArgument(`${what}: argument ${index}`, slots, each));
  if (words.length === 0 || words[0] === "")
    throw badRequest(`${what}: the first argument must name a program`);
  return words;
}

function checkEnvironmentName(what: string, name: unknown): void {
  if (typeof name !== "string") throw wrongType(`${what}: must be a name, not ${show(name)}`);
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(name))
    throw badRequest(`${what}: ${show(name)}: use letters, digits, '_', '.', '-', 64 at most`);
}

function readArgument(what: string, slots: Slots, given: Argument): Arg {
  if (typeof given === "string") return checkText(what, given, limits.argBytes);
  if (given instanceof Output) return { output: slots.addFile(given) };
  const object = asInput(given);
  if (object) return { input: slots.addArgumentInput(object) };
  const remedy =
    typeof given === "number" || typeof given === "boolean" ? `; write String(${String(given)})` : "";
  const allowed = "a string, a data object, a task, input(...) or output(...)";
  throw wrongType(`${what}: must be ${allowed}, not ${show(given)}${remedy}`);
}

const asInput = (given: unknown): DataObject | Input | undefined =>
  given instanceof Input ? given : asObject(given);

function addCapture(what: string, slots: Slots, stream: Capture, given: unknown): void {
  if (given === undefined || given === false) return;
  if (given !== true && typeof given !== "string" && !(given instanceof Output)) {
    throw wrongType(`${what}: ${stream}: must be true, a label or output(...), not ${show(given)}`);
  }
  slots.addCapture(stream, given);
}

function addStdin(what: string, slots: Slots, given: unknown): number {
  const object = asInput(given);
  if (!object) throw wrongType(`${what}: must be a data object, a task or input(...), not ${show(given)}`);
  if (object.kind === "directory") throw badRequest(`${what}: must be a blob, not a directory`);
  return slots.addInput(object, object instanceof Input ? object.path : undefined);
}

function addInputPath(what: string, slots: Slots, given: unknown): void {
  const object = asInput(given);
  if (!object) throw wrongType(`${what}: must be a data object, a task or input(...), not ${show(given)}`);
  const path = (object instanceof Input ? object.path : undefined) ?? object.label;
  if (path === "")
    throw badRequest(`${what}: the object has no label to be its path; use input(label, { path, object })`);
  slots.addInput(object, object instanceof Input && path === TASK_FOLDER ? path : checkPath(what, path));
}

function readOutputPath(what: string, given: unknown): string | Output {
  if (given instanceof Output) return given;
  if (typeof given !== "string")
    throw wrongType(`${what}: must be a path or output(...), not ${show(given)}`);
  return checkPath(what, given);
}

function list(what: string, value: readonly unknown[] | undefined): readonly unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw wrongType(`${what}: must be a list, not ${show(value)}`);
  return value;
}

function readEnvironment(what: string, slots: Slots, env: unknown): Record<string, EnvironmentValue> {
  if (typeof env !== "object" || env === null || Array.isArray(env)) {
    throw wrongType(`${what}: must be an object of names and texts, not ${show(env)}`);
  }
  const read: Record<string, EnvironmentValue> = {};
  for (const [name, value] of Object.entries(env)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]{0,255}$/.test(name) || isForbiddenName(name)) {
      throw badRequest(
        `${what}: ${show(name)}: a name is a letter or '_', then letters, digits, '_', at most 256; not ${show("constructor")} or the like`,
      );
    }
    const object = asInput(value);
    read[name] = object
      ? { input: slots.addArgumentInput(object) }
      : checkText(`${what}: ${name}`, value, limits.argBytes);
  }
  return read;
}

/** One line for the shell: paths are known here, so that nothing is left to put in. */
function shellLine(words: readonly Arg[], slots: Slots): string {
  const text = (word: Arg): string => {
    if (typeof word === "string") return word;
    const path = "input" in word ? slots.inputs[word.input]?.path : slots.outputs[word.output]?.path;
    return quote(path ?? "");
  };
  return words.map(text).join(" ");
}

const bytesOf = (text: string): number => Buffer.byteLength(text);

function checkSizes(
  what: string,
  args: readonly Arg[],
  env: Readonly<Record<string, EnvironmentValue>> = {},
): void {
  let total = 0;
  for (const arg of args) {
    if (typeof arg !== "string") continue;
    const bytes = bytesOf(arg);
    if (bytes > limits.argBytes) throw tooLarge(what, "an argument", bytes, limits.argBytes);
    total += bytes + 1;
  }
  for (const [name, value] of Object.entries(env))
    total += bytesOf(name) + (typeof value === "string" ? bytesOf(value) : 0) + 2;
  if (total > limits.argsBytes)
    throw tooLarge(what, "the arguments and the environment", total, limits.argsBytes);
  if (args.length > MAX_ARGS)
    throw new RainError("limit-exceeded", `${what}: more than ${MAX_ARGS} arguments`);
}
const MAX_ARGS = 100_000;

const tooLarge = (what: string, part: string, bytes: number, limit: number): RainError =>
  new RainError(
    "limit-exceeded",
    `${what}: ${part}: ${bytes} bytes; the limit is ${limit}. Pass it in a blob`,
    { limit },
  );
