import { SweepError } from "../errors.ts";
import { nearMisses, oneOf } from "../near.ts";
import { MAX_SEED } from "../random/mt19937.ts";
import { Stream } from "../random/stream.ts";
import { layOut, type Layout } from "./columns.ts";
import { product, randomSearch, zip, type Combinations, type Keep } from "./combinations.ts";
import { parseFilter } from "./filter.ts";
import type { SweepFlag } from "./flags.ts";
import { columnValue, Trials } from "./trials.ts";

/** How the values of the flags combine. */
export const STRATEGIES = ["grid_search", "random_search", "zip", "none"] as const;
export type Strategy = (typeof STRATEGIES)[number];

export interface SweepOptions {
  /** From 0 to 2^32 - 1. This package draws none itself: the caller does, and records it. */
  readonly seed: number;
  /** Default `grid_search`. A string, as it comes from a command line. */
  readonly strategy?: string;
  /** How many combinations `random_search` takes. */
  readonly trials?: number;
  /** Keeps the combinations for which this expression is true: `lr * batch_size < 1`. */
  readonly where?: string;
  /** Runs each combination this many times, with RAIN_SEED 0, 1, 2... */
  readonly repeat?: number;
  /** The most trials there may be; default DEFAULT_MAX_TRIALS. */
  readonly maxTrials?: number;
}

/** What the sweep varies and what it does not. */
export interface Parameter {
  /** The key in `params` and `texts`. */
  readonly key: string;
  /** True when a word of it is sweep syntax. */
  readonly swept: boolean;
  /** How many values each swept word of it has. */
  readonly counts: readonly number[];
}

export interface Sweep {
  readonly seed: number;
  readonly strategy: Strategy;
  readonly trials: Trials;
  readonly parameters: readonly Parameter[];
  /** Things that are legal and seldom meant, one sentence each. */
  readonly warnings: readonly string[];
}

export const DEFAULT_MAX_TRIALS: number = 1_000_000;

function readStrategy(text: string): Strategy {
  const strategy = STRATEGIES.find((known) => known === text);
  if (strategy !== undefined) return strategy;
  const near = nearMisses(text, STRATEGIES);
  throw new SweepError(`there is no strategy ${text}`, {
    flag: "--strategy",
    hint: oneOf(near.length > 0 ? near : STRATEGIES),
  });
}

function checkWhole(flag: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new SweepError(`${value} is not a whole number from ${min} to ${max}`, { flag });
}

function checkOptions(options: SweepOptions, strategy: Strategy): void {
  const { seed, trials, repeat, maxTrials } = options;
  checkWhole("--seed", seed, 0, MAX_SEED);
  if (trials !== undefined) checkWhole("--trials", trials, 1, Number.MAX_SAFE_INTEGER);
  if (repeat !== undefined) checkWhole("--repeat", repeat, 1, DEFAULT_MAX_TRIALS);
  if (maxTrials !== undefined) checkWhole("the limit of trials", maxTrials, 1, Number.MAX_SAFE_INTEGER);
  if (strategy === "random_search" && trials === undefined) {
    throw new SweepError("random_search needs the number of trials", {
      flag: "--strategy",
      hint: "--strategy random_search --trials 20",
    });
  }
  if (strategy !== "random_search" && trials !== undefined) {
    throw new SweepError(`${strategy} takes no number of trials`, {
      flag: "--trials",
      hint: "--strategy random_search, or leave --trials out",
    });
  }
}

function keepOf(layout: Layout, where: string | undefined): Keep {
  if (where === undefined) return undefined;
  const keys = layout.columns.map(({ key }) => key);
  const filter = parseFilter(where, keys);
  return (indices) =>
    filter((index) => {
      const column = layout.columns[index];
      if (column === undefined) throw new Error(`no column ${index}`);
      return columnValue(layout, column, indices);
    });
}

function combine(
  strategy: Strategy,
  layout: Layout,
  options: SweepOptions,
  stream: Stream,
  limit: number,
): Combinations {
  const lengths = layout.axes.map(({ length }) => length);
  const keep = keepOf(layout, options.where);
  switch (strategy) {
    case "zip":
      return zip(lengths, layout.axisFlags, keep);
    case "random_search":
      checkCount((options.trials ?? 1) * (options.repeat ?? 1), limit);
      return randomSearch(lengths, keep, options.trials ?? 1, stream);
    case "grid_search":
    case "none":
      return product(lengths, keep, limit);
  }
}

function checkCount(count: number, limit: number): void {
  if (count <= limit) return;
  throw new SweepError(`the sweep has ${count} trials, the limit is ${limit}`, {
    hint: "fewer values or repeats, or --strategy random_search --trials N",
  });
}

/**
 * The trials of a command line. One random stream, numpy's `RandomState(seed)`, feeds the flags in their order
 * and then `random_search`. The same flags and options give the same trials, on any machine. Throws SweepError.
 */
export function expand(flags: readonly SweepFlag[], options: SweepOptions): Sweep {
  const strategy = readStrategy(options.strategy ?? "grid_search");
  checkOptions(options, strategy);
  const limit = options.maxTrials ?? DEFAULT_MAX_TRIALS;
  const stream = new Stream(options.seed);
  const layout = layOut(flags, stream, strategy !== "none");
  const combinations = combine(strategy, layout, options, stream, limit);
  const trials = new Trials(layout, combinations, options.repeat, strategy === "none");
  checkCount(trials.count, limit);
  const parameters = layout.columns.map(({ key, parts }): Parameter => {
    const counts = parts.flatMap((part) =>
      part.kind === "axis" ? (layout.axes[part.axis]?.length ?? 0) : [],
    );
    return { key, swept: counts.length > 0, counts };
  });
  return { seed: options.seed, strategy, trials, parameters, warnings: layout.warnings };
}
