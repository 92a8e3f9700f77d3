import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { OwnExecutor } from "@rain/governor";
import { memoryLimits, type MemoryLimit } from "@rain/protocol";
import { parse, TomlError } from "smol-toml";
import { z } from "zod";
import { exitCodes } from "./exit-codes.ts";
import { CommandError } from "./failure.ts";
import { parseMemory, type Cpus } from "./options.ts";

/** What the configuration file of a governor says; everything may be absent. Sizes in bytes, folders absolute. */
export interface GovernorConfigFile {
  readonly name?: string | undefined;
  readonly costPerHour?: number | undefined;
  readonly pinCpus?: boolean | undefined;
  readonly onLost?: "kill" | "finish" | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly cpus?: Cpus | undefined;
  readonly gpus?: number | undefined;
  readonly memory?: number | undefined;
  readonly named: Readonly<Record<string, number>>;
  readonly environments: Readonly<Record<string, readonly string[]>>;
  readonly executors: Readonly<Record<string, OwnExecutor>>;
  readonly workdir?: string | undefined;
  readonly logdir?: string | undefined;
  readonly killGraceMs?: number | undefined;
  readonly captureBytes?: number | undefined;
  readonly memoryLimit?: "auto" | MemoryLimit | undefined;
  readonly taskProcesses?: number | undefined;
  readonly cacheBytes?: number | undefined;
  readonly transfers?: number | undefined;
}

const name = (what: string): z.ZodString =>
  z
    .string(`${what} must be a text in quotes`)
    .regex(
      /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
      `${what} has letters, digits, '.', '_' and '-', 64 at most, and starts with a letter or digit`,
    );
const text = z.string("must be a text in quotes").max(1_024, "has more than 1,024 characters");
const number = (min: number, max: number, what: string): z.ZodNumber =>
  z.number(what).min(min, what).max(max, what);
const whole = (min: number, max: number, what: string): z.ZodNumber => number(min, max, what).int(what);

const isWhole = (value: string | number, min: number, max: number): boolean =>
  Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max;
const isSize = (value: string | number): boolean =>
  typeof value === "string"
    ? /^\d{1,15}(\.\d{1,6})?\s*([KMGT]i?B?|B)?$/i.test(value)
    : isWhole(value, 0, Number.MAX_SAFE_INTEGER);
const sizeText = 'must be bytes, or a text with a unit K, M, G or T, as "8G"';
const cpusText = 'must be a number of cpus, -N for all but N, or "detect"';
const gpusText = 'must be a whole number of GPUs, or "detect"';
/** A value of one of two types; a union of two schemas would have words of its own for what is wrong. */
const either = (what: string, is: (value: string | number) => boolean): z.ZodType<string | number> =>
  z.union([z.string(), z.number()], what).refine(is, what);

const resources = z.strictObject({
  cpus: either(
    cpusText,
    (value) => value === "detect" || (value !== 0 && isWhole(value, -9_999, 99_999)),
  ).optional(),
  gpus: either(gpusText, (value) => value === "detect" || isWhole(value, 0, 1_000)).optional(),
  memory: either(`${sizeText}, or "detect"`, (value) => value === "detect" || isSize(value)).optional(),
  named: z
    .record(
      z.string().regex(/^[A-Za-z][A-Za-z0-9_.-]{0,63}$/, "a resource name starts with a letter"),
      number(0, 1e6, "must be an amount from 0 to 1,000,000"),
    )
    .optional(),
});
const environment = z.strictObject({
  prefix: z
    .array(
      text.min(1, "a word of the prefix is empty"),
      'must be a list of words, as ["conda", "run", "-n", "torch"]',
    )
    .min(1, "has no word: leave the environment out, or name what to put before programs"),
});
const executor = z.strictObject({
  command: z
    .array(
      text.min(1, "a word of the command is empty"),
      'must be a list of words, as ["python3", "/opt/rain_executor.py"]',
    )
    .min(1, "has no word: name the program that is the executor"),
  env: z
    .record(
      z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "a variable's name is a letter or '_', then digits too"),
      text,
    )
    .optional(),
  concurrency: whole(1, 10_000, "must be a whole number from 1 to 10,000").optional(),
  idle_s: number(0, 1e6, "must be seconds from 0 to 1,000,000").optional(),
});
const folders = z.strictObject({ work: text.optional(), logs: text.optional() });
const memoryChoices = ["auto", ...memoryLimits] as const;
const limits = z.strictObject({
  kill_grace_s: number(0, 3_600, "must be seconds from 0 to 3,600").optional(),
  capture: either(sizeText, isSize).optional(),
  cache_size: either(sizeText, isSize).optional(),
  memory: z.enum(memoryChoices, 'must be "auto", "cgroup", "watch" or "off"').optional(),
  task_processes: whole(1, 1_000_000, "must be a whole number from 1 to 1,000,000").optional(),
  transfers: whole(1, 256, "must be a whole number from 1 to 256").optional(),
});
const schema = z.strictObject({
  name: name("the name").optional(),
  cost_per_hour: number(0, 1e9, "must be a number from 0").optional(),
  pin_cpus: z.boolean("must be true or false").optional(),
  on_lost: z.enum(["kill", "finish"], 'must be "kill" or "finish"').optional(),
  labels: z.record(z.string().min(1).max(128), text).optional(),
  resources: resources.optional(),
  environments: z.record(name("an environment's name"), environment).optional(),
  executors: z.record(name("an executor's name"), executor).optional(),
  folders: folders.optional(),
  limits: limits.optional(),
});
/** Keys of each table, for a message about one that is unknown. */
const keysOf = new Map<string, readonly string[]>([
  ["", Object.keys(schema.shape)],
  ["resources", Object.keys(resources.shape)],
  ["environments.*", Object.keys(environment.shape)],
  ["executors.*", Object.keys(executor.shape)],
  ["folders", Object.keys(folders.shape)],
  ["limits", Object.keys(limits.shape)],
]);

/** Reads a configuration file. Throws (exit code 2) with file, line and key for anything that it may not say. */
export function readGovernorConfig(path: string): GovernorConfigFile {
  const file = resolve(path);
  return parseGovernorConfig(readFileSync(file, "utf8"), file);
}

/** As `readGovernorConfig`; relative folders are beside the file. */
export function parseGovernorConfig(source: string, file: string): GovernorConfigFile {
  const value = parseToml(source, file);
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw problemOf(parsed.error.issues, source, file);
  const { data } = parsed;
  const beside = (folder: string | undefined): string | undefined =>
    folder === undefined ? undefined : resolve(dirname(file), folder);
  const given = data.resources ?? {};
  const bytes = (amount: string | number | undefined): number | undefined =>
    typeof amount === "string" ? parseMemory(file, amount) : amount;
  const graceS = data.limits?.kill_grace_s;
  return {
    name: data.name,
    costPerHour: data.cost_per_hour,
    pinCpus: data.pin_cpus,
    onLost: data.on_lost,
    labels: data.labels ?? {},
    cpus: given.cpus as Cpus | undefined,
    gpus: typeof given.gpus === "number" ? given.gpus : undefined,
    memory: given.memory === "detect" ? undefined : bytes(given.memory),
    named: given.named ?? {},
    environments: Object.fromEntries(
      Object.entries(data.environments ?? {}).map(([key, { prefix }]) => [key, prefix]),
    ),
    executors: Object.fromEntries(
      Object.entries(data.executors ?? {}).map(([key, own]) => [key, readExecutor(own)]),
    ),
    workdir: beside(data.folders?.work),
    logdir: beside(data.folders?.logs),
    killGraceMs: graceS === undefined ? undefined : graceS * 1_000,
    captureBytes: bytes(data.limits?.capture),
    memoryLimit: data.limits?.memory,
    taskProcesses: data.limits?.task_processes,
    cacheBytes: bytes(data.limits?.cache_size),
    transfers: data.limits?.transfers,
  };
}

const readExecutor = ({
  command,
  env,
  concurrency,
  idle_s: idleS,
}: z.infer<typeof executor>): OwnExecutor => ({
  command,
  ...(env !== undefined && { env }),
  ...(concurrency !== undefined && { concurrency }),
  ...(idleS !== undefined && { idleS }),
});

const configError = (message: string): CommandError => new CommandError(exitCodes.usage, message);

function parseToml(source: string, file: string): unknown {
  try {
    return parse(source);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const what = error.message.split("\n")[0] ?? "";
    throw configError(
      `${file}:${error.line}: ${what.replace(/^Invalid TOML document: /, "not valid TOML: ")}`,
    );
  }
}

function problemOf(issues: readonly z.core.$ZodIssue[], source: string, file: string): CommandError {
  // A key that is not known is often the one that is missing, written wrongly.
  const issue = issues.find((each) => each.code === "unrecognized_keys") ?? issues[0];
  const table = (issue?.path ?? []).map(String);
  if (issue?.code === "unrecognized_keys") {
    const key = [...table, issue.keys[0] ?? ""];
    const known = keysOf.get(table.join(".")) ?? keysOf.get(`${table[0]}.*`) ?? [];
    return configError(
      `${file}:${lineOf(source, key)}: ${key.join(".")} is not known; known here: ${known.join(", ")}`,
    );
  }
  // The words about a key of the user's own are inside.
  const what = issue?.code === "invalid_key" ? issue.issues[0]?.message : issue?.message;
  return configError(`${file}:${lineOf(source, table)}: ${table.join(".")} ${what ?? "is not valid"}`);
}

/**
 * The line, from 1, on which a key of the document begins: after the longest head of the document that is whole and
 * does not have it. A value over several lines is not whole before its last.
 */
function lineOf(source: string, key: readonly string[]): number {
  const lines = source.split("\n");
  let before = 0;
  for (let count = 1; count <= lines.length; count += 1) {
    let head: unknown;
    try {
      head = parse(lines.slice(0, count).join("\n"));
    } catch (error) {
      if (error instanceof TomlError) continue; // in the middle of a value
      throw error;
    }
    if (has(head, key)) return before + 1;
    before = count;
  }
  // A key that is missing: the line of its table.
  return key.length === 0 ? 1 : lineOf(source, key.slice(0, -1));
}

function has(value: unknown, key: readonly string[]): boolean {
  let at = value;
  for (const part of key) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, part)) return false;
    at = (at as Readonly<Record<string, unknown>>)[part];
  }
  return true;
}
