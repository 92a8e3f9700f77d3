import * as fs from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { RainError } from "../errors.ts";

export { secureFolder } from "./secure.ts";

/** Who holds a folder. Pid, start time and boot together never name two processes. */
interface Holder {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot; absent where there is no /proc. */
  readonly startTicks?: string | undefined;
  readonly bootId?: string | undefined;
  /** When it started, ISO 8601. */
  readonly since: string;
}
const holderSchema: z.ZodType<Holder> = z.object({
  pid: z.int().positive(),
  startTicks: z.string().optional(),
  bootId: z.string().optional(),
  since: z.string(),
});

interface Place {
  readonly folder: string;
  /** The lock file. */
  readonly lock: string;
  readonly words: LockWords;
}

const LOCK = "lock";
const TAKEOVER = "lock.takeover";

/** How an error names what is locked and what to do about it. */
export interface LockWords {
  /** "the journal". */
  readonly what: string;
  readonly remedy: string;
}

/**
 * Makes this process the only one that uses a folder, by a file `lock` in it. Throws RainError "not-allowed" with
 * facts { pid, since } while another one lives; a lock whose process is gone (also by a reboot, or its pid used again)
 * is taken over. Returns the function that gives the folder free.
 */
export async function lockFolder(folder: string, words: LockWords): Promise<() => Promise<void>> {
  await fs.mkdir(folder, { recursive: true, mode: 0o700 });
  const lock = join(folder, LOCK);
  const mine = await describeSelf();
  if (!(await createLock(folder, LOCK, mine))) await takeOver({ folder, lock, words }, mine);
  let held = true;
  return async () => {
    if (!held) return;
    held = false;
    if (sameHolder(await readHolder(lock), mine)) await fs.unlink(lock);
  };
}

/**
 * Throws RainError "not-allowed", as `lockFolder` does, while a process holds the folder. Writes nothing, so that it
 * works on a copy that cannot be written to; another process may take the lock right after it.
 */
export async function refuseLocked(folder: string, words: LockWords): Promise<void> {
  const lock = join(folder, LOCK);
  await refuseIfAlive({ folder, lock, words }, await readHolder(lock));
}

/** Replaces a lock whose holder is gone. A second file makes sure that only one process does so at a time. */
async function takeOver(place: Place, mine: Holder): Promise<void> {
  const { folder, lock } = place;
  await refuseIfAlive(place, await readHolder(lock));
  const takeover = join(folder, TAKEOVER);
  if (!(await createLock(folder, TAKEOVER, mine))) {
    await refuseIfAlive(place, await readHolder(takeover));
    await fs.rm(takeover, { force: true });
    if (!(await createLock(folder, TAKEOVER, mine))) throw inUse(place, await readHolder(takeover));
  }
  try {
    // Read again: another process may have taken the lock over since.
    await refuseIfAlive(place, await readHolder(lock));
    await fs.rm(lock, { force: true });
    if (!(await createLock(folder, LOCK, mine))) throw inUse(place, await readHolder(lock));
  } finally {
    await fs.rm(takeover, { force: true });
  }
}

let drafts = 0;

/** Makes the file with its content in one step, so that nobody reads a half of it; false when the name is taken. */
async function createLock(folder: string, name: string, mine: Holder): Promise<boolean> {
  drafts += 1;
  const draft = join(folder, `${name}.${process.pid}-${drafts}`);
  await fs.writeFile(draft, JSON.stringify(mine), { mode: 0o600 });
  try {
    await fs.link(draft, join(folder, name));
    return true;
  } catch (error) {
    if (isErrno(error, "EEXIST")) return false;
    throw error;
  } finally {
    await fs.rm(draft, { force: true });
  }
}

/** The holder in a lock file; undefined when there is none, or nothing readable (never made by a whole process). */
async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const parsed = holderSchema.safeParse(JSON.parse(await fs.readFile(path, "utf8")));
    return parsed.success ? parsed.data : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

async function refuseIfAlive(place: Place, holder: Holder | undefined): Promise<void> {
  if (holder !== undefined && (await isAlive(holder))) throw inUse(place, holder);
}

function inUse({ folder, words }: Place, holder: Holder | undefined): RainError {
  const who =
    holder === undefined
      ? "another process that is starting"
      : `process ${holder.pid}, started ${holder.since}`;
  return new RainError("not-allowed", `${words.what} in ${folder} is in use by ${who}; ${words.remedy}`, {
    folder,
    pid: holder?.pid ?? null,
    since: holder?.since ?? null,
  });
}

async function isAlive(holder: Holder): Promise<boolean> {
  if (holder.bootId !== undefined && holder.bootId !== (await bootId())) return false;
  if (!hasProcess(holder.pid)) return false;
  if (holder.startTicks === undefined) return true;
  const found = await readStat(holder.pid);
  // A zombie has ended, and waits for a parent that may never ask: in a container, process 1 often does not.
  return found !== undefined && found.state !== "Z" && found.startTicks === holder.startTicks;
}

function hasProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there and belongs to someone else.
    return isErrno(error, "EPERM");
  }
}

const describeSelf = async (): Promise<Holder> => ({
  pid: process.pid,
  startTicks: (await readStat(process.pid))?.startTicks,
  bootId: await bootId(),
  since: new Date(Date.now() - process.uptime() * 1_000).toISOString(),
});
const sameHolder = (a: Holder | undefined, b: Holder): boolean =>
  a?.pid === b.pid && a.startTicks === b.startTicks && a.bootId === b.bootId;

/** Fields 3 and 22, counted after the name in parentheses, which may itself hold spaces and parentheses. */
async function readStat(
  pid: number,
): Promise<{ state: string | undefined; startTicks: string | undefined } | undefined> {
  const stat = await readIfThere(`/proc/${pid}/stat`);
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields && { state: fields[0], startTicks: fields[19] };
}
const bootId = async (): Promise<string | undefined> =>
  (await readIfThere("/proc/sys/kernel/random/boot_id"))?.trim();

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await fs.readFile(path, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT") || isErrno(error, "ESRCH")) return undefined;
    throw error;
  }
}

const isErrno = (error: unknown, code: string): boolean =>
  error instanceof Error && Reflect.get(error, "code") === code;
