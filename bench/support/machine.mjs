import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";

/** Load of the machine over the last minute. */
export const load = () => loadavg()[0] ?? 0;

/** What a reader must know of the machine to compare figures. */
export const describeMachine = () => ({
  cpu: cpus()[0]?.model ?? "unknown",
  cpus: availableParallelism(),
  memoryBytes: totalmem(),
  kernel: release(),
  node: process.version,
});

/**
 * Resident memory of a process, bytes.
 * @param {number} pid
 */
export function residentBytes(pid) {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  if (!match) throw new Error(`/proc/${pid}/status has no VmRSS: the process has ended`);
  return Number(match[1]) * 1024;
}

/** Ticks of /proc/PID/stat in a second: the same on every Linux that Node runs on. */
const TICKS = 100;

/**
 * CPU seconds so far of these processes and of all below them, also of those that have ended and were waited for.
 * @param {readonly number[]} pids
 */
export function cpuSeconds(pids) {
  const processes = new Map(
    readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => {
        const stat = readStat(Number(name));
        return stat === undefined ? [] : [[Number(name), stat]];
      }),
  );
  let ticks = 0;
  for (const [pid, stat] of processes) {
    let at = pid;
    while (at > 1 && !pids.includes(at)) at = processes.get(at)?.parent ?? 0;
    if (at > 1) ticks += stat.ticks;
  }
  return ticks / TICKS;
}

/** @param {number} pid */
function readStat(pid) {
  let text;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    // It has ended since the folder was read.
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
  // The name before this may have any character in it.
  const [state, ...fields] = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [parent = 0, ...numbers] = fields.map(Number);
  // Its own time in user and system mode, and that of its ended children.
  const ticks = numbers.slice(9, 13).reduce((sum, value) => sum + value, 0);
  return { parent, ticks, ended: state === "Z" };
}

/**
 * Has this process not ended yet?
 * @param {number} pid
 */
export const isRunning = (pid) => readStat(pid)?.ended === false;

/** CPU seconds so far of this process alone. */
export function ownCpuSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
