import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { exitCodes } from "./exit-codes.ts";
import { CommandError } from "./failure.ts";
import { identify, isAlive, type ProcessIdentity } from "./processes.ts";

/**
 * The folder of an instance on this machine:
 *
 *     access.json          address and keys; written by the server
 *     journal/             the server's journal
 *     logs/                server.log, governor-NAME.log of daemons that `rain start` made
 *     governors/NAME/      work folders of governors
 *     run/                 one file a running daemon: server.json, governor-NAME.json
 */
export interface Instance {
  readonly name: string;
  readonly dir: string;
  readonly accessFile: string;
  readonly journalDir: string;
  readonly logDir: string;
  readonly runDir: string;
  readonly governorsDir: string;
}

export async function openInstance(name: string | undefined): Promise<Instance> {
  const { instanceDir } = await import("@rain/protocol/access");
  const dir = instanceDir(name);
  return {
    name: name ?? basename(dir),
    dir,
    accessFile: join(dir, "access.json"),
    journalDir: join(dir, "journal"),
    logDir: join(dir, "logs"),
    runDir: join(dir, "run"),
    governorsDir: join(dir, "governors"),
  };
}

/** Makes a folder that only its owner may enter; one that exists keeps its mode. */
export const ensureDir = (dir: string): void => void mkdirSync(dir, { recursive: true, mode: 0o700 });

export type Role = "server" | "governor";

/** A daemon of this instance, as it wrote itself down in run/. */
export interface Daemon extends ProcessIdentity {
  readonly role: Role;
  /** "server", or the governor's name. */
  readonly name: string;
  /** Of the server; absent until it listens. */
  readonly url?: string;
  /** Where it logs; absent when that is a terminal. */
  readonly log?: string;
  /** Its file in run/. */
  readonly file: string;
}

export const daemonFile = (instance: Instance, role: Role, name: string): string =>
  join(instance.runDir, role === "server" ? "server.json" : `governor-${name}.json`);

/** Writes a whole file or none: readers see the old text or the new one. */
export function writeWhole(path: string, text: string): void {
  const draft = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  const fd = openSync(draft, "w", 0o600);
  try {
    let rest = Buffer.from(text);
    while (rest.length > 0) rest = rest.subarray(writeSync(fd, rest));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(draft, path);
}

/** Writes this process down as a daemon of the instance. */
export function writeDaemon(
  instance: Instance,
  facts: { readonly role: Role; readonly name: string; readonly url?: string; readonly log?: string },
): Daemon {
  const identity = identify(process.pid);
  if (identity === undefined)
    throw new Error("no /proc/self/stat: Rain's daemons need Linux with /proc mounted");
  const daemon: Daemon = { ...facts, ...identity, file: daemonFile(instance, facts.role, facts.name) };
  ensureDir(instance.runDir);
  writeWhole(daemon.file, `${JSON.stringify({ ...daemon, file: undefined })}\n`);
  return daemon;
}

/** Removes a daemon's file, unless another process has written itself there since. */
export function removeDaemon(daemon: Daemon): void {
  const now = readDaemon(daemon.file);
  if (now === undefined || (now.pid === daemon.pid && now.startTime === daemon.startTime))
    rmSync(daemon.file, { force: true });
}

/** Reads one file of run/; undefined when it is gone or is not ours. A damaged one is worth no more than none. */
export function readDaemon(file: string): Daemon | undefined {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" || error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { pid, startTime, bootId, role, name, url, log } = value as Readonly<Record<string, unknown>>;
  if (typeof pid !== "number" || !Number.isInteger(pid) || pid < 2) return undefined;
  if (typeof startTime !== "string" || typeof bootId !== "string" || typeof name !== "string")
    return undefined;
  if (role !== "server" && role !== "governor") return undefined;
  return {
    role,
    name,
    pid,
    startTime,
    bootId,
    file,
    ...(typeof url === "string" ? { url } : {}),
    ...(typeof log === "string" ? { log } : {}),
  };
}

/** The daemons of the instance that run now, the server first, and files of those that do not. */
export function listDaemons(instance: Instance): { readonly alive: Daemon[]; readonly stale: string[] } {
  let names: string[];
  try {
    names = readdirSync(instance.runDir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { alive: [], stale: [] };
    throw error;
  }
  const alive: Daemon[] = [];
  const stale: string[] = [];
  for (const name of names.filter((one) => /^(server|governor-.+)\.json$/.test(one)).toSorted()) {
    const file = join(instance.runDir, name);
    const daemon = readDaemon(file);
    if (daemon !== undefined && isAlive(daemon)) alive.push(daemon);
    else stale.push(file);
  }
  return {
    alive: alive.toSorted((a, b) => Number(b.role === "server") - Number(a.role === "server")),
    stale,
  };
}

/** The server of this instance on this machine, when it runs. */
export function runningServer(instance: Instance): Daemon | undefined {
  const daemon = readDaemon(join(instance.runDir, "server.json"));
  return daemon !== undefined && isAlive(daemon) ? daemon : undefined;
}

/** Throws when the instance has a server on this machine: exit code 1, with its address, process and the remedy. */
export function refuseSecondServer(instance: Instance): void {
  const server = runningServer(instance);
  if (server === undefined) return;
  throw new CommandError(
    exitCodes.failed,
    `instance ${instance.name} runs already: server ${server.url ?? ""} (pid ${server.pid}). "rain stop" ends it, ` +
      "--instance NAME starts another beside it",
    { instance: instance.name, pid: server.pid, url: server.url ?? null },
  );
}

/** Removes the files of daemons that ended without doing so. */
export function removeStale(instance: Instance): void {
  for (const file of listDaemons(instance).stale) rmSync(file, { force: true });
}
