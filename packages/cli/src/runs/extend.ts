import type { DataObject, Session } from "@rain/client";
import type { Trial } from "@rain/sweep";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import type { Submit } from "./again.ts";
import { clusterWarnings } from "./cluster.ts";
import { parseRunConfig } from "./config.ts";
import type { RunManifest } from "./manifest.ts";
import { planRun, type RunPlan } from "./plan.ts";
import { addTrials, DATASTORE_LABEL, PROJECT_LABEL, type TrialInputs } from "./submit.ts";

/**
 * Adds trials to a random search, with the run's seed: N + M trials begin with the same N, so that the new ones are
 * those that a larger `--trials` would have given at first. With repeats a trial counts once, as for `rain run`.
 */
export const extendBy =
  (more: number): Submit =>
  async (client, session, { manifest, rows }) => {
    refuseOthers(manifest);
    const count = (rows.at(-1)?.experiment ?? -1) + 1;
    const plan = largerPlan(manifest, Math.ceil(count / (manifest.repeat ?? 1)) + more);
    const trials: Trial[] = [];
    for (const trial of plan.sweep.trials) if (trial.index >= count) trials.push(trial);
    const { hasDisk } = await clusterWarnings(client, plan.settings);
    addTrials(session, plan, manifest.name, trials, inputsOf(session, manifest), hasDisk);
    await session.submit();
    return trials.map(({ index }) => index);
  };

function refuseOthers({ name, kind, strategy }: RunManifest): void {
  if (kind === "sweep" && strategy === "random_search") return;
  const remedy =
    kind === "completions"
      ? "submit it anew with more --completions"
      : "run it anew with more values; with --cache what is there already is taken over";
  throw usageError(
    `only a run with --strategy random_search can be extended; ${name} ${kind === "completions" ? "is of rain submit" : `is ${strategy ?? "grid_search"}`}: ${remedy}`,
  );
}

/** The plan of the run as if it had been made with so many trials. */
function largerPlan(manifest: RunManifest, trials: number): RunPlan {
  const { program, words, seed, strategy } = manifest;
  const { settings } = parseRunConfig(manifest.config, `configuration of ${manifest.name}`);
  return planRun({
    program,
    words,
    seed,
    settings: { ...settings, trials, ...(strategy !== undefined && { strategy }) },
  });
}

/** The project folder and the datastore that the run's tasks have, as they were when it was made. */
function inputsOf(session: Session, manifest: RunManifest): TrialInputs {
  const [first] = session.tasks;
  const find = (label: string): DataObject | undefined => {
    const input = first?.spec.inputs.find((each) => each.label === label);
    return input && session.objects.find(({ id }) => id === input.object);
  };
  const project = find(PROJECT_LABEL);
  if (project === undefined && manifest.project !== undefined)
    throw new CommandError(
      exitCodes.failed,
      `${manifest.name} has no project folder any more; run it anew with more --trials`,
    );
  return { project, datastore: find(DATASTORE_LABEL) };
}
