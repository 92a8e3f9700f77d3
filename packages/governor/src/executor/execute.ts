import { stat } from "node:fs/promises";
import { join } from "node:path";
import { limits, type Digest, type TaskFailure, type TaskInfo, type Work } from "@rain/protocol";
import { attemptKey } from "../core/types.ts";
import { taskEnvironment } from "./environment.ts";
import { makeTaskFolder, removeTaskFolder, taskFolder, type TaskFolder } from "./folder.ts";
import type { House } from "./house.ts";
import { checkLinked, mapInputs, readyInput, type Linked } from "./inputs.ts";
import type { LaunchEnd } from "./launcher.ts";
import { tailText } from "./logs.ts";
import { collectOutputs, type Collection } from "./outputs.ts";
import type { LiveLauncher } from "./pool.ts";
import { diagnoseLaunch } from "./program.ts";
import { errorCode } from "../monitor/errno.ts";
import { failureOf, signalOfStatus, TaskProblem } from "./problem.ts";
import { quote, runScript, type Command } from "./script.ts";
import type { Stop } from "./stop.ts";
import type { LogStream, RunEffect, RunOutcome } from "./types.ts";

type Execute = Extract<Work, { readonly type: "execute" }>;

interface Prepared {
  readonly command: Command;
  readonly linked: readonly Linked[];
}
/** How the program ended, with its family dead. `excess` is the capture that grew too large. */
interface Ended {
  readonly end: LaunchEnd;
  readonly excess: LogStream | undefined;
  readonly info: TaskInfo;
  /** Path of the run script, which the launcher names in its messages. */
  readonly script: string;
}

/** Runs one program from an empty folder to collected outputs. Never rejects. */
export async function execute(
  house: House,
  effect: RunEffect,
  work: Execute,
  stop: Stop,
  onStarted: (at: number) => void,
): Promise<RunOutcome> {
  const folder = taskFolder(house.tasks, effect.ref);
  let outcome: RunOutcome;
  try {
    outcome = await runIn(folder, house, effect, work, stop, onStarted);
  } catch (error) {
    outcome = { ok: false, failure: failureOf(error), info: {} };
  }
  try {
    await removeTaskFolder(folder);
  } catch (error) {
    house.log("warn", `the folder ${folder.root} could not be removed: ${String(error)}`);
  }
  return outcome;
}

async function runIn(
  folder: TaskFolder,
  house: House,
  effect: RunEffect,
  work: Execute,
  stop: Stop,
  onStarted: (at: number) => void,
): Promise<RunOutcome> {
  const { command, linked } = await prepare(folder, house, effect, work);
  await house.logs.begin(effect.ref, { stdout: folder.stdout, stderr: folder.stderr });
  let collection: Collection | undefined;
  let ended: Ended | undefined;
  try {
    ended = await launch(command, folder, house, effect, stop, onStarted);
    const modified = await checkLinked(linked, house.store);
    if (modified.length > 0)
      throw new TaskProblem(
        "input-modified",
        `the program changed what it may only read: ${modified.join(", ")}; declare such an input with write: true`,
      );
    await checkEnd(ended, command, folder, house, stop);
    collection = await collectOutputs(effect.spec.outputs, folder, house.store);
    return { ok: true, outputs: collection.reports, info: ended.info };
  } catch (error) {
    return { ok: false, failure: await withStderr(failureOf(error), folder), info: ended?.info ?? {} };
  } finally {
    await settleLogs(folder, house, effect, collection?.adopted ?? new Map());
  }
}

async function prepare(
  folder: TaskFolder,
  house: House,
  effect: RunEffect,
  work: Execute,
): Promise<Prepared> {
  await makeTaskFolder(folder);
  const linked = await mapInputs(effect, house.store, folder.work);
  const place = { instance: house.instance, work: folder.work, tmp: folder.tmp, gpus: house.gpus };
  const env = taskEnvironment(effect, house.baseEnv, place);
  const words = work.args.map((arg) => argument(arg, effect, work.shell === true));
  const [name = "", ...rest] = work.shell === true ? ["/bin/sh", "-c", "--", words.join(" ")] : words;
  const program = await house.programs.resolve(name, env["PATH"] ?? house.baseEnv["PATH"], folder.work);
  const { stdout, stderr } = folder;
  const stdin = stdinOf(folder, house, effect, work);
  const command: Command = { program, args: rest, cwd: folder.work, env, stdin, stdout, stderr };
  return { command, linked };
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

/** Lets a launcher run the script; returns when the program and all its descendants are dead. */
async function launch(
  command: Command,
  folder: TaskFolder,
  house: House,
  effect: RunEffect,
  stop: Stop,
  onStarted: (at: number) => void,
): Promise<Ended> {
  const key = attemptKey(effect.ref);
  const launcher = await house.launchers.take();
  try {
    await launcher.load(runScript(command));
    stop.check();
    let excess: LogStream | undefined;
    const startedAt = performance.now();
    const startTime = Date.now();
    house.sweeper.begin(key);
    const running = launcher.run();
    stop.listen((force) => launcher.signal(force ? "SIGKILL" : "SIGTERM"));
    const watch = house.usage.watch(key, launcher.pid, async () => {
      const captures = await measureCaptures(folder, house.captureBytes);
      excess ??= captures.excess;
      if (excess !== undefined) launcher.signal("SIGKILL");
      return captures.near;
    });
    onStarted(startTime);
    const end = await running;
    const durationS = (performance.now() - startedAt) / 1_000;
    stop.listen(undefined);
    const maxRssBytes = watch.stop();
    await endFamily(house, key, launcher);
    excess ??= (await measureCaptures(folder, house.captureBytes)).excess;
    const info: TaskInfo = {
      startTime,
      durationS,
      ...(end.type === "status" ? { exitCode: end.status, cpuTimeS: end.cpuTimeS } : {}),
      ...(maxRssBytes === undefined ? {} : { maxRssBytes }),
    };
    return { end, excess, info, script: launcher.script };
  } finally {
    house.launchers.giveBack(launcher);
  }
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

/** `excess`: the capture that is over the limit. `near`: one is so large that the next look should come soon. */
async function measureCaptures(
  folder: TaskFolder,
  limit: number,
): Promise<{ excess: LogStream | undefined; near: boolean }> {
  let excess: LogStream | undefined;
  let near = false;
  for (const stream of ["stdout", "stderr"] as const) {
    const size = await sizeOf(folder[stream]);
    if (size !== undefined && size > limit) excess ??= stream;
    near ||= (size ?? 0) > limit / 16;
  }
  return { excess, near };
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Throws what is wrong with the way in which a program ended. */
async function checkEnd(
  ended: Ended,
  command: Command,
  folder: TaskFolder,
  house: House,
  stop: Stop,
): Promise<void> {
  const { end, excess } = ended;
  if (excess !== undefined) {
    const message = `the program wrote more than ${house.captureBytes} bytes to ${excess}; write to an output file`;
    throw new TaskProblem("capture-limit", message);
  }
  if (end.type === "died") throw deathProblem(end, stop);
  if (end.status === 0) return;
  const exitCode = end.status;
  if ((await sizeOf(folder.stderr)) === undefined)
    throw redirectionProblem(end.stderr.trim() || `status ${exitCode}`);
  const signal = signalOfStatus(exitCode);
  if (signal !== undefined)
    throw new TaskProblem("signal", `the program was ended by ${signal}`, { exitCode, signal });
  const tail = await tailText(folder.stderr, limits.stderrTailBytes);
  const launch = await diagnoseLaunch(command.program, exitCode, tail, ended.script);
  if (launch !== undefined) throw new TaskProblem("launch", launch, { exitCode });
  throw new TaskProblem("exit", `the program exited with code ${exitCode}`, { exitCode });
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
  folder: TaskFolder,
  house: House,
  effect: RunEffect,
  adopted: ReadonlyMap<LogStream, Digest>,
): Promise<void> {
  const source = (stream: LogStream): { path: string; movable: boolean } => {
    const sha256 = adopted.get(stream);
    return sha256 === undefined
      ? { path: folder[stream], movable: true }
      : { path: house.store.path(sha256), movable: false };
  };
  try {
    await house.logs.settle(effect.ref, { stdout: source("stdout"), stderr: source("stderr") });
  } catch (error) {
    house.log("warn", `the logs of ${attemptKey(effect.ref)} could not be kept: ${String(error)}`);
  }
}
