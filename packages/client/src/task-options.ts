import { limits, type Resources, type TaskSpec, type UserAttributes } from "@rain/protocol";
import {
  badRequest,
  checkFlag,
  checkName,
  checkNumber,
  checkText,
  checkUser,
  isForbiddenName,
  show,
  wrongType,
} from "./check.ts";

/** What every kind of task may be asked. */
export interface TaskOptions {
  readonly name?: string | undefined;
  /** Default 1. Parts of a cpu are allowed. */
  readonly cpus?: number | undefined;
  /** Default 0. */
  readonly gpus?: number | undefined;
  /** Bytes, or "512M", "4G": K, M, G, T are powers of 1024. Default: none in particular. */
  readonly memory?: number | string | undefined;
  /** Amounts of resources that governors declare by name. */
  readonly resources?: Readonly<Record<string, number>> | undefined;
  /** The program is stopped, and the task fails, after so long. */
  readonly timeoutS?: number | undefined;
  /** Further attempts after a failure of the program itself. */
  readonly retries?: number | undefined;
  /** Larger is sooner. */
  readonly priority?: number | undefined;
  /** Attributes of your own: JSON values by name. They are in the task's `spec` and `info`. */
  readonly user?: UserAttributes | undefined;
  /** Only governors with all of these labels may run it: `{ instance_type: "4_v100_16gb" }`. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /**
   * Do not run it when the same task has finished before, in any session of the server: its outputs are taken over. The
   * same: what is run, the bytes of its inputs, and its outputs. `info.cached` tells.
   */
  readonly cache?: boolean | undefined;
}
export const taskOptionNames: readonly string[] = [
  "name",
  "cpus",
  "gpus",
  "memory",
  "resources",
  "timeoutS",
  "retries",
  "priority",
  "user",
  "labels",
  "cache",
];

/** The part of a task's description that comes from its options. */
export type CommonSpec = Pick<
  TaskSpec,
  | "request"
  | "name"
  | "priority"
  | "timeoutS"
  | "retries"
  | "user"
  | "labels"
  | "cache"
  | "metrics"
  | "replaces"
>;

export function readTaskOptions(what: string, options: TaskOptions): CommonSpec {
  const { name, timeoutS, retries, priority, user, labels, cache } = options;
  if (timeoutS === 0) throw badRequest(`${what}: timeoutS: must be more than 0`);
  return {
    request: readRequest(what, options),
    ...(name !== undefined && { name: checkName(`${what}: name`, name) }),
    ...(priority !== undefined && {
      priority: checkNumber(`${what}: priority`, priority, -1_000_000, 1_000_000, true),
    }),
    ...(user !== undefined && { user: checkUser(`${what}: user`, user) }),
    ...(timeoutS !== undefined && { timeoutS: checkNumber(`${what}: timeoutS`, timeoutS, 0, 1e9) }),
    ...(retries !== undefined && { retries: checkNumber(`${what}: retries`, retries, 0, 1_000, true) }),
    ...(labels !== undefined && { labels: readLabels(`${what}: labels`, labels) }),
    ...(cache !== undefined && checkFlag(`${what}: cache`, cache) && { cache }),
  };
}

const MAX_AMOUNT = 1e6;

function readRequest(what: string, { cpus = 1, gpus = 0, memory, resources = {} }: TaskOptions): Resources {
  return {
    cpus: checkNumber(`${what}: cpus`, cpus, 0, MAX_AMOUNT),
    gpus: checkNumber(`${what}: gpus`, gpus, 0, MAX_AMOUNT),
    memory: memory === undefined ? 0 : readMemory(`${what}: memory`, memory),
    named: readNamed(`${what}: resources`, resources),
  };
}

function readNamed(what: string, resources: Readonly<Record<string, number>>): Record<string, number> {
  if (typeof resources !== "object" || resources === null || Array.isArray(resources)) {
    throw wrongType(`${what}: must be an object of names and amounts, not ${show(resources)}`);
  }
  const named: Record<string, number> = {};
  for (const [name, amount] of Object.entries(resources)) {
    if (!/^[A-Za-z][A-Za-z0-9_.-]{0,63}$/.test(name) || isForbiddenName(name)) {
      throw badRequest(
        `${what}: ${show(name)}: a name is a letter, then at most 63 letters, digits, '_', '.', '-'`,
      );
    }
    named[name] = checkNumber(`${what}: ${name}`, amount, 0, MAX_AMOUNT);
  }
  return named;
}

const MAX_LABEL_NAME = 128;

function readLabels(what: string, labels: unknown): Record<string, string> {
  if (typeof labels !== "object" || labels === null || Array.isArray(labels)) {
    throw wrongType(`${what}: must be an object of names and texts, not ${show(labels)}`);
  }
  const read: Record<string, string> = {};
  for (const [name, value] of Object.entries(labels)) {
    if (name === "" || name.length > MAX_LABEL_NAME || isForbiddenName(name)) {
      throw badRequest(`${what}: ${show(name)}: a name has 1 to ${MAX_LABEL_NAME} characters`);
    }
    read[name] = checkText(`${what}: ${name}`, value, limits.nameBytes);
  }
  return read;
}

const UNITS: Readonly<Record<string, number>> = { "": 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };

/** Bytes of a number or of "512M", "4G", "1.5T". */
function readMemory(what: string, value: unknown): number {
  if (typeof value === "number") return checkNumber(what, value, 0, Number.MAX_SAFE_INTEGER, true);
  if (typeof value !== "string") throw wrongType(`${what}: must be bytes or "4G", not ${show(value)}`);
  const match = /^(\d{1,15}(?:\.\d{1,9})?) ?([KMGT]?)(?:i?B)?$/i.exec(value);
  const unit = UNITS[match?.[2]?.toUpperCase() ?? "none"];
  if (!match || unit === undefined) {
    throw badRequest(
      `${what}: ${show(value)} is no amount of memory; write bytes, or a number with K, M, G or T: "4G"`,
    );
  }
  return checkNumber(what, Math.round(Number(match[1]) * unit), 0, Number.MAX_SAFE_INTEGER, true);
}
