import {
  closeSync,
  fsyncSync,
  linkSync,
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

const daemonFile = (instance: Instance, role: Role, name: string): string =>
  join(instance.runDir, role === "server" ? "server.json" : `governor-${name}.json`);

/** Writes a whole file or none: readers see the old text or the new one. */
export const writeWhole = (path: string, text: string): void => renameSync(writeDraft(path, text), path);

function writeDraft(path: string, text: string): string {
  const draft = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  const fd = openSync(draft, "w", 0o600);
  try {
    let rest = Buffer.from(text);
    while (rest.length > 0) rest = rest.subarray(writeSync(fd, rest));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  return draft;
}

/**
 * Writes this process down as a daemon of the instance, before it starts to serve, so that it can be stopped meanwhile.
 * Throws (exit code 1) when another process has that place.
 */
export function claimDaemon(
  instance: Instance,
  facts: { readonly role: Role; readonly name: string; readonly log?: string },
): Daemon {
  const identity = identify(process.pid);
  if (identity === undefined)
    throw new CommandError(
      exitCodes.failed,
      "there is no /proc/self/stat: daemons need Linux with /proc mounted",
    );
  const daemon: Daemon = { ...facts, ...identity, file: daemonFile(instance, facts.role, facts.name) };
  ensureDir(instance.runDir);
  const other = readDaemon(daemon.file);
  if (other !== undefined && isAlive(other)) throw alreadyRuns(instance, other);
  // A link, unlike a rename, fails when there is a file: of two that start at once, one gets the place.
  rmSync(daemon.file, { force: true });
  const draft = writeDraft(daemon.file, daemonText(daemon));
  try {
    linkSync(draft, daemon.file);
  } catch (error) {
    const first = readDaemon(daemon.file);
    if ((error as NodeJS.ErrnoException).code !== "EEXIST" || first === undefined) throw error;
    throw alreadyRuns(instance, first);
  } finally {
    rmSync(draft);
  }
  return daemon;
}

/** Adds the server's address to its file. */
export function addUrl(daemon: Daemon, url: string): Daemon {
  const changed = { ...daemon, url };
  writeWhole(daemon.file, daemonText(changed));
  return changed;
}

const daemonText = (daemon: Daemon): string => `${JSON.stringify({ ...daemon, file: undefined })}\n`;

function alreadyRuns(instance: Instance, { role, name, pid, url }: Daemon): CommandError {
  const what = role === "server" ? `its server${url === undefined ? "" : ` ${url}`}` : `governor ${name}`;
  const remedy =
    role === "server"
      ? '"rain stop" ends it, --instance NAME starts another beside it'
      : '"rain stop" ends it, --name NAME starts another beside it';
  return new CommandError(
    exitCodes.failed,
    `instance ${instance.name} runs already: ${what} (pid ${pid}). ${remedy}`,
    { instance: instance.name, pid, name, ...(url === undefined ? {} : { url }) },
  );
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

/** Throws (exit code 1) when the instance has a server on this machine. */
export function refuseSecondServer(instance: Instance): void {
  const server = runningServer(instance);
  if (server !== undefined) throw alreadyRuns(instance, server);
}

/** Removes the files of daemons that ended without doing so. */
export function removeStale(instance: Instance): void {
  for (const file of listDaemons(instance).stale) rmSync(file, { force: true });
}
