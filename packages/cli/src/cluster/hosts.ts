import { hostname } from "node:os";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import { parseMemory } from "../options.ts";

/** A machine on which a governor is to be started. */
export interface Host {
  /** `host` or `user@host`, as ssh takes it. */
  readonly address: string;
  /** Name of the governor there; no two are the same. */
  readonly name: string;
  readonly port?: number;
  /** Absent: all of them; -N: all but N. */
  readonly cpus?: number;
  readonly gpus?: number;
  /** Bytes. */
  readonly memory?: number;
  /** Folders and files of that machine. */
  /** What becomes of its programs when it loses the server; from `rain start`, not from the file. */
  readonly onLost?: "kill" | "finish" | undefined;
  readonly workdir?: string;
  readonly config?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly resources: Readonly<Record<string, number>>;
}
/** A host before names are given out. */
export type Draft = Omit<Host, "name"> & { readonly name?: string };

/** ssh takes a leading '-' for an option. */
const addressForm = /^(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9:][A-Za-z0-9._:-]*$/;
const nameForm = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * Reads a host file: one `user@host key=value ...` a line, `#` to the end of a line is a comment. Throws (exit code 2)
 * with `where` and the line for anything else.
 */
export function parseHostFile(text: string, where: string): readonly Host[] {
  const drafts: Draft[] = [];
  for (const [at, line] of text.split("\n").entries()) {
    const [address, ...settings] = wordsOf(line);
    if (address === undefined) continue;
    const fail = (what: string): CommandError =>
      new CommandError(exitCodes.usage, `${where}:${at + 1}: ${what}`);
    if (!addressForm.test(address))
      throw fail(`${JSON.stringify(address)} is no host; write host or user@host, then settings`);
    drafts.push(readSettings(address, settings, fail));
  }
  if (drafts.length === 0) throw new CommandError(exitCodes.usage, `${where} names no host`);
  return nameHosts(drafts, where);
}

/** Words of a line; quotes keep blanks together: label.room="the cellar". */
function wordsOf(line: string): string[] {
  const words = line.match(/(?:[^\s"]|"[^"]*")+/g) ?? [];
  const comment = words.findIndex((word) => word.startsWith("#"));
  return (comment < 0 ? words : words.slice(0, comment)).map((word) => word.replaceAll('"', ""));
}

type Fail = (what: string) => CommandError;

function readSettings(address: string, settings: readonly string[], fail: Fail): Draft {
  const labels: Record<string, string> = {};
  const resources: Record<string, number> = {};
  const rest: { -readonly [K in keyof Draft]?: Draft[K] } = {};
  for (const setting of settings) {
    const at = setting.indexOf("=");
    if (at < 1) throw fail(`${JSON.stringify(setting)}: write key=value, as cpus=8`);
    const key = setting.slice(0, at);
    const value = setting.slice(at + 1);
    const own = /^(label|resource)\.(.+)$/.exec(key);
    if (own?.[1] === "label") labels[own[2] ?? ""] = value;
    else if (own !== null) resources[own[2] ?? ""] = amountOf(key, value, fail);
    else Object.assign(rest, { [key]: settingOf(key, value, fail) });
  }
  return { ...rest, address, labels, resources };
}

const keys = ["name", "port", "cpus", "gpus", "memory", "workdir", "config"] as const;

function settingOf(key: string, value: string, fail: Fail): string | number {
  switch (key) {
    case "port":
    case "cpus":
    case "gpus": {
      const least = key === "gpus" ? 0 : 1;
      if (/^\d{1,5}$/.test(value) && Number(value) >= least) return Number(value);
      throw fail(`${key}=${value}: write a whole number from ${least}`);
    }
    case "memory":
      return parseMemory("memory", value);
    case "name":
      if (nameForm.test(value)) return value;
      throw fail(`name=${value}: use letters, digits, '.', '_' and '-', 64 at most`);
    case "workdir":
    case "config":
      if (value !== "") return value;
      throw fail(`${key}= names nothing`);
    default:
      throw fail(`${key} is not known; known are ${keys.join(", ")}, label.NAME and resource.NAME`);
  }
}

function amountOf(key: string, value: string, fail: Fail): number {
  if (/^\d{1,6}(\.\d{1,6})?$/.test(value)) return Number(value);
  throw fail(`${key}=${value}: write an amount from 0`);
}

/** Gives each host without a name that of its machine, with a number where several have the same. */
export function nameHosts(drafts: readonly Draft[], where: string): readonly Host[] {
  const taken = new Set<string>();
  for (const { name } of drafts) {
    if (name === undefined) continue;
    if (taken.has(name)) throw new CommandError(exitCodes.usage, `${where}: the name ${name} is given twice`);
    taken.add(name);
  }
  return drafts.map((draft) => {
    if (draft.name !== undefined) return { ...draft, name: draft.name };
    const base = machineOf(draft.address)
      .replaceAll(":", "-")
      .replace(/^[^A-Za-z0-9]+/, "")
      .slice(0, 56);
    let name = base;
    for (let number = 2; taken.has(name); number += 1) name = `${base}-${number}`;
    taken.add(name);
    return { ...draft, name };
  });
}

const machineOf = (address: string): string => address.slice(address.indexOf("@") + 1);

/** Is this host the machine that we are on? */
export function isThisMachine(address: string, own: string = hostname()): boolean {
  const machine = machineOf(address);
  const first = (name: string): string => name.split(".")[0] ?? name;
  return (
    ["localhost", "127.0.0.1", "::1", own].includes(machine) ||
    machine === first(own) ||
    first(machine) === own
  );
}
