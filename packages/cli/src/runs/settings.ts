import { plainName } from "@rain/protocol";
import { nearMisses, oneOf, STRATEGIES } from "@rain/sweep";
import { usageError } from "../failure.ts";
import type { RunSettings, SettingName } from "./flags.ts";
import type { Goal } from "./manifest.ts";

/**
 * The values of the settings of flags.ts. A flag and a key of the YAML file are read by the same function, from the
 * text as it was written.
 */
/** How one setting is read from a text. */
interface Reader<T> {
  /** `what` is how errors call it: `--cpus`. */
  readonly read: (what: string, text: string) => T;
}

const shown = (text: string): string => JSON.stringify(text.slice(0, 200));
const wrong = (what: string, text: string, rule: string): Error =>
  usageError(`${what} ${shown(text)}: ${rule}`);

const readText = (what: string, text: string): string => {
  if (text === "" || text.includes("\0")) throw wrong(what, text, "write a text");
  return text;
};

function readName(what: string, text: string): string {
  if (plainName.safeParse(text).success) return text;
  throw wrong(
    what,
    text,
    "use lower case letters, digits and '-', 63 at most; it starts with a letter and ends with a letter or digit",
  );
}

function readWhole(min: number, max: number): (what: string, text: string) => number {
  return (what, text) => {
    const value = Number(text);
    if (!/^\d{1,16}$/.test(text) || value < min || value > max)
      throw wrong(what, text, `write a whole number from ${min} to ${max}`);
    return value;
  };
}

function readAmount(what: string, text: string): number {
  const value = Number(text);
  if (!/^\d{1,6}(\.\d{1,6})?$/.test(text)) throw wrong(what, text, "write a number from 0, as 2 or 0.5");
  return value;
}

const units: Readonly<Record<string, number>> = { M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
function readMemory(what: string, text: string): number {
  const [, digits, unit = ""] = /^(\d{1,9}(?:\.\d{1,6})?)([MGT])i?B?$/i.exec(text) ?? [];
  const bytes = Math.round(Number(digits) * (units[unit.toUpperCase()] ?? Number.NaN));
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  const remedy = /^\d+$/.test(text) ? `write the unit too: ${text}G` : "write a number with its unit, as 10G";
  throw wrong(what, text, remedy);
}
const writeMemory = (bytes: number): string =>
  bytes % 2 ** 30 === 0 ? `${bytes / 2 ** 30}G` : `${bytes / 2 ** 20}M`;

function readDisk(what: string, text: string): number {
  const [, digits] = /^(\d{1,6}(?:\.\d{1,3})?)G?i?B?$/i.exec(text) ?? [];
  if (digits === undefined || Number(digits) === 0)
    throw wrong(what, text, "write gigabytes, as 200 or 200G");
  return Number(digits);
}

const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };
function readTimeout(what: string, text: string): number {
  const [, digits, unit = "s"] = /^(\d{1,9}(?:\.\d{1,3})?)([smhd])?$/.exec(text) ?? [];
  const value = Number(digits) * (seconds[unit] ?? 1);
  if (value > 0 && value <= 1e9) return value;
  throw wrong(what, text, "write seconds, or a number with s, m, h or d, as 90 or 2h");
}

function readMetric(what: string, text: string): { readonly name: string; readonly goal?: Goal } {
  const [, name = "", goal] = /^([^]*?)(?::([^:]*))?$/.exec(text) ?? [];
  if (name.trim() === "" || Buffer.byteLength(name) > MAX_METRIC)
    throw wrong(what, text, "write NAME, NAME:min or NAME:max");
  if (goal === undefined) return { name };
  if (goal === "min" || goal === "max") return { name, goal };
  throw wrong(what, text, `after the colon stands min or max, not ${shown(goal)}`);
}
const MAX_METRIC = 256;
const writeMetric = ({ name, goal }: NonNullable<RunSettings["metric"]>): string =>
  goal === undefined ? name : `${name}:${goal}`;

function readStrategy(what: string, text: string): string {
  if (STRATEGIES.some((known) => known === text)) return text;
  const near = nearMisses(text, STRATEGIES);
  throw wrong(what, text, `write ${oneOf(near.length > 0 ? near : STRATEGIES)}`);
}

function readFlag(what: string, text: string): boolean {
  if (/^(true|yes)$/i.test(text)) return true;
  if (/^(false|no)$/i.test(text)) return false;
  throw wrong(what, text, "write true or false");
}

/** A place in the task's folder, or of the machine that runs the trial. */
function readMountDir(what: string, text: string): string {
  if (text.startsWith("/"))
    throw wrong(
      what,
      text,
      "a datastore is mounted inside each trial's own folder: write a relative path; RAIN_DATASTORE has its absolute path",
    );
  const parts = text.replace(/\/+$/, "").split("/");
  if (text === "" || parts.some((part) => ["", ".", ".."].includes(part) || part.includes("\\")))
    throw wrong(what, text, "write a path inside the trial's folder, as data or data/digits");
  return parts.join("/");
}

const text: Reader<string> = { read: readText };
const amount: Reader<number> = { read: readAmount };
const flag: Reader<boolean> = { read: readFlag };
const whole = (min: number, max: number): Reader<number> => ({ read: readWhole(min, max) });

/** The readers, by setting. */
const readers: { readonly [K in SettingName]: Reader<NonNullable<RunSettings[K]>> } = {
  name: { read: readName },
  description: text,
  cpus: amount,
  gpus: amount,
  memory: { read: readMemory },
  diskSize: { read: readDisk },
  instanceType: text,
  framework: text,
  maxNodes: whole(1, 10_000_000),
  datastoreName: { read: readName },
  datastoreVersion: whole(1, 2 ** 31 - 1),
  datastoreMountDir: { read: readMountDir },
  credential: text,
  strategy: { read: readStrategy },
  trials: whole(1, 10_000_000),
  where: text,
  repeat: whole(1, 1_000_000),
  seed: whole(0, 2 ** 32 - 1),
  metric: { read: readMetric },
  parallelism: whole(1, 1_000_000),
  failFast: flag,
  maxFails: whole(1, 10_000_000),
  timeout: { read: readTimeout },
  retries: whole(0, 1_000),
  cache: flag,
  localdir: { read: (what, given) => (given === "false" ? false : readText(what, given)) },
  ignoreWarnings: flag,
};

/** Reads one setting as a record with it. `what` is how errors call it. */
export const readSetting = (name: SettingName, what: string, given: string): RunSettings =>
  Object.fromEntries([[name, readers[name].read(what, given)]]);

/** The text of a setting that is there; undefined for one that is not. */
export function writeSetting(settings: RunSettings, name: SettingName): string | undefined {
  const { memory, metric } = settings;
  if (name === "memory") return memory === undefined ? undefined : writeMemory(memory);
  if (name === "metric") return metric === undefined ? undefined : writeMetric(metric);
  const value = settings[name];
  return value === undefined ? undefined : String(value);
}
