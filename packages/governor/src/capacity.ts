import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { availableParallelism, totalmem } from "node:os";
import { errorCode } from "./monitor/errno.ts";
import { RainError, type Resources } from "@rain/protocol";

export interface DetectOptions {
  /** A number, minus how many to leave to others, or all that this process may use (the default). */
  readonly cpus?: number | "detect";
  /** Where CUDA_VISIBLE_DEVICES and ROCR_VISIBLE_DEVICES say which GPUs this process may use; default: its own. */
  readonly env?: NodeJS.ProcessEnv;
  /** Where the system shows its devices; `/` unless a test says otherwise. */
  readonly root?: string;
}

/**
 * What this machine has: processors and memory that this process may use, NVIDIA GPUs by their device files, else AMD
 * GPUs by the topology that their driver shows.
 * Throws RainError "bad-request" when no cpu is left.
 */
export function detectCapacity(options: DetectOptions = {}): Resources {
  const wanted = options.cpus ?? "detect";
  const all = availableParallelism();
  const cpus = wanted === "detect" ? all : wanted < 0 ? all + wanted : wanted;
  if (cpus < 1) {
    throw new RainError("bad-request", `cpus ${wanted} leaves none of the ${all} of this machine for tasks`);
  }
  return {
    cpus,
    gpus: countGpus(options.env ?? process.env, options.root ?? "/"),
    memory: usableMemory(),
    named: {},
  };
}

/** The smaller of the machine's memory and this control group's limit, bytes. */
function usableMemory(): number {
  const limit = process.constrainedMemory() ?? 0;
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

function countGpus(env: NodeJS.ProcessEnv, root: string): number {
  const nvidia = namesIn(join(root, "dev")).filter((name) => /^nvidia\d+$/.test(name)).length;
  if (nvidia > 0) return visibleOf(env["CUDA_VISIBLE_DEVICES"], nvidia);
  return visibleOf(env["ROCR_VISIBLE_DEVICES"], countAmdGpus(root));
}

/** A batch system shows a job its own GPUs only: as many as the variable lists. */
function visibleOf(variable: string | undefined, found: number): number {
  if (variable === undefined) return found;
  const names = variable.split(",").filter((name) => name.trim() !== "");
  // CUDA ends the list at the first index that there is not; -1 is how it is told to use none.
  const end = names.findIndex((name) => name.trim().startsWith("-"));
  return Math.min(found, end < 0 ? names.length : end);
}

/** Nodes of the driver's topology are processors and GPUs; only a GPU has an id. */
function countAmdGpus(root: string): number {
  const nodes = join(root, "sys/class/kfd/kfd/topology/nodes");
  return namesIn(nodes).filter((node) => isGpu(join(nodes, node, "gpu_id"))).length;
}

function isGpu(file: string): boolean {
  try {
    return Number(readFileSync(file, "latin1")) > 0;
  } catch (error) {
    // EPERM: a GPU that this container may not use.
    if (["ENOENT", "EPERM", "EACCES"].includes(errorCode(error) ?? "")) return false;
    throw error;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** Numbers of the cpus that this process may run on, ascending. Throws RainError "bad-request" where that is unknown. */
export function allowedCpus(status: string = readFileSync("/proc/self/status", "latin1")): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1];
  if (list === undefined)
    throw new RainError("bad-request", "tasks cannot be pinned: /proc/self/status lists no allowed cpus");
  return list.split(",").flatMap((part) => {
    const [first = 0, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
