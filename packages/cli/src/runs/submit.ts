import {
  directory,
  input,
  inputDir,
  type Client,
  type DataObject,
  type ExecuteOptions,
  type Input,
  type Session,
} from "@rain/client";
import { RainError } from "@rain/protocol";
import type { Trial } from "@rain/sweep";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import type { RunSettings } from "./flags.ts";
import type { RunManifest } from "./manifest.ts";
import { randomName } from "./names.ts";
import { commandOf, manifestOf, trialEnvironment, trialInfoOf, type RunPlan } from "./plan.ts";
import type { Project } from "./project.ts";

/** Label of the input that is the project folder: what is added to a run later finds it by that. */
export const PROJECT_LABEL = "project";
/** Label of the input that is the datastore. */
export const DATASTORE_LABEL = "datastore";

/** What all trials of a run have. */
export interface TrialInputs {
  readonly project: DataObject | undefined;
  readonly datastore: DataObject | undefined;
}

export interface SubmittedRun {
  readonly session: Session;
  readonly manifest: RunManifest;
}

export interface SubmitOptions {
  readonly project: Project | undefined;
  /** YAML that repeats the run. */
  readonly config: string;
  /** Some governor declares the resource `disk`. */
  readonly hasDisk: boolean;
  /** Gives the run up as long as it is not submitted. */
  readonly signal: AbortSignal;
}

/** Makes the session of a run and submits all of its trials. Nothing is left on the server when it fails. */
export async function submitRun(
  client: Client,
  plan: RunPlan,
  options: SubmitOptions,
): Promise<SubmittedRun> {
  const { settings } = plan;
  const { project, config } = options;
  // Before the session, so that a wrong name leaves nothing behind.
  const datastore = await datastoreOf(client, settings);
  const { session, manifest } = await openSession(client, plan, config, project?.folder);
  try {
    const inputs: TrialInputs = {
      project: project && directory(project.folder, { files: project.files, label: PROJECT_LABEL }).keep(),
      datastore: datastore?.keep(),
    };
    addTrials(session, plan, manifest.name, plan.sweep.trials, inputs, options.hasDisk);
    await unlessAborted(session.submit(), options.signal);
    return { session, manifest };
  } catch (error) {
    await session.close().catch(() => undefined); // the first error is the one to tell
    throw error;
  }
}

async function unlessAborted(submit: Promise<void>, signal: AbortSignal): Promise<void> {
  const aborted = new Promise<never>((_, reject) => {
    const stop = (): void => reject(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
  await Promise.race([submit, aborted]);
}

async function datastoreOf(
  client: Client,
  { datastoreName, datastoreVersion }: RunSettings,
): Promise<DataObject | undefined> {
  return datastoreName === undefined ? undefined : await client.datastore(datastoreName, datastoreVersion);
}

/** Of six million names some are taken; not so often. */
const MAX_NAMES = 20;

async function openSession(
  client: Client,
  plan: RunPlan,
  config: string,
  project: string | undefined,
): Promise<SubmittedRun> {
  const { name: given, parallelism, failFast, maxFails } = plan.settings;
  for (let tries = 1; ; tries++) {
    const name = given ?? randomName();
    const manifest = manifestOf(plan, { name, created: Date.now(), config, project });
    try {
      const session = await client.newSession(name, {
        onError: "continue",
        detached: true,
        unique: true,
        ...(parallelism !== undefined && { parallelism }),
        ...(failFast === true || maxFails !== undefined
          ? { maxFails: failFast === true ? 1 : maxFails }
          : {}),
        user: { run: JSON.parse(JSON.stringify(manifest)) },
      });
      return { session, manifest };
    } catch (error) {
      if (!(error instanceof RainError) || error.code !== "name-taken") throw error;
      if (given !== undefined)
        throw new CommandError(
          exitCodes.failed,
          `there is a run named ${name} already: take another --name, or "rain delete ${name}" first`,
          { name },
          { cause: error },
        );
      if (tries === MAX_NAMES) throw error;
    }
  }
}

/** Adds the tasks of these trials to the session. */
export function addTrials(
  session: Session,
  plan: RunPlan,
  name: string,
  trials: Iterable<Trial>,
  inputs: TrialInputs,
  hasDisk: boolean,
): void {
  const common = commonOptions(plan.settings, hasDisk);
  const project =
    inputs.project && inputDir(PROJECT_LABEL, { object: inputs.project, path: ".", write: true });
  const datastore = inputs.datastore && datastoreInput(inputs.datastore, plan.settings.datastoreMountDir);
  const inputPaths = [project, datastore].filter((one) => one !== undefined);
  for (const trial of trials) {
    const task = session.execute(commandOf(plan, trial), {
      ...common,
      inputPaths,
      name: `${name}-exp${trial.index}`,
      env: { ...trialEnvironment(plan, name, trial), ...(datastore && { RAIN_DATASTORE: datastore }) },
      user: { trial: { ...trialInfoOf(plan, trial) } },
    });
    task.keepOutputs();
  }
}

/** A folder is a link to the governor's one copy; a file is mapped as every input is. */
function datastoreInput(object: DataObject, mountDir: string | undefined): Input {
  const folder = mountDir ?? DEFAULT_MOUNT;
  if (object.kind === "directory") return inputDir(DATASTORE_LABEL, { object, path: folder, shared: true });
  return input(DATASTORE_LABEL, { object, path: `${folder}/${object.label}` });
}
const DEFAULT_MOUNT = "rain-datastore";

function commonOptions(settings: RunSettings, hasDisk: boolean): ExecuteOptions {
  const { cpus, gpus, memory, diskSize, instanceType, framework, timeout, retries, cache } = settings;
  return {
    stdout: true,
    files: "artifacts",
    metrics: true,
    ...(cpus !== undefined && { cpus }),
    ...(gpus !== undefined && { gpus }),
    ...(memory !== undefined && { memory }),
    ...(diskSize !== undefined && hasDisk && { resources: { disk: diskSize } }),
    ...(instanceType !== undefined && { labels: { instance_type: instanceType } }),
    ...(framework !== undefined && { environment: framework }),
    ...(timeout !== undefined && { timeoutS: timeout }),
    ...(retries !== undefined && { retries }),
    ...(cache === true && { cache }),
  };
}
