import { requireAccessFile, instanceOf, type Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import { bold, print } from "../output.ts";
import { clusterWarnings, ensureServer, withCredential } from "../runs/cluster.ts";
import { planLine, tooMany, type RunPlan } from "../runs/plan.ts";
import { prepareRun, projectWarnings, type RunSource } from "../runs/prepare.ts";
import { printPreview, warn } from "../runs/preview.ts";
import { readProject, type Project } from "../runs/project.ts";
import { goesOn, leaveRun, reportRun, signalCode } from "../runs/report.ts";
import { submitRun, type SubmittedRun } from "../runs/submit.ts";
import { watchRun } from "../runs/watch.ts";

export interface RunFlags extends RunSource {
  readonly printConfig: boolean;
  readonly dryRun: boolean;
  readonly detach: boolean;
  readonly local: boolean;
}

/** `rain run [RUN FLAGS] PROGRAM [ARGS...]`: one program, many trials. docs/cli.md has it all. */
export async function run(
  context: Context,
  program: string | undefined,
  args: readonly string[],
  flags: RunFlags,
): Promise<number> {
  const { plan, folder, config, notes } = prepareRun(context, program, args, flags);
  if (flags.printConfig) {
    context.io.stdout(config);
    return exitCodes.ok;
  }
  const isReal = !flags.dryRun;
  const refusal = tooMany(plan);
  if (isReal && refusal !== undefined) throw usageError(refusal);
  const project = folder === undefined ? undefined : await readProject(folder);
  for (const note of [...notes, ...(project ? projectWarnings(plan, project) : [])]) warn(context, note);
  if (flags.dryRun) {
    await printPreview(context, plan, config);
    return exitCodes.ok;
  }
  for (const warning of plan.warnings) warn(context, warning);
  return await submitAndWatch(await withCredential(context, plan.settings.credential), {
    plan,
    project,
    config,
    flags,
  });
}

interface Asked {
  readonly plan: RunPlan;
  readonly project: Project | undefined;
  readonly config: string;
  readonly flags: RunFlags;
}

async function submitAndWatch(context: Context, asked: Asked): Promise<number> {
  const { plan, project, config, flags } = asked;
  await ensureServer(context, flags.local);
  const accessFile = requireAccessFile(context, await instanceOf(context));
  const { Client } = await import("@rain/client");
  const client = await Client.connect({ accessFile });
  try {
    const { warnings, hasDisk } = await clusterWarnings(client, plan.settings);
    for (const warning of warnings) warn(context, warning);
    const submitted = await giveUpOnSignal((signal) =>
      submitRun(client, plan, { project, config, hasDisk, signal }),
    );
    if (flags.detach) return reportDetached(context, plan, submitted);
    const { manifest, session } = submitted;
    if (context.globals.output === "plain")
      context.io.stdout(`${bold(`${manifest.name}: ${escapeText(planLine(plan))}`, context.io)}\n`);
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
function reportDetached(context: Context, plan: RunPlan, { session, manifest }: SubmittedRun): number {
  const { name, seed, count } = manifest;
  print(context.io, context.globals.output, { name, session: session.id, trials: count, seed }, () =>
    [`${name}: ${escapeText(planLine(plan))}`, escapeText(goesOn(name))].join("\n"),
  );
  return exitCodes.ok;
}
