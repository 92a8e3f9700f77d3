import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@rain/client";
import { asSessionId, type TaskState } from "@rain/protocol";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import type { RunRef } from "../options.ts";
import { print, type Io } from "../output.ts";
import { rowJson, type RowJson } from "./export.ts";
import { readRun, type Run } from "./open.ts";
import { Progress } from "./progress.ts";
import { resultTable } from "./table.ts";
import { countsText, runJson, runState, total, unsettled, type RunJson } from "./view.ts";

/** What `rain retry`, `rain resume` and `rain extend` have in common: more tasks for a run, and then its table. */

export interface AgainFlags {
  /** Return when the tasks are submitted. */
  readonly detach: boolean;
}

export interface AgainJson {
  readonly run: RunJson;
  /** Numbers of the trials that were submitted. */
  readonly submitted: readonly number[];
  /** Null with `--detach`: they have not ended. */
  readonly experiments: readonly RowJson[] | null;
}

/** Submits tasks for some trials; their numbers. */
export type Submit = (client: Client, run: Run) => Promise<readonly number[]>;

/** Submits and, unless detached, waits until nothing runs any more; exit code 1 when something did not finish. */
export async function goOn(
  context: Context,
  ref: RunRef,
  { detach }: AgainFlags,
  submit: Submit,
): Promise<number> {
  const { io, globals } = context;
  const { submitted, run } = await withClient(context, async (client) => {
    const before = await readRun(client, ref);
    const submitted = await submit(client, before);
    if (globals.output === "plain") io.stderr(`${told(before, submitted)}\n`);
    const session = { session: before.view.session };
    const run = detach ? await readRun(client, session) : await untilOver(client, session, io);
    return { submitted, run };
  });
  const { manifest, rows, view } = run;
  const experiments = detach ? null : rows.map((row) => rowJson(view.session, row));
  const json: AgainJson = { run: runJson(run), submitted, experiments };
  print(io, globals.output, json, () => (detach ? "" : resultTable(manifest, rows, io)));
  if (detach) return exitCodes.ok;
  return runState(view.counts) === "finished" ? exitCodes.ok : exitCodes.failed;
}

const told = ({ manifest: { name } }: Run, submitted: readonly number[]): string =>
  submitted.length === 0
    ? `${name}: nothing to run again`
    : `${name}: ${submitted.length} experiment${submitted.length === 1 ? "" : "s"} submitted`;

const pollMs = 300;

/** The run when none of its trials can change any more. */
async function untilOver(client: Client, session: { readonly session: number }, io: Io): Promise<Run> {
  const progress = new Progress(io);
  try {
    for (;;) {
      const { view } = await client.request("session.get", { session: asSessionId(session.session) });
      if (unsettled(view.counts) === 0) return await readRun(client, session);
      progress.show(
        `${total(view.counts) - unsettled(view.counts)}/${total(view.counts)}: ${countsText(view.counts)}`,
      );
      await sleep(pollMs);
    }
  } finally {
    progress.done();
  }
}

/** Runs the trials in these states again, with the same values. */
export const resubmit =
  (states: readonly TaskState[]): Submit =>
  async (client, { view, rows }) => {
    const again = rows.filter(({ state }) => states.includes(state));
    if (again.length === 0) return [];
    const session = await client.attach(view.session);
    session.retry(again.map(({ task }) => session.task(task)));
    await session.submit();
    return again.map(({ experiment }) => experiment);
  };
