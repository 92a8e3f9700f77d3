import type { Input } from "@rain/client";
import { instanceOf, requireAccessFile, type Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import { bold, print } from "../output.ts";
import { clusterWarnings, ensureServer } from "./cluster.ts";
import type { Submission } from "./plan.ts";
import { warn } from "./preview.ts";
import type { Project } from "./project.ts";
import { goesOn, leaveRun, reportRun, signalCode } from "./report.ts";
import { submitRun, type SubmittedRun } from "./submit.ts";
import { watchRun } from "./watch.ts";

/** What `rain run` and `rain submit` have in common: a plan becomes a run, and perhaps is shown until it ends. */

export interface Sending {
  readonly plan: Submission;
  readonly project: Project | undefined;
  readonly config: string;
  /** What all tasks get beside the project folder. */
  readonly volumes?: readonly Input[];
  /** Show it until it ends. */
  readonly wait: boolean;
  /** Start a server here when none runs. */
  readonly local: boolean;
}

/** Submits a run; the exit code. */
export async function sendRun(context: Context, asked: Sending): Promise<number> {
  const { plan, project, config, volumes } = asked;
  await ensureServer(context, asked.local);
  const accessFile = requireAccessFile(context, await instanceOf(context));
  const { Client } = await import("@rain/client");
  const client = await Client.connect({ accessFile });
  try {
    const { warnings, hasDisk } = await clusterWarnings(client, plan.settings);
    for (const warning of warnings) warn(context, warning);
    const submitted = await giveUpOnSignal((signal) =>
      submitRun(client, plan, { project, config, hasDisk, volumes, signal }),
    );
    if (!asked.wait) return reportDetached(context, plan, submitted);
    const { manifest, session } = submitted;
    if (context.globals.output === "plain")
      context.io.stdout(`${bold(`${manifest.name}: ${escapeText(plan.line)}`, context.io)}\n`);
    const watched = await watchRun(context, session, manifest);
    if (watched.left !== undefined) return leaveRun(context, manifest.name, watched.left);
    return await reportRun(context, client, {
      ...submitted,
      watched,
      warnings: [...plan.warnings, ...warnings],
    });
  } finally {
    await client.close();
  }
}

/** A signal before the run is submitted leaves nothing of it. */
async function giveUpOnSignal<T>(submit: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interrupt = new AbortController();
  const onSignal = (name: NodeJS.Signals): void =>
    interrupt.abort(
      new CommandError(signalCode(name), `${name}: the run is given up; nothing of it was started`),
    );
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    return await submit(interrupt.signal);
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}
function reportDetached(context: Context, plan: Submission, { session, manifest }: SubmittedRun): number {
  const { name, seed, count } = manifest;
  print(context.io, context.globals.output, { name, session: session.id, trials: count, seed }, () =>
    [`${name}: ${escapeText(plan.line)}`, escapeText(goesOn(name))].join("\n"),
  );
  return exitCodes.ok;
}
