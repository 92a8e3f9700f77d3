import { join } from "node:path";
import { formatTask } from "@rain/protocol";
import { attemptKey } from "../core/types.ts";
import { inputPath } from "./inputs.ts";
import type { RunEffect } from "./types.ts";

type Environment = Readonly<Record<string, string>>;

/** Shell bookkeeping of whoever started the governor; wrong for a task. */
const notInherited = new Set(["OLDPWD", "PWD", "SHLVL", "_"]);

/** The governor's environment as tasks see it: keys and settings of Rain (RAIN_*) stay behind. */
export function baseEnvironment(own: NodeJS.ProcessEnv): Environment {
  const base: Record<string, string> = {};
  for (const [name, value] of Object.entries(own))
    if (value !== undefined && !name.startsWith("RAIN_") && !notInherited.has(name)) base[name] = value;
  return base;
}

const gpuVariables = ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"] as const;

/**
 * The GPUs of an allocation as its programs name them. Where the governor itself may see only some GPUs (a batch
 * system says so by the same variable), index 0 is the first of those.
 */
function visibleGpus(own: string | undefined, indices: readonly number[]): string[] {
  const names = own === undefined || own.trim() === "" ? [] : own.split(",").map((name) => name.trim());
  return indices.map((index) => names[index] ?? String(index));
}

/** What one task has beyond the base: its folders, its share of the machine, what its user declared, its cookie. */
export function taskEnvironment(
  effect: RunEffect,
  base: Environment,
  place: {
    readonly instance: string;
    readonly work: string;
    readonly tmp: string;
    readonly info: string;
    readonly metrics: string;
    readonly gpus: number;
  },
): Environment {
  const { allocation, ref, spec } = effect;
  const env: Record<string, string> = { PWD: place.work, TMPDIR: place.tmp };
  if (place.gpus > 0 || allocation.gpus.length > 0) {
    for (const name of gpuVariables) env[name] = visibleGpus(base[name], allocation.gpus).join(",");
  }
  if (base["OMP_NUM_THREADS"] === undefined)
    env["OMP_NUM_THREADS"] = String(Math.max(1, Math.floor(allocation.cpus)));
  if (spec.work.type === "execute")
    for (const [name, value] of Object.entries(spec.work.env ?? {}))
      env[name] = typeof value === "string" ? value : join(place.work, inputPath(effect, value.input));
  env["RAIN_INFO"] = place.info;
  if (spec.metrics === true) env["RAIN_METRICS"] = place.metrics;
  env["RAIN_TASK_ID"] = formatTask(ref.session, ref.task);
  env["RAIN_TASK"] = `${place.instance}:${attemptKey(ref)}`;
  return env;
}
