import type { Client } from "@rain/client";
import { asSessionId, asTaskId } from "@rain/protocol";
import { resultsJson } from "../commands/results.ts";
import type { Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import { bold, print } from "../output.ts";
import { commandLine } from "./command-line.ts";
import type { Run } from "./open.ts";
import { warn } from "./preview.ts";
import type { SubmittedRun } from "./submit.ts";
import { resultTable } from "./table.ts";
import { total } from "./view.ts";
import type { WatchedRun } from "./watch.ts";
import { groupRepeats, judgeOf, missingMetric, winner, winningGroup } from "./winner.ts";

/** What a user may do with a run that goes on without this command. */
export const goesOn = (name: string): string =>
  `"rain status ${name}" shows how it stands, "rain results ${name}" its table, "rain stop ${name}" ends it`;

export const signalCode = (name: NodeJS.Signals): number => (name === "SIGINT" ? 130 : 143);

/** The user does not look any more; the exit code. */
export function leaveRun({ io }: Context, name: string, signal: NodeJS.Signals): number {
  io.stderr(`rain: detached; the run ${name} goes on. ${goesOn(name)}\n`);
  return signalCode(signal);
}

export interface EndedRun extends SubmittedRun {
  readonly watched: WatchedRun;
  /** What was said before it ran. */
  readonly warnings: readonly string[];
  /** Further fields of the JSON. */
  readonly more?: Readonly<Record<string, unknown>>;
}

/**
 * The table of a run that has ended, its winner with the command, and what is wrong with either. The exit code: 0 when
 * all trials have finished, 3 when some have; throws (1) when none has.
 */
export async function reportRun(context: Context, client: Client, ended: EndedRun): Promise<number> {
  const { session, manifest, watched } = ended;
  const { rows, counts } = watched;
  const found: Run = { view: { ...(await session.info()), counts }, manifest, rows };
  const judge = judgeOf(manifest, rows);
  const groups = (manifest.repeat ?? 1) > 1 ? groupRepeats(rows) : undefined;
  const best = judge && (groups ? winningGroup(groups, judge)?.rows[0] : winner(rows, judge));
  const command = best && (await commandOfTask(client, session.id, best.task));
  const missing = judge && missingMetric(judge.name, manifest, rows);
  const warnings = [...ended.warnings, ...(missing === undefined ? [] : [missing])];
  const json = { ...resultsJson(found, rows, undefined), ...ended.more, command: command ?? null, warnings };
  print(context.io, context.globals.output, json, () => {
    const again = command === undefined ? [] : ["", bold("The best again:", context.io), escapeText(command)];
    // A terminal has room for so many; the file or pipe behind another stdout takes all.
    const isLong = context.io.columns !== undefined && rows.length > LONG;
    const options = isLong ? { limit: SHOWN, ...(judge && { sort: judge.name }) } : {};
    const more = isLong ? [`rain results ${manifest.name} shows all of them`] : [];
    return ["", resultTable(manifest, rows, context.io, options), ...more, ...again].join("\n");
  });
  if (missing !== undefined) warn(context, missing);
  if (counts.finished === total(counts)) return exitCodes.ok;
  if (counts.finished > 0) return exitCodes.partial;
  throw new CommandError(
    exitCodes.failed,
    `no trial of ${manifest.name} has finished: see rain logs ${manifest.name} --experiment 0`,
  );
}

/** More rows than a terminal is meant for, and those that it gets then. */
const LONG = 100;
const SHOWN = 30;

async function commandOfTask(client: Client, session: number, task: number): Promise<string | undefined> {
  const ids = { session: asSessionId(session), tasks: [asTaskId(task)] };
  const [view] = (await client.request("task.get", ids)).tasks;
  return view && commandLine(view.spec);
}
