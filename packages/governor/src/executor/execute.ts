import { stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { limits, type Digest, type TaskFailure, type TaskInfo, type Work } from "@rain/protocol";
import { attemptKey } from "../core/types.ts";
import { readAttributes, withAttributes } from "./attributes.ts";
import { Bounds } from "./bounds.ts";
import { taskEnvironment } from "./environment.ts";
import { makeTaskFolder, removeTaskFolder, taskFolder, type TaskFolder } from "./folder.ts";
import type { House } from "./house.ts";
import {
  changedInputs,
  checkInputTypes,
  mapInputs,
  readyInput,
  watchStdin,
  type ReadOnly,
} from "./inputs.ts";
import { IDLE_TERM_STATUS, type LaunchEnd } from "./launcher.ts";
import { tailText, type LogSource } from "./logs.ts";
import { joinNotes, type MetricsEnd } from "./metrics/index.ts";
import { takeSnapshot, type Snapshot } from "./made.ts";
import { collectOutputs, type Collection } from "./outputs.ts";
import type { LiveLauncher } from "./pool.ts";
import { diagnoseLaunch } from "./program.ts";
import { errorCode } from "../monitor/errno.ts";
import type { Family } from "../monitor/usage.ts";
import { TreeUses } from "../store/index.ts";
import { environmentPrefix, pinPrefix } from "./prefix.ts";
import { failureOf, signalOfStatus, TaskProblem } from "./problem.ts";
import { quote, runScript, type Command } from "./script.ts";
import type { Stop } from "./stop.ts";
import type { LogStream, RunEffect, RunOutcome } from "./types.ts";

type Execute = Extract<Work, { readonly type: "execute" }>;

/** One attempt, and all that it is done with. */
interface Attempt {
  readonly house: House;
  readonly effect: RunEffect;
  readonly work: Execute;
  readonly folder: TaskFolder;
  readonly bounds: Bounds;
  /** Unpacked directories that it holds until its folder is gone. */
  readonly trees: TreeUses;
  readonly stop: Stop;
  readonly onStarted: (at: number) => void;
}
interface Prepared {
  readonly command: Command;
  readonly readOnly: readonly ReadOnly[];
  /** What is in the task's folder, when what the program makes there is an output. */
  readonly before: Snapshot | undefined;
}
/** How the program ended, with its family dead. */
interface Ended {
  readonly end: LaunchEnd;
  readonly info: TaskInfo;
  readonly sizes: CaptureSizes;
  /** Path of the run script, which the launcher names in its messages. */
  readonly script: string;
}

/** Bytes that the program wrote. */
type CaptureSizes = Readonly<Record<LogStream, number>>;

/** Runs one program from an empty folder to collected outputs. Never rejects. */
export async function execute(
  house: House,
  effect: RunEffect,
  work: Execute,
  stop: Stop,
  onStarted: (at: number) => void,
): Promise<RunOutcome> {
  const folder = taskFolder(house.tasks, effect.ref);
  const trees = new TreeUses(house.trees);
  let announced = false;
  const announce = (at: number): void => {
    if (!announced) onStarted(at);
    announced = true;
  };
  const bounds = new Bounds(house.limits, folder, effect);
  let outcome: RunOutcome;
  try {
    outcome = await runIn({ house, effect, work, folder, bounds, trees, stop, onStarted: announce });
  } catch (error) {
    outcome = { ok: false, failure: failureOf(error), info: {} };
  }
  await bounds.close();
  try {
    await removeTaskFolder(folder);
  } catch (error) {
    house.log("warn", `the folder ${folder.root} could not be removed: ${String(error)}`);
  }
  trees.release();
  return outcome;
}

async function runIn(attempt: Attempt): Promise<RunOutcome> {
  const { folder, house, effect } = attempt;
  const { command, readOnly, before } = await prepare(attempt);
  await house.logs.begin(effect.ref, { stdout: folder.stdout, stderr: folder.stderr });
  const metrics = effect.spec.metrics === true ? house.metrics.watch(effect.ref, folder) : undefined;
  let collection: Collection | undefined;
  let ended: Ended | undefined;
  let told: MetricsEnd | undefined;
  try {
    ended = await launch(attempt, command);
    told = await metrics?.end();
    await refuseModified(readOnly);
    await checkEnd(attempt, command, ended);
    const attributes = await readAttributes(folder.info);
    collection = await collectOutputs(effect.spec.outputs, folder, house.store, { before });
    const outputs = withAttributes(effect.spec.outputs, collection.reports, attributes.outputs);
    return { ok: true, outputs, ...measured({ ...ended.info, ...attributes.info }, told, collection.notes) };
  } catch (error) {
    const failure = await withStderr(failureOf(error), folder);
    return { ok: false, failure, ...measured(ended?.info ?? {}, told) };
  } finally {
    metrics?.stop();
    await settleLogs(attempt, ended?.sizes, collection?.adopted ?? new Map());
  }
}

/** The figures of a run, with its metrics when they were read. */
function measured(
  info: TaskInfo,
  told: MetricsEnd | undefined,
  notes: readonly string[] = [],
): Pick<RunOutcome, "info" | "metrics"> {
  const debug = joinNotes(info.debug, ...notes, ...(told?.notes ?? []));
  if (told === undefined) return { info: debug === undefined ? info : { ...info, debug } };
  const { summaries: metrics, params, points } = told;
  return {
    info: {
      ...info,
      ...(metrics === undefined ? {} : { metrics }),
      ...(params === undefined ? {} : { params }),
      ...(debug === undefined ? {} : { debug }),
    },
    metrics: { points, params },
  };
}

async function prepare({ folder, bounds, trees, house, effect, work }: Attempt): Promise<Prepared> {
  checkInputTypes(effect);
  await makeTaskFolder(folder);
  const readOnly = await mapInputs(effect, house.store, trees, folder.work);
  const before = await snapshotFor(effect, folder.work);
  const { instance, gpus } = house;
  const place = {
    instance,
    work: folder.work,
    tmp: folder.tmp,
    info: folder.info,
    metrics: folder.metrics,
    gpus,
  };
  const env = taskEnvironment(effect, house.baseEnv, place);
  const words = work.args.map((arg) => argument(arg, effect, work.shell === true));
  const own = work.shell === true ? ["/bin/sh", "-c", "--", words.join(" ")] : words;
  const find = (name: string): Promise<string> =>
    house.programs.resolve(name, env["PATH"] ?? house.baseEnv["PATH"], folder.work);
  const [name = "", ...rest] = [...environmentPrefix(house, work.environment), ...own];
  const started = await find(name);
  const [pin, ...pinArgs] = pinPrefix(effect);
  const program = pin === undefined ? started : await find(pin);
  const args = pin === undefined ? rest : [...pinArgs, started, ...rest];
  const { stdout, stderr } = folder;
  const stdin = stdinOf(folder, house, effect, work);
  if (work.stdin !== undefined && effect.spec.inputs[work.stdin]?.path === undefined)
    readOnly.push(...(await watchStdin(effect, house.store, work.stdin)));
  const group = await bounds.group();
  return {
    command: { program, args, cwd: folder.work, env, stdin, stdout, stderr, group },
    readOnly,
    before,
  };
}

async function snapshotFor({ spec, inputs }: RunEffect, work: string): Promise<Snapshot | undefined> {
  if (!spec.outputs.some(({ capture }) => capture === "files")) return undefined;
  const readOnly = spec.inputs.flatMap(({ path, write }, at) =>
    path !== undefined && write !== true && inputs[at]?.kind === "directory" ? [path] : [],
  );
  return await takeSnapshot(work, new Set(readOnly));
}

/** Throws when inputs that are read-only were changed. */
export async function refuseModified(readOnly: readonly ReadOnly[]): Promise<void> {
  const modified = await changedInputs(readOnly);
  if (modified.length === 0) return;
  throw new TaskProblem(
    "input-modified",
    `the program changed what it may only read: ${modified.join(", ")}; declare such an input with write: true`,
  );
}

function argument(arg: Execute["args"][number], effect: RunEffect, shell: boolean): string {
  if (typeof arg === "string") return arg;
  const path = "input" in arg ? effect.spec.inputs[arg.input]?.path : effect.spec.outputs[arg.output]?.path;
  if (path === undefined) {
    const what = "input" in arg ? `input ${arg.input}` : `output ${arg.output}`;
    throw new TaskProblem("internal", `an argument names ${what}, which has no path`);
  }
  return shell ? quote(path) : path;
}

function stdinOf(folder: TaskFolder, house: House, effect: RunEffect, work: Execute): string {
  if (work.stdin === undefined) return "/dev/null";
  const path = effect.spec.inputs[work.stdin]?.path;
  return path === undefined
    ? house.store.path(readyInput(effect, work.stdin).sha256)
    : join(folder.work, path);
}

/** How often a launcher may die under a task before the program has even started. */
const LAUNCH_TRIES = 3;

/** Lets a launcher run the script; returns when the program and all its descendants are dead. */
async function launch(attempt: Attempt, command: Command): Promise<Ended> {
  for (let tries = 1; ; tries += 1) {
    const ended = await launchOnce(attempt, command);
    if (tries === LAUNCH_TRIES || !(await neverStarted(ended, attempt))) return ended;
  }
}

/**
 * The launcher was dead already, or was killed before it took the task up; then another one can. It opens the files
 * for the program's output right before it starts the program: without them there was none.
 */
async function neverStarted({ end }: Ended, { stop, folder }: Attempt): Promise<boolean> {
  if (end.type !== "died" || stop.signal !== undefined) return false;
  if (end.exitCode !== undefined && end.exitCode !== IDLE_TERM_STATUS) return false;
  return (await sizeOf(folder.stdout)) === undefined;
}

async function launchOnce(attempt: Attempt, command: Command): Promise<Ended> {
  const { launchers } = attempt.house;
  const launcher = await launchers.take();
  try {
    await launcher.load(runScript(command));
    attempt.stop.check();
    return await supervise(attempt, launcher);
  } catch (error) {
    // Whatever went wrong on this side: no program may run on in a launcher that serves the next task.
    if (!(error instanceof TaskProblem)) launcher.signal("SIGKILL");
    throw error;
  } finally {
    launchers.giveBack(launcher);
  }
}

async function supervise(attempt: Attempt, launcher: LiveLauncher): Promise<Ended> {
  const { bounds, folder, house, stop } = attempt;
  const key = attemptKey(attempt.effect.ref);
  const startedAt = performance.now();
  const startTime = Date.now();
  house.sweeper.begin(key);
  const running = launcher.run();
  stop.listen((force) => launcher.signal(force ? "SIGKILL" : "SIGTERM"));
  const look = async (family: Family): Promise<boolean> => {
    const soon = await bounds.look(family);
    if (bounds.problem !== undefined) launcher.signal("SIGKILL");
    return soon;
  };
  const watch = house.usage.watch(key, launcher.pid, look, bounds.memory !== undefined);
  attempt.onStarted(startTime);
  const end = await running;
  const durationS = (performance.now() - startedAt) / 1_000;
  stop.listen(undefined);
  const maxRssBytes = watch.stop();
  await endFamily(house, key, launcher);
  const sizes = await captureSizes(folder);
  const info: TaskInfo = {
    startTime,
    durationS,
    ...(end.type === "status" ? { exitCode: end.status, cpuTimeS: end.cpuTimeS } : {}),
    ...(maxRssBytes === undefined ? {} : { maxRssBytes }),
  };
  return { end, info, sizes, script: launcher.script };
}

/** Kills what the program left behind. A launcher of which something may still live does not serve again. */
async function endFamily(house: House, key: string, launcher: LiveLauncher): Promise<void> {
  let clean = false;
  try {
    clean = await house.sweeper.end(key, launcher.pid);
  } finally {
    if (!clean) {
      launcher.signal("SIGKILL");
      house.log("error", `processes of ${key} could not be killed and may still run`);
    }
  }
}

const captureSizes = async (folder: TaskFolder): Promise<CaptureSizes> => ({
  stdout: (await sizeOf(folder.stdout)) ?? 0,
  stderr: (await sizeOf(folder.stderr)) ?? 0,
});

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Throws what is wrong with the way in which a program ended. */
async function checkEnd(attempt: Attempt, command: Command, ended: Ended): Promise<void> {
  const { bounds, folder, stop } = attempt;
  const { end } = ended;
  await bounds.end(end.type === "died" || end.status !== 0);
  if (bounds.problem !== undefined) throw bounds.problem;
  if (end.type === "died") throw deathProblem(end, stop);
  if (end.status === 0) return;
  const exitCode = end.status;
  if ((await sizeOf(folder.stderr)) === undefined)
    throw redirectionProblem(end.stderr.trim() || `status ${exitCode}`);
  await refuseFullDisk(folder, exitCode);
  const signal = signalOfStatus(exitCode);
  if (signal !== undefined)
    throw new TaskProblem("signal", `the program was ended by ${signal}`, { exitCode, signal });
  const tail = await tailText(folder.stderr, limits.stderrTailBytes);
  const launch = await diagnoseLaunch(command.program, exitCode, tail, ended.script);
  if (launch !== undefined) throw new TaskProblem("launch", launch, { exitCode });
  throw new TaskProblem("exit", `the program exited with code ${exitCode}`, { exitCode });
}

/** Less free space than this is none, bytes: a program gets no more of it. */
const NO_SPACE = 65_536;

/** A program that fails on a full disk may not even be able to say so: its stderr lies on that disk too. */
async function refuseFullDisk(folder: TaskFolder, exitCode: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder.root);
  if (bavail * bsize >= NO_SPACE) return;
  const message = `the program exited with code ${exitCode}: no space left on the disk of the governor (${folder.root})`;
  throw new TaskProblem("disk-full", message, { exitCode });
}

/** The launcher died, with the program's group or before the program. */
function deathProblem(end: Extract<LaunchEnd, { type: "died" }>, stop: Stop): TaskProblem {
  const signal = end.signal ?? stop.signal;
  if (signal === undefined)
    return new TaskProblem("internal", `the launcher ended (${end.exitCode}): ${end.stderr.trim()}`);
  return new TaskProblem("signal", `the program and its process group were ended by ${signal}`, { signal });
}

/** The shell could not open the program's stdin, stdout or stderr: the program did not run. */
function redirectionProblem(said: string): TaskProblem {
  const full = /No space left|quota exceeded/i.test(said);
  return full
    ? new TaskProblem("disk-full", `the disk of the governor is full: ${said}`)
    : new TaskProblem("internal", `the program's stdin, stdout or stderr could not be opened: ${said}`);
}

async function withStderr(failure: TaskFailure, folder: TaskFolder): Promise<TaskFailure> {
  const stderr = await tailText(folder.stderr, limits.stderrTailBytes);
  return stderr === "" ? failure : { ...failure, stderr };
}

async function settleLogs(
  { folder, house, effect }: Attempt,
  sizes: CaptureSizes | undefined,
  adopted: ReadonlyMap<LogStream, Digest>,
): Promise<void> {
  try {
    const { stdout, stderr } = sizes ?? (await captureSizes(folder));
    const source = (stream: LogStream, size: number): LogSource => {
      const sha256 = adopted.get(stream);
      if (sha256 === undefined) return { path: folder[stream], size, movable: true };
      return { path: house.store.path(sha256), size, movable: false };
    };
    await house.logs.settle(effect.ref, {
      stdout: source("stdout", stdout),
      stderr: source("stderr", stderr),
    });
  } catch (error) {
    house.log("warn", `the logs of ${attemptKey(effect.ref)} could not be kept: ${String(error)}`);
  }
}
