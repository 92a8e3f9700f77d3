import { readdirSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { RainError, type Resources } from "@rain/protocol";

export interface DetectOptions {
  /** A number, minus how many to leave to others, or all that this process may use (the default). */
  readonly cpus?: number | "detect";
}

/**
 * What this machine has: processors and memory that this process may use, NVIDIA GPUs by their device files.
 * Throws RainError "bad-request" when no cpu is left.
 */
export function detectCapacity(options: DetectOptions = {}): Resources {
  const wanted = options.cpus ?? "detect";
  const all = availableParallelism();
  const cpus = wanted === "detect" ? all : wanted < 0 ? all + wanted : wanted;
  if (cpus < 1) {
    throw new RainError("bad-request", `cpus ${wanted} leaves none of the ${all} of this machine for tasks`);
  }
  return { cpus, gpus: countGpus(), memory: usableMemory(), named: {} };
}

/** The smaller of the machine's memory and this control group's limit, bytes. */
function usableMemory(): number {
  const limit = process.constrainedMemory() ?? 0;
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

function countGpus(): number {
  return readdirSync("/dev").filter((name) => /^nvidia\d+$/.test(name)).length;
}
