import { stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import {
  limits,
  type Digest,
  type OutputReport,
  type TaskFailure,
  type TaskInfo,
  type Work,
} from "@rain/protocol";
import { attemptKey } from "../core/types.ts";
import { readAttributes, withAttributes } from "./attributes.ts";
import { Bounds } from "./bounds.ts";
import { taskEnvironment } from "./environment.ts";
import type { TaskFolder } from "./folder.ts";
import { takeCaptures, type Captures, type CaptureSizes, type Left } from "./folders.ts";
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
import type { MetricsEnd } from "./metrics/index.ts";
import { takeSnapshot, type Snapshot } from "./made.ts";
import { collectOutputs, type Collection } from "./outputs.ts";
import type { LiveLauncher } from "./pool.ts";
import { diagnoseLaunch } from "./program.ts";
import { errorCode } from "../monitor/errno.ts";
import { ticksSinceBoot } from "../monitor/boot.ts";
import type { Family } from "../monitor/usage.ts";
import { TreeUses } from "../store/index.ts";
import { deathProblem, measured, redirectionProblem } from "./ends.ts";
import { environmentPrefix, pinPrefix } from "./prefix.ts";
import { failureOf, signalOfStatus, TaskProblem } from "./problem.ts";
import { quote, runScript, type Command } from "./script.ts";
import type { Stop } from "./stop.ts";
import { streams, type LogStream, type RunEffect, type RunOutcome } from "./types.ts";

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
  readonly onOver: () => void;
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
  /** What it left of a folder that served before. */
  readonly left: Left | undefined;
  /** No process was seen that began meanwhile and may have been its child. */
  readonly isAlone: boolean;
  /** Path of the run script, which the launcher names in its messages. */
  readonly script: string;
}

/** How a run ended; `left`: its folder can serve again. */
interface Result {
  readonly outcome: RunOutcome;
  readonly left: Left | undefined;
}

/** Runs one program from an empty folder to collected outputs. Never rejects. */
export async function execute(
  house: House,
  effect: RunEffect,
  work: Execute,
  stop: Stop,
  { onStarted, onOver }: Pick<Attempt, "onStarted" | "onOver">,
): Promise<RunOutcome> {
  const trees = new TreeUses(house.trees);
  let announced = false;
  const announce = (at: number): void => {
    if (!announced) onStarted(at);
    announced = true;
  };
  let folder: TaskFolder | undefined;
  let bounds: Bounds | undefined;
  let result: Result;
  try {
    checkInputTypes(effect);
    folder = await house.folders.take(effect.ref);
    bounds = new Bounds(house.limits, folder, effect);
    result = await runIn({ house, effect, work, folder, bounds, trees, stop, onStarted: announce, onOver });
  } catch (error) {
    result = { outcome: { ok: false, failure: failureOf(error), info: {} }, left: undefined };
  }
  await bounds?.close();
  try {
    if (folder !== undefined) await house.folders.giveBack(folder, result.left);
  } catch (error) {
    house.log("warn", `the folder ${folder?.root} could not be removed: ${String(error)}`);
  }
  trees.release();
  return result.outcome;
}

async function runIn(attempt: Attempt): Promise<Result> {
  const { folder, house, effect } = attempt;
  const { command, readOnly, before } = await prepare(attempt);
  await house.logs.begin(effect.ref, { stdout: folder.stdout, stderr: folder.stderr });
  const metrics = effect.spec.metrics === true ? house.metrics.watch(effect.ref, folder) : undefined;
  let collection: Collection | undefined;
  let ended: Ended | undefined;
  let quick: { readonly data: Captures; readonly left: Left } | undefined;
  const result = (outcome: RunOutcome): Result => ({ outcome, left: quick?.left });
  let told: MetricsEnd | undefined;
  try {
    ended = await launch(attempt, command);
    // An untouched folder is looked through in no time.
    if (ended.left?.untouched !== true || readOnly.length > 0) attempt.onOver();
    told = await metrics?.end();
    await refuseModified(readOnly);
    await checkEnd(attempt, command, ended);
    quick = quickCaptures(attempt, ended);
    const { info } = ended;
    if (quick !== undefined) {
      const outputs = await takeQuick(attempt, quick.data);
      return result({ ok: true, outputs, ...measured(info, told) });
    }
    const attributes = await readAttributes(folder.info);
    collection = await collectOutputs(effect.spec.outputs, folder, house.store, { before });
    const outputs = withAttributes(effect.spec.outputs, collection.reports, attributes.outputs);
    const all = { ...info, ...attributes.info };
    return result({ ok: true, outputs, ...measured(all, told, collection.notes) });
  } catch (error) {
    const failure = await withStderr(failureOf(error), folder);
    return result({ ok: false, failure, ...measured(ended?.info ?? {}, told) });
  } finally {
    metrics?.stop();
    if (quick === undefined) await settleLogs(attempt, ended?.sizes, collection?.adopted ?? new Map());
    else
      await keepLogs(attempt, { stdout: { data: quick.data.stdout }, stderr: { data: quick.data.stderr } });
  }
}

/** Longest output of a program that is taken the quick way, bytes. */
const QUICK_BYTES = 16_384;
/** Of a longer run the folder is not worth the doubt. */
const QUICK_RUN_S = 10;

/**
 * The output of a program that did nothing but write a little to it. Its folder is as it was, and nobody lives who
 * could still have its files open: the bytes are taken out, and the folder can serve again.
 */
function quickCaptures(
  { effect, folder }: Attempt,
  { left, isAlone, info }: Ended,
): ReturnType<typeof takeCaptures> | undefined {
  if (left?.untouched !== true || !isAlone || (info.durationS ?? Infinity) > QUICK_RUN_S) return undefined;
  if (streams.some((stream) => left.sizes[stream] > QUICK_BYTES)) return undefined;
  if (!effect.spec.outputs.every(({ capture }) => capture === "stdout" || capture === "stderr"))
    return undefined;
  return takeCaptures(folder, left);
}

async function takeQuick({ effect, house }: Attempt, captures: Captures): Promise<OutputReport[]> {
  const reports: OutputReport[] = [];
  for (const { object, contentType, capture } of effect.spec.outputs) {
    const data = captures[capture === "stderr" ? "stderr" : "stdout"];
    reports.push({ object, contentType, ...(await house.store.putBytes(data)), data });
  }
  return reports;
}

async function prepare({ folder, bounds, trees, house, effect, work }: Attempt): Promise<Prepared> {
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
  const stdin = await stdinOf(folder, house, effect, work);
  if (work.stdin !== undefined && effect.spec.inputs[work.stdin]?.path === undefined)
    readOnly.push(...(await watchStdin(effect, house.store, work.stdin)));
  const isPrepared = house.folders.isPrepared(folder);
  const group = await bounds.group();
  const streamsTo = { stdin, stdout, stderr, isPrepared, group };
  return { command: { program, args, cwd: folder.work, env, ...streamsTo }, readOnly, before };
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

async function stdinOf(folder: TaskFolder, house: House, effect: RunEffect, work: Execute): Promise<string> {
  if (work.stdin === undefined) return "/dev/null";
  const path = effect.spec.inputs[work.stdin]?.path;
  return path === undefined
    ? await house.store.onDisk(readyInput(effect, work.stdin).sha256)
    : join(folder.work, path);
}

/** How often a launcher may die under a task before the program has even started. */
const LAUNCH_TRIES = 3;

/** Lets a launcher run the script; returns when the program and all its descendants are dead. */
async function launch(attempt: Attempt, command: Command): Promise<Ended> {
  for (let tries = 1; ; tries += 1) {
    const ended = await launchOnce(attempt, command);
    if (tries === LAUNCH_TRIES || !neverStarted(ended, attempt)) return ended;
  }
}

/** The launcher was dead already, or was killed before it took the task up; then another one can. */
function neverStarted({ end }: Ended, { stop }: Attempt): boolean {
  if (end.type !== "died" || stop.signal !== undefined || end.begun) return false;
  return end.exitCode === undefined || end.exitCode === IDLE_TERM_STATUS;
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
  const began = ticksSinceBoot();
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
  const left = house.folders.look(folder);
  const sizes = left?.sizes ?? (await captureSizes(folder));
  const info: TaskInfo = {
    startTime,
    durationS,
    ...(end.type === "status" ? { exitCode: end.status, cpuTimeS: end.cpuTimeS } : {}),
    ...(maxRssBytes === undefined ? {} : { maxRssBytes }),
  };
  const isAlone = house.sweeper.sawNobodySince(began);
  return { end, info, sizes, left, isAlone, script: launcher.script };
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
  await bounds.end(end.type === "died" || end.status !== 0, ended.sizes);
  if (bounds.problem !== undefined) throw bounds.problem;
  if (end.type === "died") throw deathProblem(end, stop);
  if (end.status === 0) return;
  const exitCode = end.status;
  if (await wasNotOpened(attempt, ended)) throw redirectionProblem(end.stderr.trim() || `status ${exitCode}`);
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

/**
 * The shell opens the files right before it starts the program. What is there already cannot tell of it: the shell's
 * own words do.
 */
async function wasNotOpened({ folder, house }: Attempt, { end, sizes }: Ended): Promise<boolean> {
  if (!house.folders.isPrepared(folder)) return (await sizeOf(folder.stderr)) === undefined;
  return end.type === "status" && end.status === 2 && end.stderr !== "" && sizes.stderr === 0;
}

async function withStderr(failure: TaskFailure, folder: TaskFolder): Promise<TaskFailure> {
  const stderr = await tailText(folder.stderr, limits.stderrTailBytes);
  return stderr === "" ? failure : { ...failure, stderr };
}

async function settleLogs(
  attempt: Attempt,
  sizes: CaptureSizes | undefined,
  adopted: ReadonlyMap<LogStream, Digest>,
): Promise<void> {
  const { folder, house } = attempt;
  const { stdout, stderr } = sizes ?? (await captureSizes(folder));
  const source = (stream: LogStream, size: number): LogSource => {
    const sha256 = adopted.get(stream);
    if (sha256 === undefined) return { path: folder[stream], size, movable: true };
    return { path: house.store.path(sha256), size, movable: false };
  };
  await keepLogs(attempt, { stdout: source("stdout", stdout), stderr: source("stderr", stderr) });
}

async function keepLogs({ house, effect }: Attempt, sources: Record<LogStream, LogSource>): Promise<void> {
  try {
    await house.logs.settle(effect.ref, sources);
  } catch (error) {
    house.log("warn", `the logs of ${attemptKey(effect.ref)} could not be kept: ${String(error)}`);
  }
}
