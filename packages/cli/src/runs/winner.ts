import { nearMisses, oneOf } from "@rain/sweep";
import type { Goal, RunManifest } from "./manifest.ts";
import { metricNames, metricValue, type Row } from "./rows.ts";

/** What a run is judged by. */
export interface Judge {
  readonly name: string;
  readonly goal: Goal;
}

/** Words of a name that say that less is better. */
const smallIsGood: ReadonlySet<string> = new Set(
  "err mse rmse mae mape perplexity time latency cost".split(" "),
);

/** Words of `valLoss`, `val_loss`, `val/loss2`: val, loss. */
const wordsOf = (name: string): string[] =>
  name
    .replaceAll(/(\p{Ll})(\p{Lu})/gu, "$1 $2")
    .toLowerCase()
    .split(/[^\p{L}]+/u);

/** Whether a metric is to be small or large: what `--metric NAME:GOAL` said of it, else what its name says. */
export function goalOf(name: string, given?: RunManifest["metric"]): Goal {
  if (given?.name === name && given.goal !== undefined) return given.goal;
  const isSmall = (word: string): boolean => smallIsGood.has(word) || /(?:loss|error)(?:es|s)?$/.test(word);
  return wordsOf(name).some(isSmall) ? "min" : "max";
}

/**
 * What a run is judged by: the metric that was named, now or when the run was made, else the only one that came.
 * Undefined when none came, or several and none was named: there is no telling which one matters.
 */
export function judgeOf(manifest: RunManifest, rows: readonly Row[], named?: string): Judge | undefined {
  const name = named ?? manifest.metric?.name ?? onlyOne(metricNames(manifest, rows));
  return name === undefined ? undefined : { name, goal: goalOf(name, manifest.metric) };
}
const onlyOne = (names: readonly string[]): string | undefined => (names.length === 1 ? names[0] : undefined);

/** Is `a` strictly better than `b`? NaN is better than nothing, and every number is better than NaN. */
export function isBetter(goal: Goal, a: number, b: number): boolean {
  if (Number.isNaN(a)) return false;
  if (Number.isNaN(b)) return true;
  return goal === "min" ? a < b : a > b;
}

/** The trial that finished with the best value; of equal ones the first. NaN never wins, nor does a failed trial. */
export function winner(rows: readonly Row[], judge: Judge): Row | undefined {
  return bestOf(rows, (row) => (row.state === "finished" ? metricValue(row, judge.name) : undefined), judge);
}

/** The combination with the best mean, of a run with repeats. */
export function winningGroup(groups: readonly Group[], judge: Judge): Group | undefined {
  return bestOf(groups, (group) => meanOf(group, judge.name)?.mean, judge);
}

function bestOf<T>(
  items: readonly T[],
  valueOf: (item: T) => number | undefined,
  { goal }: Judge,
): T | undefined {
  let best: T | undefined;
  let bestValue = Number.NaN;
  for (const item of items) {
    const value = valueOf(item);
    if (value !== undefined && isBetter(goal, value, bestValue)) [best, bestValue] = [item, value];
  }
  return best;
}

/** Trials that only repeat the same values. */
export interface Group {
  readonly combination: number;
  /** At least one, in the order of their repeats. */
  readonly rows: readonly [Row, ...Row[]];
}

/** Trials by combination, in the order of the first of each. */
export function groupRepeats(rows: readonly Row[]): Group[] {
  const groups = new Map<number, { combination: number; rows: [Row, ...Row[]] }>();
  for (const row of rows) {
    const group = groups.get(row.combination);
    if (group === undefined) groups.set(row.combination, { combination: row.combination, rows: [row] });
    else group.rows.push(row);
  }
  return [...groups.values()];
}

export interface Mean {
  readonly mean: number;
  /** Of the sample (n - 1); undefined for one value. */
  readonly sd: number | undefined;
  /** Finished trials that told the metric. */
  readonly n: number;
}

/** Mean and standard deviation of a metric over the finished trials of a group. */
export function meanOf(group: Group, metric: string): Mean | undefined {
  const values = group.rows
    .filter((row) => row.state === "finished")
    .map((row) => metricValue(row, metric))
    .filter((value) => value !== undefined);
  return values.length === 0 ? undefined : meanAndSd(values);
}

/** NaN among the values makes both NaN. */
export function meanAndSd(values: readonly number[]): Mean {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  if (n < 2) return { mean, sd: undefined, n };
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, sd: Math.sqrt(squares / (n - 1)), n };
}

/** The sentence for a metric that no trial told; undefined when one did, or as long as no trial has ended. */
export function missingMetric(name: string, manifest: RunManifest, rows: readonly Row[]): string | undefined {
  const seen = metricNames(manifest, rows);
  if (seen.includes(name) || !rows.some(({ state }) => state === "finished" || state === "failed"))
    return undefined;
  const quoted = JSON.stringify(name);
  if (seen.length === 0)
    return (
      `no trial told the metric ${quoted}, nor any other: print ${name}=VALUE to stdout, or append ` +
      `{${quoted}: VALUE} to the file that RAIN_METRICS names`
    );
  const near = nearMisses(name, seen);
  const meant = near.length > 0 ? ` (did you mean ${oneOf(near)}?)` : "";
  return `no trial told the metric ${quoted}${meant}; there ${seen.length === 1 ? "is" : "are"}: ${listed(seen)}`;
}

const listed = (names: readonly string[]): string =>
  names.length > 12 ? `${names.slice(0, 12).join(", ")} and ${names.length - 12} more` : names.join(", ");
