import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { usageError } from "../failure.ts";
import { withCredential } from "../runs/cluster.ts";
import { submissionOf, tooMany } from "../runs/plan.ts";
import { prepareRun, projectWarnings, type RunSource } from "../runs/prepare.ts";
import { printPreview, warn } from "../runs/preview.ts";
import { readProject } from "../runs/project.ts";
import { sendRun } from "../runs/send.ts";

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
  return await sendRun(await withCredential(context, plan.settings.credential), {
    plan: submissionOf(plan),
    project,
    config,
    wait: !flags.detach,
    local: flags.local,
  });
}
