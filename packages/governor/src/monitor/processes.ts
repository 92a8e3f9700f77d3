import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
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
    return parseStat(pid, readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch (error) {
    if (gone(error)) return undefined;
    throw error;
  }
}

/** Largest resident memory that the process ever had and what it has now, bytes; undefined when it is gone. */
export function readMemory(pid: number): { readonly peak: number; readonly now: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/status`, "latin1");
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
      if (gone(error) && isOver(pid)) continue;
      if (gone(error) || forbidden(error)) return undefined; // an old kernel, or another user's
      throw error;
    }
  }
  return total;
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

/**
 * Finds the processes of this governor's tasks among all processes of the machine, by the launcher's session or group
 * and by the cookie `RAIN_TASK=<instance>:<attempt>` in their environment. Other people's processes are remembered,
 * so that a scan reads only what is new since the last one.
 */
export class ProcessTable {
  readonly #mark: string;
  readonly #launchers = new Set<number>();
  #foreign = new Set<number>();
  #cookies = new Map<number, Cookie>();
  #scannedAt = Number.NEGATIVE_INFINITY;

  constructor(instance: string) {
    this.#mark = `RAIN_TASK=${instance}:`;
  }

  addLauncher(pid: number): void {
    this.#launchers.add(pid);
  }
  removeLauncher(pid: number): void {
    this.#launchers.delete(pid);
  }

  /** All living task processes, launchers themselves excepted. */
  async scan(): Promise<TaskProcess[]> {
    const startedAt = performance.now();
    const trusted = startedAt - this.#scannedAt < TRUST_FOREIGN_MS ? this.#foreign : new Set<number>();
    const foreign = new Set<number>();
    const cookies = new Map<number, Cookie>();
    const found: TaskProcess[] = [];
    const suspects: ProcessStat[] = [];
    for (const name of await readdir("/proc")) {
      const pid = Number(name);
      if (!Number.isInteger(pid) || pid === process.pid || this.#launchers.has(pid)) continue;
      if (trusted.has(pid)) foreign.add(pid);
      else {
        const stat = readStat(pid);
        if (stat !== undefined && !dead(stat)) suspects.push(stat);
      }
    }
    for (const stat of suspects) {
      const launcher = this.#launcherOf(stat);
      const { pid, startTime } = stat;
      const cookie = stat.kernelThread ? undefined : await this.#cookie(stat);
      const attempt = cookie === "unknown" ? undefined : cookie;
      if (attempt !== undefined) cookies.set(pid, { startTime, attempt });
      if (launcher !== undefined || attempt !== undefined) found.push({ pid, startTime, launcher, attempt });
      else if (cookie === undefined) foreign.add(pid);
    }
    this.#foreign = foreign;
    this.#cookies = cookies;
    this.#scannedAt = startedAt;
    return found;
  }

  #launcherOf(stat: ProcessStat): number | undefined {
    if (this.#launchers.has(stat.session)) return stat.session;
    return this.#launchers.has(stat.group) ? stat.group : undefined;
  }

  /**
   * The attempt that the cookie names; undefined when there is none; "unknown" when it cannot be told now, because
   * the process is just being made and has no environment yet.
   */
  async #cookie(stat: ProcessStat): Promise<string | undefined> {
    const known = this.#cookies.get(stat.pid);
    if (known !== undefined && known.startTime === stat.startTime) return known.attempt;
    let environment: string;
    try {
      environment = await readFile(`/proc/${stat.pid}/environ`, "latin1");
    } catch (error) {
      if (gone(error)) return "unknown";
      if (forbidden(error)) return undefined;
      throw error;
    }
    if (environment === "") return "unknown";
    return environment
      .split("\0")
      .find((entry) => entry.startsWith(this.#mark))
      ?.slice(this.#mark.length);
  }
}
