import { usageError } from "./failure.ts";

/** Readers of option texts. Each throws a usage error that names the option, the text and the form it must have. */

export interface Address {
  readonly host: string;
  readonly port: number;
}
const defaultPort = 7210; // DEFAULT_PORT of the protocol, which is not loaded for a command line
const loopback = "127.0.0.1";
const quote = (text: string): string => JSON.stringify(text.slice(0, 200));

function readPort(option: string, text: string, digits: string): number {
  const port = Number(digits);
  if (!/^\d{1,5}$/.test(digits) || port > 65_535)
    throw usageError(`${option} ${quote(text)}: the port must be a number from 0 to 65535`);
  return port;
}

/** `HOST:PORT`, `[::1]:PORT` or `HOST`, with the port defaulting to 7210. */
export function parseAddress(option: string, text: string): Address {
  const bracketed = /^\[([^\]]+)\](?::(.*))?$/.exec(text);
  if (bracketed)
    return { host: bracketed[1] ?? "", port: readPort(option, text, bracketed[2] ?? `${defaultPort}`) };
  const parts = text.split(":");
  if (parts.length > 2) throw usageError(`${option} ${quote(text)}: write an IPv6 address as [ADDRESS]:PORT`);
  const host = parts[0] ?? "";
  if (!/^[A-Za-z0-9._-]+$/.test(host)) throw usageError(`${option} ${quote(text)}: write HOST or HOST:PORT`);
  return { host, port: readPort(option, text, parts[1] ?? `${defaultPort}`) };
}

/** Where a server listens: `PORT` alone is on loopback. */
export const parseListen = (option: string, text: string): Address =>
  /^\d+$/.test(text) ? { host: loopback, port: readPort(option, text, text) } : parseAddress(option, text);

/** A name or an address of a machine, without a port. */
export function parseHost(option: string, text: string): string {
  const host = /^\[([^\]]+)\]$/.exec(text)?.[1] ?? text;
  if (!/^[A-Za-z0-9._-]{1,255}$/.test(host) && !/^[0-9A-Fa-f:.]{2,45}$/.test(host))
    throw usageError(`${option} ${quote(text)}: write the name or the address of a machine`);
  return host;
}
export const isLoopback = (host: string): boolean => ["localhost", "127.0.0.1", "::1"].includes(host);

/** Formats an address as `host:port`, with brackets about an IPv6 host. */
export const formatAddress = ({ host, port }: Address): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

/** How many cpus a governor offers: all of the machine, all but some, or so many. */
export type Cpus = "detect" | number;
/** `detect`, `N` or `-N` (all but N). */
export function parseCpus(option: string, text: string): Cpus {
  if (text === "detect") return "detect";
  const cpus = Number(text);
  if (!/^-?\d{1,5}$/.test(text) || cpus === 0)
    throw usageError(`${option} ${quote(text)}: write a number N, -N (all cpus but N) or "detect"`);
  return cpus;
}

/** `[4,4,2]` or `4,4,2`: cpus of each local governor. */
export function parseLocalGovernors(option: string, text: string): readonly number[] {
  const inner = /^\s*\[(.*)\]\s*$/.exec(text)?.[1] ?? text;
  const parts = inner.split(",").map((part) => part.trim());
  if (!parts.every((part) => /^[1-9]\d{0,4}$/.test(part)))
    throw usageError(`${option} ${quote(text)}: write the cpus of each governor, as [4,4,2] or 4,4,2`);
  if (parts.length > 256)
    throw usageError(`${option}: ${parts.length} governors are more than the 256 that one start makes`);
  return parts.map(Number);
}

const byteUnits: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
/** `8G`, `512M`, `1.5G`, `1073741824`: bytes, units of 1024. */
export function parseMemory(option: string, text: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT])?(?:i?B)?$/i.exec(text);
  const bytes = match
    ? Math.round(Number(match[1]) * (byteUnits[(match[2] ?? "").toUpperCase()] ?? 1))
    : Number.NaN;
  if (!Number.isSafeInteger(bytes))
    throw usageError(`${option} ${quote(text)}: write bytes with a unit K, M, G or T, as 8G`);
  return bytes;
}

/** A number of whole units from 0. */
export function parseCount(option: string, text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw usageError(`${option} ${quote(text)}: write a whole number from 0`);
  return Number(text);
}

/** Seconds, more than 0. */
export function parseSeconds(option: string, text: string): number {
  const seconds = Number(text);
  if (!/^\d{1,9}(\.\d{1,3})?$/.test(text) || seconds <= 0)
    throw usageError(`${option} ${quote(text)}: write seconds, more than 0`);
  return seconds;
}

/** `name=N`: a resource of the user's own. */
export function parseResource(option: string, text: string): readonly [string, number] {
  const match = /^([A-Za-z][A-Za-z0-9_.-]{0,63})=(\d{1,6}(?:\.\d{1,6})?)$/.exec(text);
  const [, name, amount] = match ?? [];
  if (name === undefined || amount === undefined)
    throw usageError(`${option} ${quote(text)}: write NAME=N; a name starts with a letter`);
  if (["cpus", "gpus", "memory"].includes(name))
    throw usageError(`${option} ${quote(text)}: ${name} has an option of its own, --${name}`);
  return [name, Number(amount)];
}

/** `key=value`. */
export function parseLabel(option: string, text: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at < 1 || at > 128) throw usageError(`${option} ${quote(text)}: write KEY=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** `NAME=COMMAND`: an own executor and the line that starts it. */
export function parseExecutor(option: string, text: string): readonly [string, string] {
  const [, name, command] = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})=(.*\S.*)$/s.exec(text) ?? [];
  if (name === undefined || command === undefined)
    throw usageError(
      `${option} ${quote(text)}: write NAME=COMMAND; a name has letters, digits, '_', '.', '-', 64 at most`,
    );
  return [name, command];
}

/** The name of an instance or governor is part of a path, so it is plain. */
export function parseName(option: string, text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text))
    throw usageError(`${option} ${quote(text)}: use letters, digits, '.', '_' and '-', 64 at most`);
  return text;
}

/** `3/17`: task 17 of session 3. */
export function parseTaskRef(text: string): { readonly session: number; readonly task: number } {
  const match = /^(\d{1,9})\/(\d{1,9})$/.exec(text);
  if (!match)
    throw usageError(`task ${quote(text)}: write SESSION/TASK, as 3/17 ("rain status" shows sessions)`);
  return { session: Number(match[1]), task: Number(match[2]) };
}

/** `http://host:port` on this machine: the near end of a tunnel to a data port. */
export function parseDataUrl(option: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" || url.pathname !== "/" || !isLoopback(url.hostname.replaceAll(/[[\]]/g, "")))
    throw usageError(
      `${option} ${quote(text)}: write http://127.0.0.1:PORT; data between machines goes through a tunnel`,
    );
  return url.origin;
}

const plainName = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/; // that of the protocol, which is not loaded here

/** A run by its name or by the number of its session. */
export type RunRef = { readonly name: string } | { readonly session: number };
/** `calm-otter-001` or `3`. */
export function parseRunRef(text: string): RunRef {
  if (/^\d{1,9}$/.test(text)) return { session: Number(text) };
  if (!plainName.test(text))
    throw usageError(
      `RUN ${quote(text)}: write the name of a run (lower case letters, digits and '-'; it starts with a letter) or ` +
        'the number of its session ("rain list" shows both)',
    );
  return { name: text };
}
/** A task as SESSION/TASK, or a run. */
export type RunOrTask = RunRef | { readonly session: number; readonly task: number };
export const parseRunOrTask = (text: string): RunOrTask =>
  text.includes("/") ? parseTaskRef(text) : parseRunRef(text);

/** The number of a trial: `7`, or its task's name, `calm-otter-001-exp7`. */
export function parseExperiment(option: string, text: string): number {
  const digits = /^(?:.+-exp)?(\d{1,7})$/.exec(text)?.[1];
  if (digits === undefined)
    throw usageError(
      `${option} ${quote(text)}: write the number of an experiment, as "rain results" shows it`,
    );
  return Number(digits);
}

/** A name that is kept for later: lower case letters, digits and '-'. */
export function parsePlainName(option: string, text: string): string {
  if (!plainName.test(text))
    throw usageError(
      `${option} ${quote(text)}: use lower case letters, digits and '-', 63 at most; start with a letter and end with a ` +
        "letter or digit",
    );
  return text;
}
