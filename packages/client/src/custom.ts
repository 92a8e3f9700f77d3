import { customMethod, executorOf, limits, RainError } from "@rain/protocol";
import { badRequest, checkOptions, checkText, show, wrongType } from "./check.ts";
import { nameObject } from "./data-object.ts";
import type { Pattern, PatternInput, PatternOutput } from "./pattern.ts";
import { asObject, Input, Output, type ObjectLike } from "./slots.ts";
import { readTaskOptions, taskOptionNames, type TaskOptions } from "./task-options.ts";

export interface CustomOptions extends TaskOptions {
  /** What the method reads, in this order; the same object may stand there more than once. */
  readonly inputs?: readonly (ObjectLike | Input)[] | undefined;
  /** What it makes: labels, or `output(label, { contentType })`. Default: one, "output". */
  readonly outputs?: readonly (string | Output)[] | undefined;
  /** A JSON value for the method. */
  readonly config?: unknown;
}

export interface PythonOptions extends TaskOptions {
  /** What the function gets for each input: its bytes (default), text, the value of its JSON, or the path of a file. */
  readonly as?: "bytes" | "text" | "json" | "path" | undefined;
  /** Keyword arguments, JSON. */
  readonly args?: Readonly<Record<string, unknown>> | undefined;
  /** Name of the function; default: the last one that the source defines. */
  readonly function?: string | undefined;
  /** With several outputs, the function returns a dict by label, or a list. Default: one, "output". */
  readonly outputs?: readonly (string | Output)[] | undefined;
  /** Name of the Python executor at the governors; default "py". */
  readonly executor?: string | undefined;
}

const customNames: ReadonlySet<string> = new Set(["inputs", "outputs", "config"].concat(taskOptionNames));
const pythonNames: ReadonlySet<string> = new Set(
  ["as", "args", "function", "outputs", "executor"].concat(taskOptionNames),
);

/** Checks what an own executor is to be asked. */
export function customPattern(method: string, options: CustomOptions): Pattern {
  checkOptions("custom", options, customNames);
  if (typeof method !== "string")
    throw wrongType(`custom: the method must be "NAME/METHOD", not ${show(method)}`);
  const parsed = customMethod.safeParse(method);
  if (!parsed.success) throw badRequest(`custom: ${show(method)} is not ${parsed.error.issues[0]?.message}`);
  const { inputs, outputs, config, ...task } = options;
  return pattern(`custom ${method}`, method, { inputs, outputs, config, task });
}

/** Checks what the Python executor is to be asked. */
export function pythonPattern(
  source: string,
  inputs: readonly (ObjectLike | Input)[],
  options: PythonOptions,
): Pattern {
  checkOptions("python", options, pythonNames);
  const { as, args, function: name, outputs, executor = "py", ...task } = options;
  checkText("python: the source", source, limits.argsBytes);
  if (as !== undefined && !["bytes", "text", "json", "path"].includes(as))
    throw badRequest(`python: as: must be "bytes", "text", "json" or "path", not ${show(as)}`);
  if (args !== undefined && (typeof args !== "object" || args === null || Array.isArray(args)))
    throw wrongType(`python: args: must be an object of names and JSON values, not ${show(args)}`);
  if (name !== undefined) checkText("python: function", name, limits.nameBytes);
  const method = `${executor}/run`;
  if (!customMethod.safeParse(method).success || executorOf(method) !== executor)
    throw badRequest(`python: executor: ${show(executor)} is no name of an executor`);
  return pattern("python", method, { inputs, outputs, config: { source, as, args, function: name }, task });
}

function pattern(
  what: string,
  method: string,
  given: {
    readonly inputs: unknown;
    readonly outputs: unknown;
    readonly config: unknown;
    readonly task: TaskOptions;
  },
): Pattern {
  const { inputs = [], outputs = ["output"], config, task } = given;
  return {
    what,
    work: { type: "custom", method, ...(config !== undefined && { config: toJson(what, config) }) },
    inputs: list(`${what}: inputs`, inputs, limits.inputsPerTask).map((each, at) =>
      readInput(`${what}: inputs[${at}]`, each),
    ),
    outputs: readOutputs(what, outputs),
    common: readTaskOptions(what, task),
  };
}

function readInput(what: string, given: unknown): PatternInput {
  const object = given instanceof Input ? given.object : asObject(given);
  if (!object) {
    throw given instanceof Input
      ? wrongType(`${what}: has no object; only a Program has slots`)
      : wrongType(`${what}: must be a data object, a task or input(...), not ${show(given)}`);
  }
  if (!(given instanceof Input))
    return {
      object,
      kind: object.kind,
      label: object.label || undefined,
      path: undefined,
      write: false,
      shared: false,
      contentType: "",
    };
  if (given.kind !== object.kind)
    throw badRequest(
      `${what}: ${nameObject(object)} is a ${object.kind}; take ${object.kind === "blob" ? "input" : "inputDir"}(...)`,
    );
  if (given.path !== undefined)
    throw badRequest(`${what}: an own executor is told where its inputs are; leave out path`);
  return {
    object,
    kind: given.kind,
    label: given.label,
    path: undefined,
    write: given.write,
    shared: given.shared,
    contentType: given.contentType,
  };
}

function readOutputs(what: string, given: unknown): PatternOutput[] {
  const labels = new Set<string>();
  return list(`${what}: outputs`, given, limits.outputsPerTask).map((each, at) => {
    const where = `${what}: outputs[${at}]`;
    if (typeof each !== "string" && !(each instanceof Output))
      throw wrongType(`${where}: must be a label or output(...), not ${show(each)}`);
    const { label, path, contentType, kind, user } = typeof each === "string" ? new Output(each, {}) : each;
    if (kind !== "blob") throw badRequest(`${where}: an own executor makes files, no directories`);
    if (label === undefined) throw badRequest(`${where}: needs a label`);
    if (path !== undefined)
      throw badRequest(`${where}: an own executor is told where its outputs go; leave out path`);
    if (labels.has(label)) throw badRequest(`${what}: two outputs have the label ${show(label)}`);
    labels.add(label);
    return { label, kind, user, contentType: contentType ?? "", path: undefined, capture: undefined };
  });
}

function list(what: string, given: unknown, limit: number): readonly unknown[] {
  if (!Array.isArray(given)) throw wrongType(`${what}: must be a list, not ${show(given)}`);
  if (given.length > limit)
    throw new RainError("limit-exceeded", `${what}: ${given.length} of them; the limit is ${limit}`, {
      limit,
    });
  return given;
}

function toJson(what: string, config: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(config);
  } catch (error) {
    throw wrongType(`${what}: config: is no JSON value: ${error instanceof Error ? error.message : "?"}`);
  }
  if (text === undefined) throw wrongType(`${what}: config: must be a JSON value, not ${show(config)}`);
  const bytes = Buffer.byteLength(text);
  if (bytes <= limits.argsBytes) return text;
  throw new RainError(
    "limit-exceeded",
    `${what}: config: ${bytes} bytes as JSON; the limit is ${limits.argsBytes}. Pass it in a blob`,
    { limit: limits.argsBytes },
  );
}
