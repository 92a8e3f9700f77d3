import { readFileSync } from "node:fs";
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
