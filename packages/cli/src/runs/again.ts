import type { Client, Session } from "@rain/client";
import type { TaskState } from "@rain/protocol";
import { FOLLOW_RECONNECT_S, withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import type { RunRef } from "../options.ts";
import { print } from "../output.ts";
import { findRun, type Run } from "./open.ts";
import { leaveRun, reportRun } from "./report.ts";
import { trialRows } from "./rows.ts";
import { watchRun } from "./watch.ts";

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
    if (watched.left !== undefined) return leaveRun(context, name, watched.left);
    const { manifest } = found;
    return await reportRun(context, client, {
      session,
      manifest,
      watched,
      warnings: [],
      more: { submitted },
    });
  };
  return await withClient(context, work, FOLLOW_RECONNECT_S);
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
