import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { executorOf, formatTask, limits, type TaskFailure, type TaskInfo, type Work } from "@rain/protocol";
import { attemptKey } from "../../core/types.ts";
import { refuseModified } from "../execute.ts";
import { makeTaskFolder, removeTaskFolder, taskFolder, type TaskFolder } from "../folder.ts";
import type { House } from "../house.ts";
import { mapInputs, readyInput } from "../inputs.ts";
import { tailText } from "../logs.ts";
import { collectOutputs } from "../outputs.ts";
import { failureOf, TaskProblem } from "../problem.ts";
import { TreeUses } from "../../store/index.ts";
import type { Stop } from "../stop.ts";
import type { RunEffect, RunOutcome } from "../types.ts";
import { MAX_CALL_BYTES, type Call } from "./messages.ts";
import { deathFacts, describeDeath } from "./pool.ts";
import type { CallEnd, ExecutorProcess } from "./process.ts";

type Custom = Extract<Work, { readonly type: "custom" }>;

interface Attempt {
  readonly house: House;
  /** Its inputs and outputs have the paths that the executor is told. */
  readonly effect: RunEffect;
  readonly work: Custom;
  readonly folder: TaskFolder;
  readonly trees: TreeUses;
  readonly stop: Stop;
  readonly onStarted: (at: number) => void;
}

/** Has an own executor do one task, from an empty folder to collected outputs. Never rejects. */
export async function runCustom(
  house: House,
  effect: RunEffect,
  work: Custom,
  stop: Stop,
  onStarted: (at: number) => void,
): Promise<RunOutcome> {
  const folder = taskFolder(house.tasks, effect.ref);
  const trees = new TreeUses(house.trees);
  const attempt = { house, effect: withPaths(effect), work, folder, trees, stop, onStarted };
  let outcome: RunOutcome;
  try {
    outcome = await runIn(attempt);
  } catch (error) {
    outcome = { ok: false, failure: failureOf(error), info: {} };
  }
  stop.listen(undefined);
  try {
    await removeTaskFolder(folder);
  } catch (error) {
    house.log("warn", `the folder ${folder.root} could not be removed: ${String(error)}`);
  }
  trees.release();
  return outcome;
}

/** Labels may be any text: files are numbered. */
function withPaths(effect: RunEffect): RunEffect {
  const { spec } = effect;
  const inputs = spec.inputs.map((input, at) => ({ ...input, path: `inputs/${at}` }));
  const outputs = spec.outputs.map((output, at) => ({ ...output, path: `outputs/${at}` }));
  return { ...effect, spec: { ...spec, inputs, outputs } };
}

async function runIn(attempt: Attempt): Promise<RunOutcome> {
  const { house, effect, work, folder, stop } = attempt;
  const pool = house.executors.pool(executorOf(work.method));
  stop.check();
  await makeTaskFolder(folder);
  await mkdir(join(folder.work, "outputs"));
  const readOnly = await mapInputs(effect, house.store, attempt.trees, folder.work);
  const process = await pool.take(stop);
  try {
    await process.clearLog();
    await house.logs.begin(effect.ref, { stdout: folder.stdout, stderr: process.logPath });
    let info: TaskInfo = {};
    try {
      const ended = await callProcess(attempt, process);
      info = ended.info;
      await refuseModified(readOnly);
      const contentTypes = checkEnd(attempt, ended);
      const { reports } = await collectOutputs(effect.spec.outputs, folder, house.store, { copy: true });
      const outputs = reports.map((report, at) =>
        // A declared type stands; without one, what the executor says of it.
        report.contentType === "" ? { ...report, contentType: contentTypes[at] ?? "" } : report,
      );
      return { ok: true, outputs, info };
    } catch (error) {
      return { ok: false, failure: await withStderr(failureOf(error), process), info };
    } finally {
      await settleLog(attempt, process);
    }
  } finally {
    pool.giveBack(process);
  }
}

interface Ended {
  readonly end: CallEnd;
  readonly excess: boolean;
  readonly info: TaskInfo;
}

async function callProcess(attempt: Attempt, process: ExecutorProcess): Promise<Ended> {
  const { house, stop, onStarted } = attempt;
  const call = describeCall(attempt, process.nextId);
  stop.check(); // nothing is awaited from here to `listen`
  const startTime = Date.now();
  const startedAt = performance.now();
  let excess = false;
  const watch = house.usage.watch(process.key, NO_LAUNCHER, async () => {
    const size = await logSize(process);
    if (size > house.limits.captureBytes) {
      excess = true;
      process.kill();
    }
    return size > house.limits.captureBytes / 16; // near the limit: look again soon
  });
  const ending = process.call(call);
  stop.listen((force) => (force ? process.kill() : process.cancel()));
  onStarted(startTime);
  const end = await ending;
  stop.listen(undefined);
  const maxRssBytes = watch.stop();
  const durationS = (performance.now() - startedAt) / 1_000;
  const info = { startTime, durationS, ...(maxRssBytes === undefined ? {} : { maxRssBytes }) };
  return { end, excess, info };
}

const NO_LAUNCHER = -1; // the processes are found by their cookie

function describeCall({ effect, work, folder }: Attempt, id: number): Call {
  const { ref, spec, allocation } = effect;
  const call: Call = {
    type: "call",
    id,
    method: work.method.slice(work.method.indexOf("/") + 1),
    config: work.config === undefined ? null : JSON.parse(work.config),
    inputs: spec.inputs.map(({ label, path = "" }, at) => {
      const { kind, size, contentType } = readyInput(effect, at);
      return { label: label ?? "", path: join(folder.work, path), kind, size, contentType };
    }),
    outputs: spec.outputs.map(({ label, path = "", contentType }) => {
      return { label, path: join(folder.work, path), contentType };
    }),
    folder: folder.work,
    task: formatTask(ref.session, ref.task),
    attempt: ref.attempt,
    cpus: allocation.cpus,
    gpus: allocation.gpus,
    memory: allocation.memory,
  };
  const bytes = Buffer.byteLength(JSON.stringify(call));
  if (bytes <= MAX_CALL_BYTES) return call;
  const message = `the call of ${work.method} has ${bytes} bytes; the limit is ${MAX_CALL_BYTES}. Join inputs by concat`;
  throw new TaskProblem("launch", message);
}

/** The content types that the executor told. Throws what is wrong with the way in which the call ended. */
function checkEnd({ house, work, stop }: Attempt, { end, excess }: Ended): readonly string[] {
  const executor = `executor ${executorOf(work.method)}`;
  if (excess) {
    const message = `${executor} wrote more than ${house.limits.captureBytes} bytes to stderr during ${work.method}`;
    throw new TaskProblem("capture-limit", message);
  }
  switch (end.type) {
    case "done":
      return end.contentTypes ?? [];
    case "failed":
      throw new TaskProblem("exit", `${work.method} failed: ${end.message}`);
    case "died": {
      const message = `${executor} ${describeDeath(end.death)} during ${work.method}`;
      throw new TaskProblem(stop.signal === undefined ? "exit" : "signal", message, deathFacts(end.death));
    }
  }
}

async function withStderr(failure: TaskFailure, process: ExecutorProcess): Promise<TaskFailure> {
  const stderr = await tailText(process.logPath, limits.stderrTailBytes);
  return stderr === "" ? failure : { ...failure, stderr };
}

const logSize = async (process: ExecutorProcess): Promise<number> => (await stat(process.logPath)).size;

/** What the process wrote during the call is the task's log. */
async function settleLog({ house, effect, folder }: Attempt, process: ExecutorProcess): Promise<void> {
  try {
    const stderr = { path: process.logPath, size: await logSize(process), movable: false };
    await house.logs.settle(effect.ref, { stdout: { path: folder.stdout, size: 0, movable: false }, stderr });
  } catch (error) {
    house.log("warn", `the logs of ${attemptKey(effect.ref)} could not be kept: ${String(error)}`);
  }
}
