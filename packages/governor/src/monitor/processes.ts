import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { errorCode } from "./errno.ts";

/** What `/proc/<pid>/stat` says of a process. `startTime` in clock ticks since boot: with the pid it names one process. */
export interface ProcessStat {
  readonly pid: number;
  readonly state: string;
  readonly group: number;
  readonly session: number;
  readonly startTime: number;
  readonly kernelThread: boolean;
}

/** A live process that belongs to this governor's tasks. */
export interface TaskProcess {
  readonly pid: number;
  readonly startTime: number;
  /** Launcher in whose session or group it is. */
  readonly launcher: number | undefined;
  /** Attempt named by its cookie, `session/task/attempt`. */
  readonly attempt: string | undefined;
}

interface Cookie {
  readonly startTime: number;
  readonly attempt: string;
}

const PF_KTHREAD = 0x00200000;
/** Pids come round again only after a whole turn of the pid space: within this time none of them can. */
const TRUST_FOREIGN_MS = 1_000;

const gone = (error: unknown): boolean => ["ENOENT", "ESRCH"].includes(errorCode(error) ?? "");
const forbidden = (error: unknown): boolean => ["EACCES", "EPERM"].includes(errorCode(error) ?? "");

/** What these files hold is shorter. Node's own reading of a file of unknown size makes 64 KiB of garbage each time. */
const proc = Buffer.alloc(16_384);

function readProc(path: string): string {
  const file = openSync(path, "r");
  try {
    return proc.toString("latin1", 0, readSync(file, proc, 0, proc.length, 0));
  } finally {
    closeSync(file);
  }
}

/** As `readProc`, of any length. */
function readLongProc(path: string): string {
  const file = openSync(path, "r");
  try {
    let text = "";
    for (;;) {
      const bytes = readSync(file, proc, 0, proc.length, null);
      if (bytes === 0) return text;
      text += proc.toString("latin1", 0, bytes);
    }
  } finally {
    closeSync(file);
  }
}

export function parseStat(pid: number, text: string): ProcessStat {
  // The name, in parentheses, may itself contain spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return {
    pid,
    state: fields[0] ?? "",
    group: Number(fields[2]),
    session: Number(fields[3]),
    startTime: Number(fields[19]),
    kernelThread: (Number(fields[6]) & PF_KTHREAD) !== 0,
  };
}

/**
 * Undefined when there is no such process. Synchronous: the kernel answers it from memory, and a caller that sends
 * a signal must do so in the same breath.
 */
export function readStat(pid: number): ProcessStat | undefined {
  try {
    return parseStat(pid, readProc(`/proc/${pid}/stat`));
  } catch (error) {
    if (gone(error)) return undefined;
    throw error;
  }
}

/** Largest resident memory that the process ever had and what it has now, bytes; undefined when it is gone. */
export function readMemory(pid: number): { readonly peak: number; readonly now: number } | undefined {
  try {
    const text = readProc(`/proc/${pid}/status`);
    const [peak, now] = [/^VmHWM:\s*(\d+) kB/m.exec(text), /^VmRSS:\s*(\d+) kB/m.exec(text)];
    return peak ? { peak: Number(peak[1]) * 1024, now: Number(now?.[1] ?? 0) * 1024 } : undefined;
  } catch (error) {
    if (gone(error)) return undefined;
    throw error;
  }
}

/** Memory of processes, bytes, each with its part of what it shares; undefined where the system does not tell. */
export function readSharedMemory(pids: readonly number[]): number | undefined {
  let total = 0;
  for (const pid of pids) {
    try {
      const match = /^Pss:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "latin1"));
      if (!match) return undefined;
      total += Number(match[1]) * 1024;
    } catch (error) {
      // A process that ends has given its memory back a while before it is over: the kernel says that it is not there.
      if (gone(error) && (errorCode(error) === "ESRCH" || isOver(pid))) continue;
      if (gone(error) || forbidden(error)) return undefined; // an old kernel, or another user's
      throw error;
    }
  }
  return total;
}

/** At the latest. The number of a session is its first process's, and no other gets it as long as there is one left. */
function sessionBegan({ pid, session, startTime }: ProcessStat): number {
  const leader = session === pid ? undefined : readStat(session);
  return Math.min(startTime, leader?.startTime ?? startTime);
}

const dead = (stat: ProcessStat): boolean => stat.state === "Z" || stat.state === "X";
function isOver(pid: number): boolean {
  const stat = readStat(pid);
  return stat === undefined || dead(stat);
}

/** The signal, to exactly this process: a pid that was given to another one meanwhile is left alone. */
export function signalProcess(process_: TaskProcess, signal: NodeJS.Signals): void {
  const stat = readStat(process_.pid);
  if (stat === undefined || dead(stat) || stat.startTime !== process_.startTime) return;
  try {
    process.kill(process_.pid, signal);
  } catch (error) {
    if (!gone(error)) throw error;
  }
}

/** So long a process has no environment while it is being made; who has none for longer never had one. */
const BARE_MS = 1_000;

/** Processes that are looked at in one turn of the event loop: each takes some 20 us. */
const PER_TURN = 250;

/** More new pids than this since the last scan, and all processes are listed instead. */
const FEW_PIDS = 256;

/** Stays open: it is read after every program. */
let loadavg: number | undefined;

/** The last pid that the kernel gave out; undefined when it cannot be told. Pids are given out in turn. */
function lastPid(): number | undefined {
  try {
    loadavg ??= openSync("/proc/loadavg", "r");
    const text = proc.toString("latin1", 0, readSync(loadavg, proc, 0, proc.length, 0));
    const pid = Number(text.slice(text.lastIndexOf(" ") + 1));
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch (error) {
    if (gone(error) || forbidden(error)) return undefined;
    throw error;
  }
}

/**
 * Finds the processes of this governor's tasks among all processes of the machine, by the launcher's session or group
 * and by the cookie `RAIN_TASK=<instance>:<attempt>` in their environment. Other people's processes are remembered,
 * so that a scan reads only what is new since the last one: the pids that were given out meanwhile.
 */
export class ProcessTable {
  readonly #mark: string;
  readonly #launchers = new Set<number>();
  #foreign = new Set<number>();
  /** Alive at the last scan, and to be looked at again. */
  #known = new Set<number>();
  /** In whose session or group those are that have not been seen dead since. */
  #ofLauncher = new Map<number, number>();
  #cookies = new Map<number, Cookie>();
  /** Without an environment when they were first looked at, monotonic ms. */
  readonly #bare = new Map<number, { readonly startTime: number; readonly since: number }>();
  #scannedAt = Number.NEGATIVE_INFINITY;
  #lastPid: number | undefined;
  #newestForeign = 0;

  constructor(instance: string) {
    this.#mark = `RAIN_TASK=${instance}:`;
  }

  addLauncher(pid: number): void {
    this.#launchers.add(pid);
  }
  removeLauncher(pid: number): void {
    this.#launchers.delete(pid);
  }

  /**
   * When the youngest session began (clock ticks) of which a scan found a process that is nobody's, or not yet known
   * to be. Who leaves its launcher's session can only do so into a new one.
   */
  get newestForeign(): number {
    return this.#newestForeign;
  }

  /**
   * All living task processes, launchers themselves excepted. With `ending`: those that are known to be in the session
   * of another launcher than these are left out, and not looked at.
   */
  async scan(ending?: ReadonlySet<number>): Promise<TaskProcess[]> {
    const cookies = new Map<number, Cookie>();
    const found: TaskProcess[] = [];
    const suspects: ProcessStat[] = [];
    for (const pid of this.#candidates()) {
      const owner = ending && this.#ofLauncher.get(pid);
      if (owner !== undefined && this.#launchers.has(owner) && ending?.has(owner) === false) continue;
      const stat = pid === process.pid || this.#launchers.has(pid) ? undefined : readStat(pid);
      if (stat !== undefined && !dead(stat)) suspects.push(stat);
      else this.#drop(pid);
    }
    let looked = 0;
    for (const stat of suspects) {
      looked += 1;
      if (looked % PER_TURN === 0) await nextTurn();
      const launcher = this.#launcherOf(stat);
      const { pid, startTime } = stat;
      // A launcher has one attempt at a time, and its session ends with it: whose they are needs no look into them.
      const cookie = stat.kernelThread || launcher !== undefined ? undefined : this.#cookie(stat);
      const attempt = cookie === "unknown" ? undefined : cookie;
      if (attempt !== undefined) cookies.set(pid, { startTime, attempt });
      if (launcher === undefined) this.#ofLauncher.delete(pid);
      else this.#ofLauncher.set(pid, launcher);
      if (launcher !== undefined || attempt !== undefined) found.push({ pid, startTime, launcher, attempt });
      else if (!stat.kernelThread) this.#newestForeign = Math.max(this.#newestForeign, sessionBegan(stat));
      if (launcher !== undefined || cookie !== undefined) continue;
      this.#foreign.add(pid);
      this.#drop(pid);
    }
    this.#cookies = cookies;
    return found;
  }

  /** Has it had no environment for so long that none is coming? */
  #isBare({ pid, startTime }: ProcessStat): boolean {
    const now = performance.now();
    const known = this.#bare.get(pid);
    if (known !== undefined && known.startTime === startTime) return now - known.since > BARE_MS;
    this.#bare.set(pid, { startTime, since: now });
    return false;
  }

  #drop(pid: number): void {
    this.#known.delete(pid);
    this.#ofLauncher.delete(pid);
  }

  /**
   * The processes that may be of tasks. They are known from now on, until a scan finds them dead or somebody else's:
   * another scan that begins meanwhile looks at them too.
   */
  #candidates(): number[] {
    const now = performance.now();
    const isFresh = now - this.#scannedAt < TRUST_FOREIGN_MS;
    const before = this.#lastPid;
    const last = lastPid();
    this.#scannedAt = now;
    this.#lastPid = last;
    const isInTurn = isFresh && before !== undefined && last !== undefined && last >= before;
    if (isInTurn && last - before <= FEW_PIDS) {
      for (let pid = before + 1; pid <= last; pid += 1) {
        this.#ofLauncher.delete(pid);
        if (existsSync(`/proc/${pid}`)) this.#known.add(pid);
      }
      return [...this.#known];
    }
    this.#ofLauncher.clear();
    const isTrusted = isInTurn
      ? (pid: number) => this.#foreign.has(pid) && (pid <= before || pid > last)
      : (pid: number) => isFresh && last === undefined && this.#foreign.has(pid);
    const foreign = new Set<number>();
    for (const name of readdirSync("/proc")) {
      const pid = Number(name);
      if (!Number.isInteger(pid)) continue;
      if (isTrusted(pid)) foreign.add(pid);
      else this.#known.add(pid);
    }
    for (const pid of this.#bare.keys())
      if (!foreign.has(pid) && !this.#known.has(pid)) this.#bare.delete(pid);
    this.#foreign = foreign;
    return [...this.#known];
  }

  #launcherOf(stat: ProcessStat): number | undefined {
    if (this.#launchers.has(stat.session)) return stat.session;
    return this.#launchers.has(stat.group) ? stat.group : undefined;
  }

  /**
   * The attempt that the cookie names; undefined when there is none; "unknown" when it cannot be told now, because
   * the process is just being made and has no environment yet.
   */
  #cookie(stat: ProcessStat): string | undefined {
    const known = this.#cookies.get(stat.pid);
    if (known !== undefined && known.startTime === stat.startTime) return known.attempt;
    let environment: string;
    try {
      environment = readLongProc(`/proc/${stat.pid}/environ`);
    } catch (error) {
      if (gone(error)) return "unknown";
      if (forbidden(error)) return undefined;
      throw error;
    }
    if (environment === "") return this.#isBare(stat) ? undefined : "unknown";
    return environment
      .split("\0")
      .find((entry) => entry.startsWith(this.#mark))
      ?.slice(this.#mark.length);
  }
}
