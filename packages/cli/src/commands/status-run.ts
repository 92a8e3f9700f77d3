import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";
import type { RunRef } from "../options.ts";
import { bold, print, type Io } from "../output.ts";
import { numberJson } from "../runs/export.ts";
import { readRun, type Run } from "../runs/open.ts";
import { metricValue } from "../runs/rows.ts";
import { formatCost, formatValue } from "../runs/table.ts";
import { countsText, formatAge, runJson } from "../runs/view.ts";
import { judgeOf, missingMetric, winner } from "../runs/winner.ts";

/** `rain status RUN`, `rain get RUN`: how a run stands. */
export async function run(context: Context, ref: RunRef): Promise<number> {
  const found = await withClient(context, (client) => readRun(client, ref));
  const { rows } = found;
  const best = bestOf(found);
  const json = {
    ...runJson(found),
    running: rows
      .filter(({ state }) => state === "running")
      .map(({ experiment, governor }) => ({ experiment, governor: governor ?? null })),
    failed: rows
      .filter(({ state }) => state === "failed")
      .map(({ experiment, failure }) => ({ experiment, message: failure?.message ?? "" })),
    cached: rows.filter(({ cached }) => cached).length,
    cost: costOf(found) ?? null,
    best: best === undefined ? null : { ...best, value: numberJson(best.value) },
    config: found.manifest.config,
  };
  print(context.io, context.globals.output, json, () => statusText(found, context.io, Date.now()));
  return exitCodes.ok;
}

function bestOf({ manifest, rows }: Run): { experiment: number; metric: string; value: number } | undefined {
  const judge = judgeOf(manifest, rows);
  const row = judge && winner(rows, judge);
  const value = row && judge && metricValue(row, judge.name);
  return row && judge && value !== undefined
    ? { experiment: row.experiment, metric: judge.name, value }
    : undefined;
}

function costOf({ rows }: Run): number | undefined {
  const costs = rows.map(({ cost }) => cost).filter((cost) => cost !== undefined);
  return costs.length === 0 ? undefined : costs.reduce((sum, cost) => sum + cost, 0);
}

const mostFailures = 5;

export function statusText(found: Run, io: Io, now: number): string {
  const { view, manifest, rows } = found;
  const { state } = runJson(found);
  const best = bestOf(found);
  const cost = costOf(found);
  const cached = rows.filter((row) => row.cached).length;
  const failed = rows.filter((row) => row.state === "failed");
  const missing = manifest.metric && missingMetric(manifest.metric.name, manifest, rows);
  const lines: (readonly [string, string] | undefined)[] = [
    manifest.description === undefined ? undefined : ["about", manifest.description],
    ["command", [...manifest.program, ...manifest.words].join(" ")],
    manifest.swept.length === 0 ? undefined : ["varies", manifest.swept.join(", ")],
    ["seed", String(manifest.seed)],
    ["trials", `${countsText(view.counts)}${cached > 0 ? ` (${cached} from the cache)` : ""}`],
    best && ["best", `experiment ${best.experiment}: ${best.metric} ${formatValue(best.value)}`],
    cost === undefined ? undefined : ["cost", formatCost(cost)],
    ...failed
      .slice(0, mostFailures)
      .map((row) => ["failed", `experiment ${row.experiment}: ${row.failure?.message ?? ""}`] as const),
    failed.length > mostFailures ? ["", `and ${failed.length - mostFailures} more`] : undefined,
    missing === undefined ? undefined : ["metric", missing],
  ];
  const age = formatAge(manifest.created, now);
  return [
    bold(escapeText(`${manifest.name} (session ${view.session}): ${state}, made ${age} ago`), io),
    ...lines
      .filter((line) => line !== undefined)
      .map(([name, text]) => `  ${name.padEnd(8)} ${escapeText(text)}`),
  ].join("\n");
}
