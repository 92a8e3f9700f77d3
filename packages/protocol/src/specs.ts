import { z } from "zod";
import { digest, objectId, taskId, type Digest, type ObjectId, type TaskId } from "./ids.ts";
import { limits } from "./limits.ts";

/** What was asked: immutable descriptions of tasks and data objects, as the client submits them. */

/** Text that a program can get: no NUL, and no lone surrogate, which has no UTF-8 form. */
const text = (max: number): z.ZodString =>
  z
    .string()
    .max(max)
    .refine(
      (value) => !value.includes("\0") && !loneSurrogate.test(value),
      "text without NUL characters and valid as UTF-8",
    );
export const loneSurrogate: RegExp = /\p{Surrogate}/u;

/** Names and labels. Control characters are allowed here and escaped wherever they are shown. */
export const nameText: z.ZodString = text(limits.nameBytes);

/** A path inside a task's folder: relative, normalised, inside it. The message says which rule it breaks. */
export function checkRelativePath(path: string): string | undefined {
  if (path === "") return "is empty";
  if (path.includes("\0")) return "contains a NUL character";
  if (path.startsWith("/")) return "is absolute; it must be relative to the task's folder";
  if (path.includes("\\")) return "contains a backslash";
  if (utf8Length(path) > limits.pathBytes) return `is longer than ${limits.pathBytes} bytes`;
  const parts = path.split("/");
  if (parts.length > limits.pathDepth) return `is deeper than ${limits.pathDepth} folders`;
  for (const part of parts) {
    if (part === "..") return "leaves the task's folder by '..'";
    if (part === "." || part === "") return `has an empty or '.' component`;
    if (utf8Length(part) > limits.pathComponentBytes)
      return `has a component longer than ${limits.pathComponentBytes} bytes`;
  }
  return undefined;
}
/** UTF-8 length of a string, bytes; without an encoder, since the pure cores have none. */
export function utf8Length(value: string): number {
  let bytes = 0;
  for (const char of value) {
    const point = char.codePointAt(0) ?? 0;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return bytes;
}

const relativePath = text(limits.pathBytes).superRefine((path, context) => {
  const problem = checkRelativePath(path);
  if (problem !== undefined)
    context.addIssue({ code: "custom", message: `path ${JSON.stringify(path.slice(0, 200))} ${problem}` });
});

/** A path on a governor's machine: absolute, so that it does not depend on where the governor was started. */
export function checkAbsolutePath(path: string): string | undefined {
  if (!path.startsWith("/")) return "is not absolute; it must start with '/'";
  if (path.includes("\0")) return "contains a NUL character";
  if (utf8Length(path) > limits.pathBytes) return `is longer than ${limits.pathBytes} bytes`;
  return undefined;
}
const absolutePath = text(limits.pathBytes).superRefine((path, context) => {
  const problem = checkAbsolutePath(path);
  if (problem !== undefined)
    context.addIssue({ code: "custom", message: `path ${JSON.stringify(path.slice(0, 200))} ${problem}` });
});

/** A path inside a directory; a folder's ends with one '/'. */
export const checkSlicePath = (path: string): string | undefined =>
  checkRelativePath(path.endsWith("/") ? path.slice(0, -1) : path);
const slicePath = text(limits.pathBytes).superRefine((path, context) => {
  const problem = checkSlicePath(path);
  if (problem !== undefined)
    context.addIssue({ code: "custom", message: `path ${JSON.stringify(path.slice(0, 200))} ${problem}` });
});

export type ObjectKind = "blob" | "directory";
const objectKind: z.ZodType<ObjectKind> = z.enum(["blob", "directory"]);

/** Content type of Rain: '', text, text-ENC, json, cbor, pickle, cloudpickle, arrow, mime/X, user/X. '' is untyped. */
export const contentType: z.ZodString = z
  .string()
  .max(128)
  .regex(
    /^(|text|text-[A-Za-z0-9._-]+|json|cbor|pickle|cloudpickle|arrow|mime\/[\w.+/-]+|user\/[\w.+/-]+)$/,
    "one of '', text, text-ENC, json, cbor, pickle, cloudpickle, arrow, mime/X, user/X",
  );

/** The type of the data, declared or measured: see `isSubtype` for which may stand for which. */
export type ContentType = string;

/**
 * May data of type `actual` stand where `wanted` is asked? A type may stand for itself; '' accepts every type, "text"
 * every text-ENC, and "cloudpickle" also "pickle", which its reader reads.
 */
export function isSubtype(actual: ContentType, wanted: ContentType): boolean {
  if (wanted === "" || actual === wanted) return true;
  if (wanted === "text") return actual.startsWith("text-");
  return wanted === "cloudpickle" && actual === "pickle";
}

/** A JSON value, as attributes have them. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };
/**
 * Not zod's own schema of JSON: it goes in a circle, and whatever has it in it, as nearly every message has, is then
 * checked with much care for circles. What is checked here came out of a message, or is written into one: it has none.
 */
export const json: z.ZodType<Json> = z.custom<Json>(isJsonValue, "not a JSON value");

function isJsonValue(value: unknown): boolean {
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || value === null)
    return typeof value === "string" || typeof value === "boolean" || value === null;
  if (Array.isArray(value)) return value.every(isJsonValue);
  const prototype: unknown = Object.getPrototypeOf(value);
  return (prototype === Object.prototype || prototype === null) && Object.values(value).every(isJsonValue);
}

/** Attributes of the user's own: names and JSON values. */
export type UserAttributes = Readonly<Record<string, Json>>;
export const userAttributes: z.ZodType<UserAttributes> = z
  .record(z.string(), json)
  .refine(
    (value) => JSON.stringify(value).length <= limits.userBytes,
    `at most ${limits.userBytes} characters as JSON`,
  );

/** Resources of a request or a capacity. `cpus` and `gpus` in units, `memory` in bytes, others counted by name. */
export interface Resources {
  readonly cpus: number;
  readonly gpus: number;
  /** Bytes; 0 asks for none in particular. */
  readonly memory: number;
  readonly named: Readonly<Record<string, number>>;
}
const amount = z.number().min(0).max(1e6);
const resourceName = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9_.-]{0,63}$/, "a resource name: a letter, then letters, digits, '_', '.', '-'");
export const resources: z.ZodType<Resources> = z.strictObject({
  cpus: amount,
  gpus: amount,
  memory: z.int().min(0),
  named: z.record(resourceName, amount),
});

/** Labels of a governor, or those that a task asks its governor to have: names and exact values. */
export type Labels = Readonly<Record<string, string>>;
export const labels: z.ZodType<Labels> = z.record(z.string().max(128), z.string().max(limits.nameBytes));
/** The name of an environment that governors have in their configuration, such as `torch`. */
export const environmentLabel: z.ZodString = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/, "a name: letters, digits, '_', '.', '-', 64 at most");

/** An input of a task. `path` is where it is mapped in the task's folder; absent for one that is only stdin. */
export interface InputSpec {
  readonly object: ObjectId;
  readonly label?: string | undefined;
  readonly path?: string | undefined;
  /** Map a private copy that the program may change. */
  readonly write?: boolean | undefined;
  /**
   * Map a directory as a link to the one copy that the governor has unpacked for all tasks, instead of a copy of the
   * task's own. Not together with `write`.
   */
  readonly shared?: boolean | undefined;
  /** What the object's measured type must be, or a subtype of it; one without a type is taken for it. */
  readonly contentType?: string | undefined;
}
/** The place of an input that is spread out in the task's folder itself; only for a directory with `write`. */
export const TASK_FOLDER = ".";
const inputSpec: z.ZodType<InputSpec> = z
  .strictObject({
    object: objectId,
    label: nameText.optional(),
    path: z.union([z.literal(TASK_FOLDER), relativePath]).optional(),
    write: z.boolean().optional(),
    shared: z.boolean().optional(),
    contentType: contentType.optional(),
  })
  .refine(
    ({ path, write }) => path !== TASK_FOLDER || write === true,
    "an input that is the task's folder itself (path '.') must be a private copy (write: true)",
  )
  .refine(
    ({ shared, write }) => shared !== true || write !== true,
    "an input is shared or a private copy (write), not both",
  );

/**
 * An output of a task: a file or folder at `path`, what the program wrote to stdout or stderr, or, as a directory,
 * all files that it made or changed in its folder ("files").
 */
export type Capture = "stdout" | "stderr" | "files";
export interface OutputSpec {
  readonly object: ObjectId;
  readonly label: string;
  readonly kind: ObjectKind;
  readonly contentType: string;
  readonly keep: boolean;
  readonly path?: string | undefined;
  readonly capture?: Capture | undefined;
  readonly user?: UserAttributes | undefined;
}
const outputFields = {
  label: nameText,
  kind: objectKind,
  contentType,
  keep: z.boolean(),
  path: relativePath.optional(),
  capture: z.enum(["stdout", "stderr", "files"]).optional(),
  user: userAttributes.optional(),
} as const;
const outputSpec: z.ZodType<OutputSpec> = z.strictObject({ object: objectId, ...outputFields });

/** One argument: text, or the path of an input or output by its index. */
export type Arg = string | { readonly input: number } | { readonly output: number };
const index = z.int().min(0).max(limits.inputsPerTask);
const arg: z.ZodType<Arg> = z.union([
  text(limits.argBytes),
  z.strictObject({ input: index }),
  z.strictObject({ output: index }),
]);

export const environmentName: z.ZodString = z
  .string()
  .max(256)
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "an environment name: a letter or '_', then letters, digits, '_'");

/** The value of an environment variable: text, or the absolute path of an input by its index. */
export type EnvironmentValue = string | { readonly input: number };
const environmentValue: z.ZodType<EnvironmentValue> = z.union([
  text(limits.argBytes),
  z.strictObject({ input: index }),
]);

/** What an own executor is asked to do: its name in the governor's configuration and a method of it, `py/run`. */
export const customMethod: z.ZodString = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/,
    "NAME/METHOD: each of letters, digits, '_', '.', '-', 64 at most",
  );
/** The NAME of a NAME/METHOD. */
export const executorOf = (method: string): string => method.slice(0, method.indexOf("/"));

/** What a task does. Built-in kinds run without a process. */
export type Work =
  | {
      readonly type: "execute";
      readonly args: readonly Arg[];
      /** The arguments are one line for `/bin/sh -c`. */
      readonly shell?: boolean | undefined;
      /** Index of the input that is stdin; absent: /dev/null. */
      readonly stdin?: number | undefined;
      readonly env?: Readonly<Record<string, EnvironmentValue>> | undefined;
      /** Environment of the governor's configuration whose prefix comes before the program. */
      readonly environment?: string | undefined;
    }
  | { readonly type: "concat" }
  | { readonly type: "sleep"; readonly seconds: number }
  /** A call of an own executor, which is told where its inputs and outputs are. `config`: a JSON value, as text. */
  | { readonly type: "custom"; readonly method: string; readonly config?: string | undefined }
  /** Takes a file or folder of the governor's machine in; the kind of the output says which. The path is absolute. */
  | { readonly type: "load"; readonly path: string }
  /** Writes its input to a new file or folder of the governor's machine; no outputs. The path is absolute. */
  | { readonly type: "store"; readonly path: string }
  /** A directory with each input at its path. */
  | { readonly type: "makeDirectory"; readonly paths: readonly string[] }
  /** A file of a directory, or a folder of it when the path ends with '/'. */
  | { readonly type: "sliceDirectory"; readonly path: string };
export const work: z.ZodType<Work> = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("execute"),
    args: z.array(arg).min(1).max(100_000),
    shell: z.boolean().optional(),
    stdin: index.optional(),
    env: z.record(environmentName, environmentValue).optional(),
    environment: environmentLabel.optional(),
  }),
  z.strictObject({ type: z.literal("concat") }),
  z.strictObject({ type: z.literal("sleep"), seconds: z.number().min(0).max(1e9) }),
  z.strictObject({
    type: z.literal("custom"),
    method: customMethod,
    config: z.string().max(limits.argsBytes).refine(isJson, "the text of a JSON value").optional(),
  }),
  z.strictObject({ type: z.literal("load"), path: absolutePath }),
  z.strictObject({ type: z.literal("store"), path: absolutePath }),
  z.strictObject({
    type: z.literal("makeDirectory"),
    paths: z.array(relativePath).max(limits.inputsPerTask),
  }),
  z.strictObject({ type: z.literal("sliceDirectory"), path: slicePath }),
]);

export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** One task of a submit. */
export interface TaskSpec {
  readonly id: TaskId;
  readonly work: Work;
  readonly inputs: readonly InputSpec[];
  readonly outputs: readonly OutputSpec[];
  readonly request: Resources;
  readonly name?: string | undefined;
  /** Larger is sooner. */
  readonly priority?: number | undefined;
  readonly timeoutS?: number | undefined;
  /** Further attempts after a failure of the program itself. */
  readonly retries?: number | undefined;
  readonly user?: UserAttributes | undefined;
  /** Only governors with all of these labels may run it. */
  readonly labels?: Labels | undefined;
  /** The line of the client's script that made the task: `sweep.mjs:12:5`. */
  readonly origin?: string | undefined;
  /** Read metrics from its stdout and from the file that RAIN_METRICS names. Only for `execute`. */
  readonly metrics?: boolean | undefined;
  /** Do not run it when the same task has finished before: its outputs are taken over. */
  readonly cache?: boolean | undefined;
  /** A settled task of the session in whose place this one is: the old one is not counted any more. */
  readonly replaces?: TaskId | undefined;
}
export const originText: z.ZodString = text(limits.pathBytes);
const taskFields = {
  work,
  inputs: z.array(inputSpec).max(limits.inputsPerTask),
  request: resources,
  name: nameText.optional(),
  priority: z.int().min(-1_000_000).max(1_000_000).optional(),
  timeoutS: z.number().positive().max(1e9).optional(),
  retries: z.int().min(0).max(1_000).optional(),
  user: userAttributes.optional(),
  labels: labels.optional(),
  origin: originText.optional(),
  metrics: z.boolean().optional(),
  cache: z.boolean().optional(),
} as const;
export const taskSpec: z.ZodType<TaskSpec> = z.strictObject({
  id: taskId,
  ...taskFields,
  outputs: z.array(outputSpec).max(limits.outputsPerTask),
  replaces: taskId.optional(),
});

/** A task of an array without its own number, and those of its outputs. It takes no other task's place. */
export interface TaskTemplate extends Omit<TaskSpec, "id" | "outputs" | "replaces"> {
  readonly outputs: readonly Omit<OutputSpec, "object">[];
}
export const taskTemplate: z.ZodType<TaskTemplate> = z.strictObject({
  ...taskFields,
  outputs: z.array(z.strictObject(outputFields)).max(limits.outputsPerTask),
});

/** A constant that the client submits: its bytes inline, or uploaded before under this digest. */
export interface ConstantSpec {
  readonly id: ObjectId;
  readonly kind: ObjectKind;
  readonly label: string;
  readonly contentType: string;
  readonly keep: boolean;
  readonly size: number;
  readonly sha256: Digest;
  readonly data?: Uint8Array | undefined;
  readonly user?: UserAttributes | undefined;
}
export const bytes: z.ZodType<Uint8Array> = z.instanceof(Uint8Array);
export const byteSize: z.ZodInt = z.int().min(0);
export const constantSpec: z.ZodType<ConstantSpec> = z.strictObject({
  id: objectId,
  kind: objectKind,
  label: nameText,
  contentType,
  keep: z.boolean(),
  size: byteSize,
  sha256: digest,
  data: bytes
    .refine((data) => data.length <= limits.inlineBytes, `at most ${limits.inlineBytes} bytes inline`)
    .optional(),
  user: userAttributes.optional(),
});

/** The measured side of a finished data object. */
export interface ObjectInfo {
  readonly size: number;
  readonly sha256: Digest;
  readonly contentType: string;
  /** Attributes that its task gave it. */
  readonly user?: UserAttributes | undefined;
}

/** A measured number: NaN and the infinities too. */
export const float: z.ZodType<number> = z.union([
  z.number(),
  z.nan(),
  z.literal(Infinity),
  z.literal(-Infinity),
]);
/** Name of a metric, as it stands in tables. */
export const metricName: z.ZodString = text(limits.metricNameBytes);

/** What became of one metric over an attempt. `min` and `max` leave NaN out: they are NaN when nothing else came. */
export interface MetricSummary {
  readonly last: number;
  readonly min: number;
  readonly max: number;
  /** Number of values that came. */
  readonly count: number;
  /** The step of the last value, where one was given. */
  readonly step?: number | undefined;
}
const metricSummary: z.ZodType<MetricSummary> = z.strictObject({
  last: float,
  min: float,
  max: float,
  count: z.int().min(1),
  step: float.optional(),
});
export type MetricSummaries = Readonly<Record<string, MetricSummary>>;
export const metricSummaries: z.ZodType<MetricSummaries> = z.record(metricName, metricSummary);

/** One point of a curve. `at`: milliseconds since 1970 by the governor's clock. */
export interface MetricPoint {
  readonly name: string;
  readonly value: number;
  readonly step?: number | undefined;
  readonly at: number;
}
export const metricPoint: z.ZodType<MetricPoint> = z.strictObject({
  name: metricName,
  value: float,
  step: float.optional(),
  at: z.number(),
});
/** Points of an attempt in their order. `from`: number of the first of them, so that one sent twice is known. */
export interface MetricsBatch {
  readonly from: number;
  readonly points: readonly MetricPoint[];
  /** Parameters that the program chose itself (`pick`). */
  readonly params?: UserAttributes | undefined;
}
export const metricsBatch: z.ZodType<MetricsBatch> = z.strictObject({
  from: z.int().min(0),
  points: z.array(metricPoint).max(limits.metricPoints),
  params: userAttributes.optional(),
});

/** The measured side of an attempt that ran. Times in seconds, `startTime` as milliseconds since 1970 by the governor's clock. */
export interface TaskInfo {
  readonly startTime?: number | undefined;
  readonly durationS?: number | undefined;
  readonly exitCode?: number | undefined;
  readonly cpuTimeS?: number | undefined;
  /** Largest resident memory seen by sampling, bytes; absent when the program was gone before the first sample. */
  readonly maxRssBytes?: number | undefined;
  /** Attributes that the program set, and what it left as a note for people. */
  readonly user?: UserAttributes | undefined;
  readonly debug?: string | undefined;
  readonly metrics?: MetricSummaries | undefined;
  /** Parameters that the program chose itself (`pick`). */
  readonly params?: UserAttributes | undefined;
  /** What it cost: the share of the governor that it had, times its `costPerHour`. */
  readonly cost?: number | undefined;
  /** It was not run: its outputs and these figures are those of the same task, which finished before. */
  readonly cached?: boolean | undefined;
}
export const taskInfo: z.ZodType<TaskInfo> = z.strictObject({
  startTime: z.number().optional(),
  durationS: z.number().optional(),
  exitCode: z.int().optional(),
  cpuTimeS: z.number().optional(),
  maxRssBytes: z.number().optional(),
  user: userAttributes.optional(),
  debug: text(limits.debugBytes).optional(),
  metrics: metricSummaries.optional(),
  params: userAttributes.optional(),
  cost: z.number().min(0).optional(),
  cached: z.boolean().optional(),
});
