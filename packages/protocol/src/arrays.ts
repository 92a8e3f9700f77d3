import { z } from "zod";
import { asObjectId, asTaskId, objectId, taskId, type ObjectId, type TaskId } from "./ids.ts";
import { limits } from "./limits.ts";
import { isJson, loneSurrogate, taskTemplate, type Arg, type TaskSpec, type TaskTemplate } from "./specs.ts";

/**
 * A task array: many tasks that are alike, as one description. Its tasks and their outputs have consecutive numbers,
 * and differ in a few places only, for each of which a column has the values.
 */
export interface TaskArray {
  /** Number of the first task; the others follow. */
  readonly first: TaskId;
  /** Number of tasks. */
  readonly count: number;
  /** Number of the first output of the first task: output k of task i is `objects + i * outputs + k`. */
  readonly objects: ObjectId;
  /** The first task, without numbers. */
  readonly task: TaskTemplate;
  readonly vary: readonly ArrayColumn[];
}

/** A place of the template in which the tasks differ. The template has a value there: that of the first task. */
export type Place =
  | readonly ["name"]
  | readonly ["origin"]
  | readonly ["user", string]
  | readonly ["args", number]
  | readonly ["env", string]
  | readonly ["config"]
  | readonly ["input", number];

/** A text; a number for an input's object; any of these for a user attribute. */
export type PlaceValue = string | number | boolean | null;

/** What stands at a place, for task 0, 1, ...: a list, or `from + i * step` between two texts. */
export type ArrayColumn =
  | { readonly at: Place; readonly values: readonly PlaceValue[] }
  | { readonly at: Place; readonly range: Range };
export interface Range {
  readonly from: number;
  readonly step: number;
  /** With either of them the value is a text; without, a number where a number can be, else its text. */
  readonly prefix?: string | undefined;
  readonly suffix?: string | undefined;
}

const index = z.int().min(0).max(limits.inputsPerTask);
const key = z.string().max(limits.nameBytes);
const place: z.ZodType<Place> = z.union([
  z.tuple([z.literal("name")]),
  z.tuple([z.literal("origin")]),
  z.tuple([z.literal("user"), key]),
  z.tuple([z.literal("args"), z.int().min(0).max(100_000)]),
  z.tuple([z.literal("env"), key]),
  z.tuple([z.literal("config")]),
  z.tuple([z.literal("input"), index]),
]);

const affix = z.string().max(limits.nameBytes);
const range: z.ZodType<Range> = z.strictObject({
  from: z.int(),
  step: z.int(),
  prefix: affix.optional(),
  suffix: affix.optional(),
});
// The values are checked by `checkColumn`: a schema for each of a million would take seconds.
const column: z.ZodType<ArrayColumn> = z.union([
  z.strictObject({ at: place, values: z.custom<readonly PlaceValue[]>((value) => Array.isArray(value)) }),
  z.strictObject({ at: place, range }),
]);

/** Says what is wrong with a text for a program, or nothing. */
function textProblem(value: unknown, max: number): string | undefined {
  if (typeof value !== "string") return "is no text";
  if (value.length > max) return `has ${value.length} characters; the limit is ${max}`;
  if (value.includes("\0") || loneSurrogate.test(value)) return "has a NUL or is not valid as UTF-8";
  return undefined;
}

const attributeProblem = (value: unknown): string | undefined =>
  value === null || typeof value === "number" || typeof value === "boolean"
    ? undefined
    : typeof value === "string" && value.length <= limits.nameBytes
      ? undefined
      : `is no number, boolean, null or text of at most ${limits.nameBytes} characters`;

function valueProblem(at: Place, value: unknown): string | undefined {
  switch (at[0]) {
    case "name":
      return textProblem(value, limits.nameBytes);
    case "origin":
      return textProblem(value, limits.pathBytes);
    case "user":
      return attributeProblem(value);
    case "args":
    case "env":
      return textProblem(value, limits.argBytes);
    case "config":
      return typeof value === "string" && value.length <= limits.argsBytes && isJson(value)
        ? undefined
        : "is not the text of a JSON value, or too long";
    case "input":
      return objectId.safeParse(value).success ? undefined : "is no number of a data object";
  }
}

/** Does the template have a value of the right kind at this place? */
function isThere(task: TaskTemplate, at: Place): boolean {
  const { work } = task;
  switch (at[0]) {
    case "name":
      return task.name !== undefined;
    case "origin":
      return task.origin !== undefined;
    case "user":
      return task.user !== undefined && Object.hasOwn(task.user, at[1]);
    case "args":
      return work.type === "execute" && typeof work.args[at[1]] === "string";
    case "env":
      return (
        work.type === "execute" &&
        work.env !== undefined &&
        Object.hasOwn(work.env, at[1]) &&
        typeof work.env[at[1]] === "string"
      );
    case "config":
      return work.type === "custom" && work.config !== undefined;
    case "input":
      return task.inputs[at[1]] !== undefined;
  }
}

function columnProblem(array: TaskArray, each: ArrayColumn): string | undefined {
  if (!isThere(array.task, each.at)) return "the template has no such value there";
  const problemOf = (task: number): string | undefined => {
    const problem = valueProblem(each.at, valueAt(each, task));
    return problem === undefined ? undefined : `the value for task ${array.first + task} ${problem}`;
  };
  if ("range" in each) {
    const { from, step } = each.range;
    if (!Number.isSafeInteger(from + step * (array.count - 1))) return "its last number is too large";
    // The longest texts and the largest numbers are at the ends.
    return problemOf(0) ?? problemOf(array.count - 1);
  }
  if (each.values.length !== array.count)
    return `it has ${each.values.length} values for ${array.count} tasks`;
  for (let task = 0; task < array.count; task++) {
    const problem = problemOf(task);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** Says what is wrong with an array as a whole, or nothing. */
function arrayProblem(array: TaskArray): string | undefined {
  if (array.first + array.count > MAX_ID) return "the numbers of its tasks are too large";
  if (array.objects + array.count * array.task.outputs.length > MAX_ID)
    return "the numbers of its outputs are too large";
  const places = new Set<string>();
  for (const each of array.vary) {
    const name = each.at.join(" ");
    if (places.has(name)) return `two columns for ${name}`;
    places.add(name);
    const problem = columnProblem(array, each);
    if (problem !== undefined) return `column ${name}: ${problem}`;
  }
  return undefined;
}
const MAX_ID = 2 ** 31 - 1;

export const taskArray: z.ZodType<TaskArray> = z
  .strictObject({
    first: taskId,
    count: z.int().min(1).max(limits.submitTasks),
    objects: objectId,
    task: taskTemplate,
    vary: z.array(column).max(limits.arrayColumns),
  })
  .superRefine((array, context) => {
    const problem = arrayProblem(array);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  });

/** The value of a column for task 0, 1, ... of its array. */
export function valueAt(each: ArrayColumn, task: number): PlaceValue {
  if ("values" in each) return each.values[task] ?? null;
  const { from, step, prefix, suffix } = each.range;
  const number = from + step * task;
  if (prefix === undefined && suffix === undefined && (each.at[0] === "input" || each.at[0] === "user"))
    return number;
  return `${prefix ?? ""}${number}${suffix ?? ""}`;
}

/** Task 0, 1, ... of an array, as if it had been described on its own. Shares what it can with the template. */
export function taskOfArray({ first, objects, task, vary }: TaskArray, index: number): TaskSpec {
  const base = objects + index * task.outputs.length;
  const outputs = task.outputs.map((output, k) => ({ object: asObjectId(base + k), ...output }));
  const spec: Mutable<TaskSpec> = { id: asTaskId(first + index), ...task, outputs };
  let args: Arg[] | undefined;
  for (const column of vary) {
    const value = valueAt(column, index);
    const { at } = column;
    const { work } = spec;
    switch (at[0]) {
      case "name":
        spec.name = String(value);
        break;
      case "origin":
        spec.origin = String(value);
        break;
      case "user":
        spec.user = { ...spec.user, [at[1]]: value };
        break;
      case "args":
        if (work.type !== "execute") break;
        if (args === undefined) {
          args = [...work.args];
          spec.work = { ...work, args };
        }
        args[at[1]] = String(value);
        break;
      case "env":
        if (work.type === "execute") spec.work = { ...work, env: { ...work.env, [at[1]]: String(value) } };
        break;
      case "config":
        if (work.type === "custom") spec.work = { ...work, config: String(value) };
        break;
      case "input":
        spec.inputs = spec.inputs.map((input, k) =>
          k === at[1] ? { ...input, object: asObjectId(Number(value)) } : input,
        );
        break;
    }
  }
  return spec;
}
type Mutable<T> = { -readonly [K in keyof T]: T[K] };
