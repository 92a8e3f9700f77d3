import type { Client } from "@rain/client";
import {
  asSessionId,
  limits,
  RainError,
  type ReplyOf,
  type ResultRow,
  type SessionView,
} from "@rain/protocol";
import { nearMisses, oneOf } from "@rain/sweep";
import { z } from "zod";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import type { RunRef } from "../options.ts";
import { runManifest, type RunManifest } from "./manifest.ts";
import { trialRows, type Row } from "./rows.ts";

/** A run as it stands on the server. */
export interface FoundRun {
  readonly view: SessionView;
  readonly manifest: RunManifest;
}
export interface Run extends FoundRun {
  /** Trials by number. */
  readonly rows: readonly Row[];
}

const runUser = z.object({ run: runManifest });

/** The manifest among the attributes of a session; undefined for a session that is no run. */
export const manifestOf = (user: unknown): RunManifest | undefined => runUser.safeParse(user).data?.run;

/** Finds a run; throws with the names that are near when there is none. */
export async function findRun(client: Client, ref: RunRef): Promise<FoundRun> {
  const { view, user } = await askRun(client, ref);
  const manifest = manifestOf(user);
  if (manifest !== undefined) return { view, manifest };
  throw new CommandError(
    exitCodes.failed,
    `session ${view.session} is no run: "rain run" and "rain submit" make runs, "rain list" shows them`,
    { session: view.session },
  );
}

async function askRun(client: Client, ref: RunRef): Promise<ReplyOf<"session.get">> {
  try {
    return await client.request(
      "session.get",
      "name" in ref ? { name: ref.name } : { session: asSessionId(ref.session) },
    );
  } catch (error) {
    if (!(error instanceof RainError) || error.code !== "unknown-session") throw error;
    throw await noRun(client, ref);
  }
}

async function noRun(client: Client, ref: RunRef): Promise<CommandError> {
  const { sessions } = await client.request("session.list", {});
  const names = sessions.filter(({ unique }) => unique === true).map(({ name }) => name);
  const near = "name" in ref ? nearMisses(ref.name, names) : [];
  const what = "name" in ref ? `named ${ref.name}` : `with session number ${ref.session}`;
  const remedy =
    near.length > 0
      ? `did you mean ${oneOf(near)}?`
      : '"rain list" shows those there are, "rain history" those that were deleted';
  return new CommandError(exitCodes.failed, `there is no run ${what}: ${remedy}`);
}

/** All results of a session, page by page. */
async function readResults(client: Client, session: number): Promise<ResultRow[]> {
  const rows: ResultRow[] = [];
  let page: ReplyOf<"results"> | undefined;
  do {
    page = await client.request("results", {
      session: asSessionId(session),
      since: page?.cursor ?? 0,
      ...(page !== undefined && { instance: page.instance }),
      max: limits.resultRows,
    });
    rows.push(...page.rows);
  } while (page.more);
  return rows;
}

export async function readRun(client: Client, ref: RunRef): Promise<Run> {
  const found = await findRun(client, ref);
  return { ...found, rows: trialRows(await readResults(client, found.view.session)) };
}

/** The trial with this number; throws when the run has none. */
export function rowOfExperiment({ manifest, rows }: Run, experiment: number): Row {
  const row = rows.find((one) => one.experiment === experiment);
  if (row !== undefined) return row;
  const last = rows.at(-1)?.experiment;
  const there = last === undefined ? "it has none yet" : `they go from 0 to ${last}`;
  throw new CommandError(exitCodes.failed, `${manifest.name} has no experiment ${experiment}: ${there}`);
}
