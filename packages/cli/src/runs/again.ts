import type { Client, Session } from "@rain/client";
import type { TaskState } from "@rain/protocol";
import { resultsJson } from "../commands/results.ts";
import { FOLLOW_RECONNECT_S, withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import type { RunRef } from "../options.ts";
import { print } from "../output.ts";
import { findRun, type Run } from "./open.ts";
import { trialRows } from "./rows.ts";
import { resultTable } from "./table.ts";
import { total } from "./view.ts";
import { watchRun, type WatchedRun } from "./watch.ts";

/** What `rain retry`, `rain resume` and `rain extend` have in common: more tasks for a run, and then its table. */

export interface AgainFlags {
  /** Return when the tasks are submitted. */
  readonly detach: boolean;
}

/** Submits tasks for some trials of the run; the numbers of the trials. */
export type Submit = (client: Client, session: Session, run: Run) => Promise<readonly number[]>;

/** Submits and, unless detached, shows the run until it ends. The exit code is that of `rain run`. */
export async function goOn(
  context: Context,
  ref: RunRef,
  { detach }: AgainFlags,
  submit: Submit,
): Promise<number> {
  const work = async (client: Client): Promise<number> => {
    const found = await findRun(client, ref);
    const session = await client.attach(found.view.session);
    const before = await session.results();
    const { name } = found.manifest;
    const submitted = await submit(client, session, { ...found, rows: trialRows(before.rows) });
    const told =
      submitted.length === 0
        ? `${name}: nothing to submit`
        : `${name}: ${submitted.length} experiment${submitted.length === 1 ? "" : "s"} submitted`;
    if (detach) {
      const json = { name, session: session.id, submitted };
      print(context.io, context.globals.output, json, () => told);
      return exitCodes.ok;
    }
    if (context.globals.output === "plain") context.io.stderr(`${told}\n`);
    const watched = await watchRun(context, session, found.manifest, before);
    if (watched.left !== undefined) return leave(context, name, watched.left);
    return await report(context, session, found, submitted, watched);
  };
  return await withClient(context, work, FOLLOW_RECONNECT_S);
}

function leave({ io }: Context, name: string, signal: NodeJS.Signals): number {
  io.stderr(`rain: detached; the run ${name} goes on: rain status ${name}\n`);
  return signal === "SIGINT" ? 130 : 143;
}

async function report(
  context: Context,
  session: Session,
  { manifest }: Pick<Run, "manifest">,
  submitted: readonly number[],
  { rows, counts }: WatchedRun,
): Promise<number> {
  const run: Run = { view: { ...(await session.info()), counts }, manifest, rows };
  const json = { ...resultsJson(run, rows, undefined), submitted };
  print(context.io, context.globals.output, json, () => resultTable(manifest, rows, context.io));
  if (counts.finished === total(counts)) return exitCodes.ok;
  return counts.finished > 0 ? exitCodes.partial : exitCodes.failed;
}

/** Runs the trials in these states again, with the same values. */
export const resubmit =
  (states: readonly TaskState[]): Submit =>
  async (_client, session, { rows }) => {
    const again = rows.filter(({ state }) => states.includes(state));
    if (again.length === 0) return [];
    session.retry(again.map(({ task }) => session.task(task)));
    await session.submit();
    return again.map(({ experiment }) => experiment);
  };
