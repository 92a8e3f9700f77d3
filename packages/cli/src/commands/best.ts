import { asSessionId, asTaskId } from "@rain/protocol";
import { quote } from "shlex";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import type { RunRef } from "../options.ts";
import { bold, print } from "../output.ts";
import { commandLine } from "../runs/command-line.ts";
import { numberJson } from "../runs/export.ts";
import { checkMetric } from "../runs/heatmap.ts";
import { readRun, type Run } from "../runs/open.ts";
import { metricNames, metricValue, type Row } from "../runs/rows.ts";
import { formatMean, formatValue } from "../runs/table.ts";
import {
  groupRepeats,
  judgeOf,
  meanOf,
  missingMetric,
  winner,
  winningGroup,
  type Judge,
  type Mean,
} from "../runs/winner.ts";

export interface BestFlags {
  readonly metric?: string;
}

/** `rain best RUN`: the values that won, and the line that runs them again. */
export async function run(context: Context, ref: RunRef, flags: BestFlags): Promise<number> {
  const { found, judge, row, mean, command } = await withClient(context, async (client) => {
    const found = await readRun(client, ref);
    const judge = checkJudge(found, flags.metric);
    const { row, mean } = best(found, judge);
    const ids = { session: asSessionId(found.view.session), tasks: [asTaskId(row.task)] };
    const [task] = (await client.request("task.get", ids)).tasks;
    return { found, judge, row, mean, command: task && commandLine(task.spec) };
  });
  const { manifest, rows } = found;
  const value = metricValue(row, judge.name) ?? Number.NaN;
  const json = {
    run: manifest.name,
    experiment: row.experiment,
    task: `${found.view.session}/${row.task}`,
    metric: judge.name,
    goal: judge.goal,
    value: numberJson(mean?.mean ?? value),
    sd: mean?.sd === undefined ? null : numberJson(mean.sd),
    repeats: mean?.n ?? 1,
    params: row.params,
    texts: row.texts,
    command: command ?? null,
    project: manifest.project ?? null,
  };
  print(context.io, context.globals.output, json, () => {
    const finished = rows.filter(({ state }) => state === "finished").length;
    const size = judge.goal === "min" ? "smallest" : "largest";
    const head = `experiment ${row.experiment} of ${manifest.name}: ${judge.name} ${mean ? formatMean(mean) : formatValue(value)}`;
    const names = Object.keys(row.texts);
    const width = Math.max(0, ...names.map((name) => escapeText(name).length));
    const from = manifest.project === undefined ? "" : `cd ${quote(manifest.project)} && `;
    return [
      bold(escapeText(head), context.io),
      `(the ${size} of ${finished} that finished${mean ? ", mean ± standard deviation of its repeats" : ""})`,
      ...names.map((name) => `  ${escapeText(name).padEnd(width)}  ${escapeText(row.texts[name] ?? "")}`),
      ...(command === undefined ? [] : ["", escapeText(`${from}${command}`)]),
    ].join("\n");
  });
  return exitCodes.ok;
}

/** What the run is judged by; throws when that cannot be told. */
export function checkJudge({ manifest, rows }: Run, named: string | undefined): Judge {
  if (named !== undefined) checkMetric(named, manifest, rows);
  const judge = judgeOf(manifest, rows, named);
  if (judge !== undefined) {
    const missing = missingMetric(judge.name, manifest, rows);
    if (missing !== undefined) throw new CommandError(exitCodes.failed, missing);
    return judge;
  }
  const names = metricNames(manifest, rows);
  if (names.length === 0)
    throw new CommandError(exitCodes.failed, `no trial of ${manifest.name} has told a metric yet`);
  throw usageError(
    `${manifest.name} has several metrics: name the one that counts with --metric: ${names.join(", ")}`,
  );
}

/** The winner: of a run with repeats the first trial of the best combination. */
function best({ manifest, rows }: Run, judge: Judge): { row: Row; mean: Mean | undefined } {
  if ((manifest.repeat ?? 1) > 1) {
    const group = winningGroup(groupRepeats(rows), judge);
    const row = group?.rows.find(({ state }) => state === "finished");
    if (group !== undefined && row !== undefined) return { row, mean: meanOf(group, judge.name) };
  } else {
    const row = winner(rows, judge);
    if (row !== undefined) return { row, mean: undefined };
  }
  throw new CommandError(
    exitCodes.failed,
    `no trial of ${manifest.name} has finished with a number for ${judge.name}`,
  );
}
