import type { TaskInfo } from "@rain/protocol";
import type { LaunchEnd } from "./launcher.ts";
import { joinNotes, type MetricsEnd } from "./metrics/index.ts";
import { TaskProblem } from "./problem.ts";
import type { Stop } from "./stop.ts";
import type { RunOutcome } from "./types.ts";

/** The figures of a run, with its metrics when they were read. */
export function measured(
  info: TaskInfo,
  told: MetricsEnd | undefined,
  notes: readonly string[] = [],
): Pick<RunOutcome, "info" | "metrics"> {
  const debug = joinNotes(info.debug, ...notes, ...(told?.notes ?? []));
  if (told === undefined) return { info: debug === undefined ? info : { ...info, debug } };
  const { summaries: metrics, params, points } = told;
  return {
    info: {
      ...info,
      ...(metrics === undefined ? {} : { metrics }),
      ...(params === undefined ? {} : { params }),
      ...(debug === undefined ? {} : { debug }),
    },
    metrics: { points, params },
  };
}

/** The launcher died, with the program's group or before the program. */
export function deathProblem(end: Extract<LaunchEnd, { type: "died" }>, stop: Stop): TaskProblem {
  const signal = end.signal ?? stop.signal;
  if (signal === undefined)
    return new TaskProblem("internal", `the launcher ended (${end.exitCode}): ${end.stderr.trim()}`);
  return new TaskProblem("signal", `the program and its process group were ended by ${signal}`, { signal });
}

/** The shell could not open the program's stdin, stdout or stderr: the program did not run. */
export function redirectionProblem(said: string): TaskProblem {
  const full = /No space left|quota exceeded/i.test(said);
  return full
    ? new TaskProblem("disk-full", `the disk of the governor is full: ${said}`)
    : new TaskProblem("internal", `the program's stdin, stdout or stderr could not be opened: ${said}`);
}
