import { randomInt } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { blob, directory, input, inputDir, type Input } from "@rain/client";
import { MAX_SEED } from "@rain/sweep";
import type { Context } from "../context.ts";
import { usageError } from "../failure.ts";
import { formatBytes } from "../output.ts";
import {
  checkVolumes,
  completionsOf,
  parseVariable,
  parseVolume,
  submitLine,
  type Volume,
} from "../runs/completions.ts";
import { longFlag, submitSettings, type RunSettings, type SettingName } from "../runs/flags.ts";
import { projectWarnings } from "../runs/prepare.ts";
import { warn } from "../runs/preview.ts";
import { resolveProgram } from "../runs/program-file.ts";
import { readProject } from "../runs/project.ts";
import { sendRun } from "../runs/send.ts";
import { readSetting } from "../runs/settings.ts";

export interface SubmitFlags {
  /** The settings as they were typed. */
  readonly typed: Readonly<Partial<Record<SettingName, string | boolean>>>;
  readonly completions: number;
  readonly env: readonly string[];
  readonly volumes: readonly string[];
  readonly wait: boolean;
}

/** Further tries of a completion that fails, as Kubernetes has it. */
const BACKOFF_LIMIT = 6;

/** `rain submit NAME [FLAGS] -- COMMAND`: one command, many times. docs/cli.md has it all. */
export async function run(
  context: Context,
  name: string,
  command: readonly string[],
  flags: SubmitFlags,
): Promise<number> {
  const settings: RunSettings = { retries: BACKOFF_LIMIT, ...typedSettings(flags.typed), name };
  const env = Object.fromEntries(flags.env.map((text) => parseVariable("-e", text)));
  const volumes = flags.volumes.map((text) => parseVolume("-v", text));
  checkVolumes(volumes);
  const cwd = process.cwd();
  const folder = settings.localdir === false ? undefined : resolve(settings.localdir ?? cwd);
  const path = settings.framework === undefined ? (context.env["PATH"] ?? "") : undefined;
  const [program = "", ...words] = command;
  const resolved = resolveProgram(program, { cwd, folder, path });
  const seed = randomInt(MAX_SEED + 1);
  const plan = { program: resolved.words, words, settings, seed, count: flags.completions, env };
  const project = folder === undefined ? undefined : await readProject(folder);
  const notes = project === undefined ? [] : projectWarnings({ file: resolved.file, words }, project);
  for (const note of notes) warn(context, note);
  return await sendRun(context, {
    plan: completionsOf(plan),
    project,
    config: submitLine(name, plan, volumes, command),
    volumes: volumes.map((volume, index) => volumeInput(volume, `volume${index}`)),
    wait: flags.wait,
    local: false,
  });
}

function typedSettings(typed: SubmitFlags["typed"]): RunSettings {
  let settings: RunSettings = {};
  for (const { name, flag } of submitSettings) {
    const text = typed[name];
    if (text !== undefined) settings = { ...settings, ...readSetting(name, longFlag(flag), String(text)) };
  }
  return settings;
}

/** A file is read into memory as a whole. */
const MAX_FILE = 512 * 1024 ** 2;

/** A folder is a link to the governor's one copy; a file is mapped as every input is. */
function volumeInput({ source, place }: Volume, label: string): Input {
  const found = statSync(source, { throwIfNoEntry: false });
  if (found === undefined) throw usageError(`-v: there is no file or folder ${JSON.stringify(source)}`);
  if (found.isDirectory())
    return inputDir(label, { object: directory(source, { label }).keep(), path: place, shared: true });
  if (!found.isFile()) throw usageError(`-v: ${JSON.stringify(source)} is neither a file nor a folder`);
  if (found.size > MAX_FILE)
    throw usageError(
      `-v: the file ${JSON.stringify(source)} has ${formatBytes(found.size)}; the limit is ${formatBytes(MAX_FILE)} for a ` +
        "file: name the folder that it is in, which has no such limit",
    );
  return input(label, { object: blob(readFileSync(source), { label }).keep(), path: place });
}
