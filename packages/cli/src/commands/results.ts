import { writeFile } from "node:fs/promises";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { usageError } from "../failure.ts";
import type { RunRef } from "../options.ts";
import { print } from "../output.ts";
import { numberJson, rowJson, toCsv, toParquet, type NumberJson, type RowJson } from "../runs/export.ts";
import { checkMetric, unknownName } from "../runs/heatmap.ts";
import { readRun, type Run } from "../runs/open.ts";
import { metricValue, type Row } from "../runs/rows.ts";
import { resultTable, sortKeys, sortRows } from "../runs/table.ts";
import { runJson, type RunJson } from "../runs/view.ts";
import { judgeOf, winner } from "../runs/winner.ts";

export interface ResultsFlags {
  readonly sort?: string;
  readonly metric?: string;
  readonly all: boolean;
  /** A file, or true for stdout. */
  readonly csv?: string | true;
  readonly json?: string | true;
  readonly parquet?: string;
}

/** What `-o json` and `--json` write. */
export interface ResultsJson {
  readonly run: RunJson;
  readonly metric: { readonly name: string; readonly goal: "min" | "max" } | null;
  /** The trial that won. */
  readonly best: { readonly experiment: number; readonly value: NumberJson } | null;
  readonly experiments: readonly RowJson[];
}

/** `rain results RUN`: the table of a run, for people or as a file. */
export async function run(context: Context, ref: RunRef, flags: ResultsFlags): Promise<number> {
  const files = [flags.csv, flags.json, flags.parquet].filter((one) => one !== undefined);
  if (files.filter((file) => file === true || file === "-").length > 1)
    throw usageError("only one of --csv and --json can go to stdout: name a file for the other");
  const found = await withClient(context, (client) => readRun(client, ref));
  const { manifest } = found;
  if (flags.sort !== undefined && !sortKeys(manifest, found.rows).includes(flags.sort))
    throw unknownName("--sort: nothing here is named", flags.sort, sortKeys(manifest, found.rows));
  if (flags.metric !== undefined) checkMetric(flags.metric, manifest, found.rows);
  const rows = sortRows(found.rows, flags.sort, manifest);
  if (files.length > 0) {
    await writeFiles(context, found, rows, flags);
    return exitCodes.ok;
  }
  print(context.io, context.globals.output, resultsJson(found, rows, flags.metric), () =>
    resultTable(manifest, found.rows, context.io, flags),
  );
  return exitCodes.ok;
}

export function resultsJson(found: Run, rows: readonly Row[], metric: string | undefined): ResultsJson {
  const judge = judgeOf(found.manifest, rows, metric);
  const best = judge && winner(found.rows, judge);
  const value = best && judge && metricValue(best, judge.name);
  return {
    run: runJson(found),
    metric: judge ?? null,
    best: best && value !== undefined ? { experiment: best.experiment, value: numberJson(value) } : null,
    experiments: rows.map((row) => rowJson(found.view.session, row)),
  };
}

async function writeFiles(
  { io }: Context,
  found: Run,
  rows: readonly Row[],
  { csv, json, parquet, metric }: ResultsFlags,
): Promise<void> {
  const put = async (to: string | true, text: string): Promise<void> => {
    if (to === true || to === "-") io.stdout(text);
    else await writeFile(to, text);
  };
  if (csv !== undefined) await put(csv, toCsv(found.manifest, rows));
  if (json !== undefined) await put(json, `${JSON.stringify(resultsJson(found, rows, metric), null, 2)}\n`);
  if (parquet !== undefined) await writeFile(parquet, await toParquet(found.manifest, rows));
}
