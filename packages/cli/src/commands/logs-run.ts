import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@rain/client";
import { settledStates } from "@rain/protocol";
import { FOLLOW_RECONNECT_S, withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import type { RunRef } from "../options.ts";
import { readRun, rowOfExperiment, type Run } from "../runs/open.ts";
import { LinePrefixer } from "../runs/prefix.ts";
import type { Row } from "../runs/rows.ts";
import { run as runTask, type LogsFlags } from "./logs.ts";

export interface RunLogsFlags extends LogsFlags {
  readonly experiment?: number;
}

/**
 * `rain logs RUN`: what the trials wrote. One trial's log is copied byte by byte; of several each line begins with the
 * trial's number, one trial after the other, or with `--follow` as lines come.
 */
export async function run(context: Context, ref: RunRef, flags: RunLogsFlags): Promise<number> {
  const { experiment } = flags;
  if (experiment !== undefined) {
    const task = await withClient(context, async (client) => {
      const found = await readRun(client, ref);
      return { session: found.view.session, task: rowOfExperiment(found, experiment).task };
    });
    return await runTask(context, task, flags);
  }
  const work = async (client: Client): Promise<void> => {
    const found = await readRun(client, ref);
    if (flags.follow) return await followAll(context, client, ref, found, flags);
    const started = found.rows.filter(({ attempt }) => attempt > 0);
    if (started.length === 0)
      throw new CommandError(
        exitCodes.failed,
        `no trial of ${found.manifest.name} has run: there is no log yet; -f waits for it`,
      );
    for (const row of started) await copy(context, client, found, row, flags);
  };
  await withClient(context, work, flags.follow ? FOLLOW_RECONNECT_S : 0);
  return exitCodes.ok;
}

/** Copies the log of one trial of several. */
async function copy(
  { io, globals }: Context,
  client: Client,
  { view, rows }: Run,
  row: Row,
  flags: LogsFlags,
): Promise<void> {
  const isOne = rows.length === 1;
  const prefix = isOne ? "" : `${String(row.experiment).padStart(String(rows.length - 1).length)}: `;
  const lines = { stdout: new LinePrefixer(prefix), stderr: new LinePrefixer(prefix) };
  const task = { session: view.session, task: row.task };
  for await (const { stream, bytes, text } of client.logs(task, flags)) {
    if (globals.output === "json")
      io.stdout(`${escapeText(JSON.stringify({ experiment: row.experiment, stream, text }))}\n`);
    else io[stream](isOne ? bytes : lines[stream].push(bytes));
    await io.drained();
  }
  if (globals.output === "json" || isOne) return;
  for (const stream of ["stdout", "stderr"] as const) io[stream](lines[stream].end());
}

/** Followed at once; each is asked for a few times a second. */
const mostFollowed = 32;
const pollMs = 500;

/** Follows the trials that run, and those that start, until all have ended. */
async function followAll(
  context: Context,
  client: Client,
  ref: RunRef,
  first: Run,
  flags: LogsFlags,
): Promise<void> {
  const begun = new Set<number>();
  const going = new Set<Promise<void>>();
  const problems: unknown[] = [];
  for (let found = first; ; found = await readRun(client, ref)) {
    const waiting = found.rows.filter(({ task, attempt }) => attempt > 0 && !begun.has(task));
    for (const row of waiting.slice(0, mostFollowed - going.size)) {
      begun.add(row.task);
      const one: Promise<void> = copy(context, client, found, row, flags)
        .catch((error: unknown) => void problems.push(error))
        .finally(() => going.delete(one));
      going.add(one);
    }
    if (problems.length > 0) throw problems[0];
    const isOver = found.rows.every(
      ({ task, attempt, state }) =>
        settledStates.some((settled) => settled === state) && (attempt === 0 || begun.has(task)),
    );
    if (isOver && found.rows.length > 0) break;
    await sleep(pollMs);
  }
  await Promise.all(going);
  if (problems.length > 0) throw problems[0];
}
