import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Client } from "@rain/client";
import { asSessionId, asTaskId } from "@rain/protocol";
import { MAX_SEED } from "@rain/sweep";
import { quote } from "shlex";
import { requireAccessFile, instanceOf, type Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import { bold, print } from "../output.ts";
import { clusterWarnings, ensureServer, withCredential } from "../runs/cluster.ts";
import { commandLine } from "../runs/command-line.ts";
import { parseRunConfig, printRunConfig, type RunFile } from "../runs/config.ts";
import { flagWord, SETTING_FLAGS, settingNames, type RunSettings, type SettingName } from "../runs/flags.ts";
import type { Run } from "../runs/open.ts";
import { planLine, planRun, tooMany, type RunPlan } from "../runs/plan.ts";
import { printPreview, warn } from "../runs/preview.ts";
import { resolveProgram } from "../runs/program-file.ts";
import { isLeftBehind, readProject, type Project } from "../runs/project.ts";
import { readSetting } from "../runs/settings.ts";
import { submitRun, type SubmittedRun } from "../runs/submit.ts";
import { resultTable } from "../runs/table.ts";
import { watchRun, type WatchedRun } from "../runs/watch.ts";
import { groupRepeats, judgeOf, missingMetric, winner, winningGroup } from "../runs/winner.ts";
import { mergeWords } from "../runs/words.ts";
import { resultsJson } from "./results.ts";

export interface RunFlags {
  /** The settings as they were typed; a switch is true. */
  readonly typed: Readonly<Partial<Record<SettingName, string | boolean>>>;
  readonly config?: string;
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
  const { plan, folder, config, notes } = prepare(context, program, args, flags);
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

// -------------------------------------------------------------------------------------------------- what to run

interface Prepared {
  readonly plan: RunPlan;
  readonly folder: string | undefined;
  readonly config: string;
  readonly notes: readonly string[];
}

function prepare(
  context: Context,
  program: string | undefined,
  args: readonly string[],
  flags: RunFlags,
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

function typedSettings(typed: RunFlags["typed"]): RunSettings {
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
function projectWarnings(plan: RunPlan, project: Project): string[] {
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

// ----------------------------------------------------------------------------------------------------- running it

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
    if (watched.left !== undefined) return leave(context, manifest.name, watched.left);
    return await report(context, client, { ...submitted, plan, warnings, watched });
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
const signalCode = (name: NodeJS.Signals): number => (name === "SIGINT" ? 130 : 143);

function reportDetached(context: Context, plan: RunPlan, { session, manifest }: SubmittedRun): number {
  const { name, seed, count } = manifest;
  print(context.io, context.globals.output, { name, session: session.id, trials: count, seed }, () =>
    [`${name}: ${escapeText(planLine(plan))}`, escapeText(goesOn(name))].join("\n"),
  );
  return exitCodes.ok;
}

const goesOn = (name: string): string =>
  `"rain status ${name}" shows how it stands, "rain results ${name}" its table, "rain stop ${name}" ends it`;

function leave({ io }: Context, name: string, signal: NodeJS.Signals): number {
  io.stderr(`rain: detached; the run ${name} goes on. ${goesOn(name)}\n`);
  return signalCode(signal);
}

interface Ended extends SubmittedRun {
  readonly plan: RunPlan;
  readonly warnings: readonly string[];
  readonly watched: WatchedRun;
}

/** The table, the winner with its command, and what is wrong with either. */
async function report(context: Context, client: Client, ended: Ended): Promise<number> {
  const { session, manifest, watched, plan } = ended;
  const { rows, counts } = watched;
  const view = { ...(await session.info()), counts };
  const found: Run = { view, manifest, rows };
  const judge = judgeOf(manifest, rows);
  const groups = (manifest.repeat ?? 1) > 1 ? groupRepeats(rows) : undefined;
  const best = judge && (groups ? winningGroup(groups, judge)?.rows[0] : winner(rows, judge));
  const command = best && (await commandOfTask(client, session.id, best.task));
  const missing = judge && missingMetric(judge.name, manifest, rows);
  const warnings = [...plan.warnings, ...ended.warnings, ...(missing === undefined ? [] : [missing])];
  const json = { ...resultsJson(found, rows, undefined), command: command ?? null, warnings };
  print(context.io, context.globals.output, json, () => {
    const again = command === undefined ? [] : ["", bold("The best again:", context.io), escapeText(command)];
    // A terminal has room for so many; the file or pipe behind another stdout takes all.
    const isLong = context.io.columns !== undefined && rows.length > LONG;
    const options = isLong ? { limit: SHOWN, ...(judge && { sort: judge.name }) } : {};
    const more = isLong ? [`rain results ${manifest.name} shows all of them`] : [];
    return ["", resultTable(manifest, rows, context.io, options), ...more, ...again].join("\n");
  });
  if (missing !== undefined) warn(context, missing);
  if (counts.finished === manifest.count) return exitCodes.ok;
  if (counts.finished > 0) return exitCodes.partial;
  throw new CommandError(
    exitCodes.failed,
    `no trial of ${manifest.name} has finished: see rain logs ${quote(manifest.name)} --experiment 0`,
  );
}

/** More rows than a terminal is meant for, and those that it gets then. */
const LONG = 100;
const SHOWN = 30;

async function commandOfTask(client: Client, session: number, task: number): Promise<string | undefined> {
  const ids = { session: asSessionId(session), tasks: [asTaskId(task)] };
  const [view] = (await client.request("task.get", ids)).tasks;
  return view && commandLine(view.spec);
}
