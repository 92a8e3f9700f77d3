import { quote } from "shlex";
import type { UserAttributes } from "@rain/protocol";
import { expand, readFlags, renderError, SweepError, type Sweep, type Trial } from "@rain/sweep";
import { usageError } from "../failure.ts";
import { formatAmount, formatBytes } from "../output.ts";
import type { RunSettings } from "./flags.ts";
import type { RunManifest } from "./manifest.ts";

/** What is to be run, before anything of the outside world is asked: no files, no server, no chance. */
export interface RunRequest {
  /** The words before the program's arguments. */
  readonly program: readonly string[];
  /** The program's arguments, as they were written. */
  readonly words: readonly string[];
  readonly settings: RunSettings;
  readonly seed: number;
  /** The program's place in the project folder. */
  readonly file?: string | undefined;
}

export interface RunPlan extends RunRequest {
  readonly sweep: Sweep;
  /** Legal and seldom meant: one sentence each. */
  readonly warnings: readonly string[];
}

/** Trials that are not refused without a word of the user. */
const DEFAULT_MAX_NODES = 100;
const MAX_TRIALS = 10_000_000;

/** Expands the arguments to trials. A mistake in them is a usage error that shows its place. */
export function planRun(request: RunRequest): RunPlan {
  const { strategy, trials, where, repeat } = request.settings;
  const options = {
    seed: request.seed,
    maxTrials: MAX_TRIALS,
    ...(strategy !== undefined && { strategy }),
    ...(trials !== undefined && { trials }),
    ...(where !== undefined && { where }),
    ...(repeat !== undefined && { repeat }),
  };
  try {
    const sweep = expand(readFlags(request.words), options);
    return { ...request, sweep, warnings: sweep.warnings };
  } catch (error) {
    if (error instanceof SweepError) throw usageError(renderError(error.source ?? "", error));
    throw error;
  }
}

/** The sentence that refuses a sweep which is larger than was meant; undefined for one that may run. */
export function tooMany({ sweep, settings }: RunPlan): string | undefined {
  const { count } = sweep.trials;
  const most = settings.maxNodes ?? DEFAULT_MAX_NODES;
  if (count <= most || settings.ignoreWarnings === true) return undefined;
  const named =
    settings.maxNodes === undefined ? `${most}, the default of --max_nodes` : `--max_nodes ${most}`;
  return (
    `the sweep has ${count} trials, more than ${named}: say --max_nodes ${count} or --ignore_warnings if that is meant, ` +
    "or take some of them: --strategy random_search --trials N"
  );
}

/** The command of a trial, as it is run. */
export const commandOf = (plan: Pick<RunPlan, "program">, trial: Trial): string[] => [
  ...plan.program,
  ...trial.args,
];

/** A command that a shell takes as it is. `sweep`: "[1, 2]" stays readable, in single quotes. */
export const shellLine = (words: readonly string[]): string => words.map((word) => quote(word)).join(" ");

/** What a trial finds in its environment, beside the datastore. */
export function trialEnvironment(
  { seed }: Pick<RunPlan, "seed">,
  name: string,
  trial: Trial,
): Record<string, string> {
  return {
    RAIN_RUN: name,
    RAIN_EXPERIMENT: String(trial.index),
    RAIN_SEED: String((seed + trial.index) % SEEDS),
    ...trial.env,
  };
}
const SEEDS = 2 ** 32;

/** A trial as its task's attributes keep it: a TrialInfo. */
export const trialInfoOf = (
  plan: Pick<RunPlan, "settings">,
  { index, combination, repeat, params, texts }: Trial,
): UserAttributes => ({
  index,
  ...(plan.settings.repeat !== undefined && { combination, repeat }),
  params: { ...params },
  texts: { ...texts },
});

/** The manifest of a run: docs/runs.md. */
export function manifestOf(
  plan: RunPlan,
  more: Pick<RunManifest, "name" | "created" | "config" | "project">,
): RunManifest {
  const { description, strategy, trials, where, repeat, metric } = plan.settings;
  return {
    v: 1,
    kind: "sweep",
    ...more,
    ...(description !== undefined && { description }),
    program: plan.program,
    words: plan.words,
    strategy: strategy ?? plan.sweep.strategy,
    ...(trials !== undefined && { trials }),
    ...(where !== undefined && { where }),
    ...(repeat !== undefined && { repeat }),
    seed: plan.seed,
    parameters: plan.sweep.parameters.map(({ key }) => key),
    swept: plan.sweep.parameters.filter(({ swept }) => swept).map(({ key }) => key),
    ...(metric !== undefined && { metric }),
    count: plan.sweep.trials.count,
  };
}

// ------------------------------------------------------------------------------------------------------- in words

/** `4 x 2`: how many values the flags have, when the trials are all of their combinations. */
function factors({ sweep, settings }: RunPlan): readonly number[] {
  const counts = sweep.parameters.flatMap(({ counts: each }) => each);
  const repeats = settings.repeat === undefined ? [] : [settings.repeat];
  const all = [...counts, ...repeats];
  const isProduct = all.reduce((product, count) => product * count, 1) === sweep.trials.count;
  return isProduct && all.length > 0 ? all : [sweep.trials.count];
}

/** All trials together: `4 x 2 x 8 GPUs = 64 GPUs`. */
export function resourceLines(plan: RunPlan): string[] {
  const { cpus = 1, gpus = 0, memory = 0 } = plan.settings;
  const { count } = plan.sweep.trials;
  const product = factors(plan).join(" x ");
  const line = (amount: string, unit: string, total: string): string =>
    `${product} x ${amount} ${unit} = ${total}`;
  return [
    line(formatAmount(cpus), "CPUs", formatAmount(cpus * count)),
    ...(gpus > 0 ? [line(formatAmount(gpus), "GPUs", formatAmount(gpus * count))] : []),
    ...(memory > 0 ? [line(formatBytes(memory), "memory", formatBytes(memory * count))] : []),
  ];
}

/** `6 trials: --size 2 x --dropout 3, grid_search, seed 7`. */
export function planLine(plan: RunPlan): string {
  const { sweep, settings, seed } = plan;
  const { count } = sweep.trials;
  const swept = sweep.parameters
    .filter(({ swept: is }) => is)
    .map(({ key, counts }) => `${key} ${counts.join(" x ")}`);
  const parts = [
    ...(swept.length > 0 ? [swept.join(" x ")] : []),
    ...(settings.repeat === undefined ? [] : [`each ${settings.repeat} times`]),
    sweep.strategy,
    `seed ${seed}`,
  ];
  return `${count} ${count === 1 ? "trial" : "trials"}: ${parts.join(", ")}`;
}
