import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * A process, so that a later one with the same number is not taken for it. Start times count ticks since boot, so
 * the boot belongs to them.
 */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks after boot. */
  readonly startTime: string;
  readonly bootId: string;
}

function readOrUndefined(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // ESRCH: the process ended between open and read.
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
}

/** State letter and start time of a process; undefined when there is none of that number. */
export function readStat(pid: number): { readonly state: string; readonly startTime: string } | undefined {
  const stat = readOrUndefined(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The second field is the program's name in parentheses and may hold spaces and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", startTime: fields[19] ?? "" };
}

const bootId = (): string => (readOrUndefined("/proc/sys/kernel/random/boot_id") ?? "").trim();

/** Identity of a running process; undefined when it is gone. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid);
  return stat === undefined ? undefined : { pid, startTime: stat.startTime, bootId: bootId() };
}

/** Is this very process still there? A zombie is gone: nobody may be left to reap it. */
export function isAlive(identity: ProcessIdentity): boolean {
  const stat = readStat(identity.pid);
  if (stat === undefined || stat.state === "Z" || stat.state === "X") return false;
  return stat.startTime === identity.startTime && bootId() === identity.bootId;
}

/** Sends a signal to this very process; false when it was gone. */
export function signal(identity: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, name);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}

/** Waits until none of them is left, `timeoutMs` at most; the ones that are. */
export async function waitGone<T extends ProcessIdentity>(
  processes: readonly T[],
  timeoutMs: number,
): Promise<T[]> {
  const end = performance.now() + timeoutMs;
  for (let pause = 10; ; pause = Math.min(pause * 1.5, 200)) {
    const left = processes.filter(isAlive);
    if (left.length === 0 || performance.now() >= end) return left;
    await sleep(pause);
  }
}

/** How a process was brought to its end. */
export type Ending = "asked" | "terminated" | "killed";

/** Ends processes: TERM, and KILL for those that are there after the grace. */
export async function terminate<T extends ProcessIdentity>(
  processes: readonly T[],
  graceMs: number,
): Promise<{ readonly terminated: T[]; readonly killed: T[]; readonly left: T[] }> {
  const asked = processes.filter((one) => signal(one, "SIGTERM"));
  const stubborn = await waitGone(asked, graceMs);
  for (const one of stubborn) signal(one, "SIGKILL");
  const left = await waitGone(stubborn, 5_000); // a process in an uninterruptible wait for a disk outlives KILL
  return {
    terminated: asked.filter((one) => !stubborn.includes(one)),
    killed: stubborn.filter((one) => !left.includes(one)),
    left,
  };
}
