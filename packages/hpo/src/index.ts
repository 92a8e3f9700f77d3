import { join } from "node:path";
import { appendLine, claim } from "./claims.ts";
import { checkGrid, combinationAt, countOf, GridSearch, placeOf } from "./grid.ts";
import type { Combination, Grid, Strategy } from "./grid.ts";

export { GridSearch, RandomSearch, type Combination, type Grid, type Json, type Strategy } from "./grid.ts";

/**
 * Inside a program that `rain submit` runs many times: which combination is mine, and how well does it do.
 *
 *     init("/tmp/hpo");
 *     const config = pick({ grid: { lr: [0.1, 0.01], layers: [2, 4] }, strategy: GridSearch });
 *     if (config === undefined) process.exit(0);
 *     report({ epoch: 1, metrics: { accuracy: 0.9 } });
 *
 * The server gives each completion its own number (RAIN_COMPLETION_INDEX), which stays when it is tried again; the
 * combination follows from it. Outside of Rain the folder of `init` hands them out.
 */

interface State {
  folder: string | undefined;
  /** Combinations that this process has picked. */
  picked: number;
  place: number | undefined;
  config: Combination | undefined;
}
const state: State = { folder: undefined, picked: 0, place: undefined, config: undefined };

export interface PickOptions {
  readonly grid: Grid;
  /** Default: GridSearch, the first parameter slowest. RandomSearch: all combinations in an order of chance. */
  readonly strategy?: Strategy | undefined;
  /** Another seed gives RandomSearch another order. All completions must use the same one. Default 0. */
  readonly seed?: number | undefined;
}

export interface ReportOptions {
  /** The step of the curves. */
  readonly epoch?: number | undefined;
  /** Numbers by their names. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Names the folder that hands out combinations and takes results when the program runs outside of Rain. */
export function init(folder: string): void {
  if (typeof folder !== "string" || folder === "") throw new TypeError("init: the folder must be a path");
  state.folder = folder;
  state.picked = 0;
  state.place = undefined;
  state.config = undefined;
}

/**
 * The next combination of this process: no other completion gets it. Undefined when all have been handed out. A
 * completion that picks again goes on with the combinations behind those of all completions. Throws TypeError or
 * RangeError for a wrong grid.
 */
export function pick({ grid, strategy = GridSearch, seed = 0 }: PickOptions): Combination | undefined {
  checkGrid(grid);
  const order = nextOrder(grid);
  const run = process.env["RAIN_RUN"] ?? "";
  const place = order === undefined ? undefined : placeOf(grid, strategy, order, `${run}:${seed}`);
  if (place === undefined) return undefined;
  state.picked += 1;
  state.place = place;
  state.config = combinationAt(grid, place);
  const metrics = process.env["RAIN_METRICS"];
  if (metrics !== undefined) appendLine(metrics, JSON.stringify({ params: state.config }));
  return state.config;
}

function nextOrder(grid: Grid): number | undefined {
  const index = wholeOf("RAIN_COMPLETION_INDEX");
  if (index !== undefined) return index + state.picked * (wholeOf("RAIN_COMPLETIONS") ?? 1);
  if (state.folder !== undefined) return claim(state.folder, grid, countOf(grid));
  throw new Error(
    "pick: this program was not started by rain submit; call init(FOLDER) first, which hands combinations out then",
  );
}

function wholeOf(name: string): number | undefined {
  const text = process.env[name];
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text))
    throw new Error(`pick: ${name} must be a whole number, not ${JSON.stringify(text)}`);
  return Number(text);
}

const reserved = new Set(["epoch", "step", "params"]);

/** Tells how well the combination does: a point of each metric's curve. Throws TypeError for what is no number. */
export function report({ epoch, metrics }: ReportOptions): void {
  const line: Record<string, number | string> = {};
  if (epoch !== undefined) line["epoch"] = number("epoch", epoch);
  for (const [name, value] of Object.entries(metrics)) {
    if (reserved.has(name)) throw new TypeError(`report: a metric cannot be named ${name}`);
    line[name] = number(name, value);
  }
  const file = process.env["RAIN_METRICS"];
  if (file !== undefined) appendLine(file, JSON.stringify(line));
  else if (state.folder !== undefined) {
    const result = { combination: state.place ?? null, params: state.config ?? null, ...line };
    appendLine(join(state.folder, "results.jsonl"), JSON.stringify(result));
  }
}

/** JSON has no word for NaN and the infinities: they travel as text. */
function number(name: string, value: unknown): number | string {
  if (typeof value !== "number")
    throw new TypeError(`report: ${name} must be a number, not ${String(value)}`);
  return Number.isFinite(value) ? value : String(value);
}
