import { z } from "zod";
import type { Json, MetricSummaries, ResultRow, TaskFailure, TaskState } from "@rain/protocol";
import { trialInfo, type RunManifest, type TrialInfo } from "./manifest.ts";

/** One trial as tables show it: what it was given and what its newest task came to. */
export interface Row {
  /** The trial's number, from 0. */
  readonly experiment: number;
  readonly combination: number;
  readonly repeat: number;
  /** The newest task of the trial. */
  readonly task: number;
  readonly attempt: number;
  readonly state: TaskState;
  readonly params: Readonly<Record<string, Json>>;
  /** The same as they stand on the command line. */
  readonly texts: Readonly<Record<string, string>>;
  readonly metrics: MetricSummaries;
  readonly governor: string | undefined;
  readonly startTime: number | undefined;
  readonly durationS: number | undefined;
  readonly cost: number | undefined;
  /** It was not run: the result is that of the same task, which finished before. */
  readonly cached: boolean;
  readonly failure: TaskFailure | undefined;
  /** Tasks of this trial so far: 1, and one for each time that it was run again by `rain retry` or `rain resume`. */
  readonly tasks: number;
  readonly outputs: ResultRow["outputs"];
}

const trialUser = z.object({ trial: trialInfo });

/** What the task's attributes say of its trial; undefined for a task that is none. */
const trialOf = (row: ResultRow): TrialInfo | undefined => trialUser.safeParse(row.user).data?.trial;

/**
 * Rows of the trials, by number, of the results of a session's tasks: of the tasks of one trial the newest counts. A
 * task may come several times, as one read twice does: the last is taken.
 */
export function trialRows(results: readonly ResultRow[]): Row[] {
  const trials = new Map<number, { newest: ResultRow; trial: TrialInfo; tasks: Set<number> }>();
  for (const row of results) {
    const trial = trialOf(row);
    if (trial === undefined) continue;
    const known = trials.get(trial.index);
    if (known === undefined) trials.set(trial.index, { newest: row, trial, tasks: new Set([row.task]) });
    else {
      known.tasks.add(row.task);
      // A task that replaces another one was submitted after it, and numbers only grow.
      if (row.task >= known.newest.task) Object.assign(known, { newest: row, trial });
    }
  }
  return [...trials.values()]
    .toSorted((a, b) => a.trial.index - b.trial.index)
    .map(({ newest, trial, tasks }) => rowOf(newest, trial, tasks.size));
}

function rowOf(result: ResultRow, trial: TrialInfo, tasks: number): Row {
  const { info } = result;
  // What `pick` chose is told by the program, and shown as if it stood on the command line.
  const picked = Object.entries(info?.params ?? {});
  return {
    experiment: trial.index,
    combination: trial.combination ?? trial.index,
    repeat: trial.repeat ?? 0,
    task: result.task,
    attempt: result.attempt,
    state: result.state,
    params: Object.fromEntries([...Object.entries(trial.params), ...picked]),
    texts: Object.fromEntries([
      ...Object.entries(trial.texts),
      ...picked.map(([key, value]) => [key, paramText(value)] as const),
    ]),
    metrics: info?.metrics ?? result.metrics ?? {},
    governor: result.governor,
    startTime: info?.startTime,
    durationS: info?.durationS,
    cost: info?.cost,
    cached: info?.cached === true,
    failure: result.failure,
    tasks,
    outputs: result.outputs,
  };
}

const paramText = (value: Json): string => (typeof value === "string" ? value : JSON.stringify(value));

/** Own property of a record whose keys come from programs and users; `constructor` is none. */
export const own = <T>(record: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(record, key) ? record[key] : undefined;

/** The value by which a trial is judged: the last that came. */
export const metricValue = (row: Row, metric: string): number | undefined => own(row.metrics, metric)?.last;

/** Names of all metrics that came, in the order in which trials tell them; the run's own metric first. */
export function metricNames(manifest: RunManifest, rows: readonly Row[]): string[] {
  const names = new Set<string>();
  for (const row of rows) for (const name of Object.keys(row.metrics)) names.add(name);
  const first = manifest.metric?.name;
  return first !== undefined && names.delete(first) ? [first, ...names] : [...names];
}

/** Parameters for the columns of a table: those that vary, or `all`. What programs chose themselves comes last. */
export function parameterNames(manifest: RunManifest, rows: readonly Row[], all: boolean): string[] {
  const known = new Set(manifest.parameters);
  const chosen = new Set<string>();
  for (const row of rows) for (const key of Object.keys(row.params)) if (!known.has(key)) chosen.add(key);
  const varies = (key: string): boolean => new Set(rows.map((row) => own(row.texts, key))).size > 1;
  return [
    ...(all ? manifest.parameters : manifest.swept),
    ...[...chosen].filter((key) => all || varies(key)),
  ];
}
