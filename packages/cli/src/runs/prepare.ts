import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { MAX_SEED } from "@rain/sweep";
import type { Context } from "../context.ts";
import { usageError } from "../failure.ts";
import { parseRunConfig, printRunConfig, type RunFile } from "./config.ts";
import { flagWord, SETTING_FLAGS, settingNames, type RunSettings, type SettingName } from "./flags.ts";
import { planRun, type RunPlan } from "./plan.ts";
import { resolveProgram } from "./program-file.ts";
import { isLeftBehind, type Project } from "./project.ts";
import { readSetting } from "./settings.ts";
import { mergeWords } from "./words.ts";

/** Where the settings of a run come from. */
export interface RunSource {
  /** The settings as they were typed; a switch is true. */
  readonly typed: Readonly<Partial<Record<SettingName, string | boolean>>>;
  /** A YAML file. */
  readonly config?: string;
}

/** A run that is planned, and what goes with it. */
export interface Prepared {
  readonly plan: RunPlan;
  readonly folder: string | undefined;
  readonly config: string;
  readonly notes: readonly string[];
}

/** Reads the file and the command line, finds the program and expands its arguments. Nothing is sent. */
export function prepareRun(
  context: Context,
  program: string | undefined,
  args: readonly string[],
  flags: RunSource,
): Prepared {
  const file = flags.config === undefined ? undefined : readConfig(flags.config);
  const settings: RunSettings = { ...file?.settings, ...typedSettings(flags.typed) };
  const meant = program ?? file?.program;
  if (meant === undefined)
    throw usageError(
      `which program? rain run [FLAGS] PROGRAM [ARGS...]${file === undefined ? "" : `; ${flags.config} has no run.program`}`,
    );
  checkSettings(settings);
  const words = mergeWords(file?.words ?? [], args);
  const cwd = process.cwd();
  const folder = settings.localdir === false ? undefined : resolve(settings.localdir ?? cwd);
  const path = settings.framework === undefined ? (context.env["PATH"] ?? "") : undefined;
  const resolved = resolveProgram(meant, { cwd, folder, path });
  // With another seed nothing would be the same as before.
  const seed = settings.seed ?? (settings.cache === true ? 0 : randomInt(MAX_SEED + 1));
  const plan = planRun({ program: resolved.words, words, settings, seed, file: resolved.file });
  const config = printRunConfig({ settings: { ...settings, seed }, program: meant, words });
  const notes = (file?.ignored ?? []).map((key) => `${flags.config}: ${key} has no meaning here`);
  return { plan, folder, config, notes };
}

function readConfig(file: string): RunFile {
  try {
    return parseRunConfig(readFileSync(file, "utf8"), file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw usageError(`--config: there is no file ${file}`);
  }
}

function typedSettings(typed: RunSource["typed"]): RunSettings {
  let settings: RunSettings = {};
  for (const name of settingNames) {
    const text = typed[name];
    if (text === undefined) continue;
    settings = { ...settings, ...readSetting(name, flagWord(SETTING_FLAGS[name].flag), String(text)) };
  }
  return settings;
}

/** What goes together, and what does not. */
function checkSettings(settings: RunSettings): void {
  const { failFast, maxFails, datastoreName, datastoreVersion, datastoreMountDir } = settings;
  if (failFast === true && maxFails !== undefined && maxFails > 1)
    throw usageError(`--fail-fast is --max-fails 1, but --max-fails ${maxFails} is given: choose one`);
  if (datastoreName !== undefined) return;
  const flag = datastoreVersion !== undefined ? "--datastore_version" : "--datastore_mount_dir";
  if (datastoreVersion !== undefined || datastoreMountDir !== undefined)
    throw usageError(`${flag}: which datastore? --datastore_name NAME ("rain datastore list" shows them)`);
}

/** Files that are named here and do not travel; a program among them is an error. */
export function projectWarnings(plan: RunPlan, project: Project): string[] {
  const sent = new Set(project.files);
  const why = "it is ignored by git or .rainignore, or leads out of the project folder";
  if (plan.file !== undefined && !sent.has(plan.file))
    throw usageError(`the program ${plan.file} would not travel with the run: ${why}`);
  const behind = [...new Set(plan.words)].filter((word) => isLeftBehind(project, sent, word));
  return [
    ...project.notes,
    ...behind.map(
      (word) =>
        `${word} is here but does not travel: ${why}. Put data into a datastore (rain datastore create)`,
    ),
  ];
}
