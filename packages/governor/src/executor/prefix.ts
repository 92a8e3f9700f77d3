import type { House } from "./house.ts";
import { TaskProblem } from "./problem.ts";
import type { RunEffect } from "./types.ts";

/** What comes before a task's own words: the environment that it names, and the cpus that it is pinned to. */

/** Words of the environment's prefix from the governor's configuration; none when the task names no environment. */
export function environmentPrefix(house: House, environment: string | undefined): readonly string[] {
  if (environment === undefined) return [];
  const prefix = house.environments.get(environment);
  if (prefix !== undefined) return prefix;
  const known = [...house.environments.keys()].join(", ");
  throw new TaskProblem(
    "launch",
    `this governor has no environment ${JSON.stringify(environment)}; its configuration names ${known === "" ? "none" : known}`,
  );
}

/** `taskset -c 0,2` for an attempt that got cpus of its own; none for others. */
export function pinPrefix(effect: RunEffect): readonly string[] {
  const { cpuIds } = effect.allocation;
  return cpuIds === undefined || cpuIds.length === 0 ? [] : ["taskset", "-c", cpuIds.join(",")];
}
