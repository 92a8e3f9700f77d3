import {
  asTaskId,
  type DatastoreVersion,
  type GovernorId,
  type MetricsBatch,
  type ObjectId,
  type OutputReport,
  type TaskArray,
  type TaskFailure,
  type TaskId,
  type TaskSpec,
} from "@rain/protocol";
import { Curves } from "./curves.ts";
import { cachedOutputs, type Cache } from "./cache.ts";
import { cacheKey } from "./cache-key.ts";
import {
  inputsOf,
  isNeeded,
  isStopped,
  moveTask,
  newObject,
  Task,
  type DataObject,
  type DurableTaskState,
  type Session,
} from "./state.ts";
import type { ArrayState } from "./task-array.ts";
import type { ServerRecord } from "./types.ts";

/** How records change tasks and objects; `apply.ts` hands them on. */

/** What a record changed: from it the live side follows. */
export interface Changes {
  /** Tasks that became open: submitted, or opened again. */
  readonly opened: Task[];
  /** Arrays whose tasks are ready. */
  readonly arrays: ArrayState[];
  /** Virtual tasks that were cancelled. */
  readonly swept: Run[];
  /** Open tasks that have no governor any more and wait for another attempt. */
  readonly released: Task[];
  readonly settled: Task[];
  /** Constants that came with a submit. */
  readonly constants: DataObject[];
  readonly finished: DataObject[];
  /** Finished objects that are pending again. */
  readonly lost: DataObject[];
  /** Objects whose bytes nobody needs any more. */
  readonly unneeded: DataObject[];
  readonly failedObjects: DataObject[];
  /** Tasks that others took the place of. */
  readonly replaced: Task[];
  /** Tasks of which metrics came. */
  readonly measured: Task[];
  readonly stored: DatastoreVersion[];
  readonly unstored: DatastoreVersion[];
  closed: Session | undefined;
}

/** Tasks of an array, by their place in it. */
export interface Run {
  readonly array: ArrayState;
  readonly from: number;
  readonly count: number;
}

export const noChanges = (): Changes => ({
  opened: [],
  arrays: [],
  swept: [],
  released: [],
  settled: [],
  constants: [],
  finished: [],
  lost: [],
  unneeded: [],
  failedObjects: [],
  replaced: [],
  measured: [],
  stored: [],
  unstored: [],
  closed: undefined,
});
/** Makes it as good as new. */
export function clearChanges(changes: Changes): void {
  changes.closed = undefined;
  for (const name in changes) {
    const list = changes[name as Exclude<keyof Changes, "closed">] as unknown[] | undefined;
    if (list !== undefined && list.length > 0) list.length = 0;
  }
}

export function applySubmit(
  session: Session,
  record: Extract<ServerRecord, { type: "submitted" }>,
  changes: Changes,
): void {
  session.submitKeys.add(record.key);
  for (const constant of record.constants) {
    const { size, sha256, contentType, data } = constant;
    const state = { kind: "finished", size, sha256, contentType, data, origin: undefined } as const;
    const object = newObject(session, constant.id, constant, undefined, state);
    session.objects.add(object);
    changes.constants.push(object);
  }
  for (const spec of record.tasks) addOutputs(session, spec);
  // All of them, before any of their tasks looks for its inputs.
  const arrays = (record.arrays ?? []).map((array) =>
    session.tasks.addArray(session, array, isReadyNow(session, array)),
  );
  for (const array of arrays) enterArray(array, changes);
  for (const spec of record.tasks) {
    const replaced = spec.replaces === undefined ? undefined : session.tasks.get(spec.replaces);
    if (replaced) changes.replaced.push(replaced);
    const task = addTask(session, spec, { kind: "open", attempt: 0, governor: undefined });
    session.open.add(task);
    addConsumer(task);
    changes.opened.push(task);
  }
  if (!record.resumes) return;
  for (const task of failedTasks(session))
    if (task.state.kind === "failed" && task.replacedBy === undefined && !task.excused) excuse(task);
}

function* failedTasks({ tasks }: Session): Generator<Task> {
  for (const array of tasks.arrays) {
    if ((array.counts.get("failed") ?? 0) === 0) continue;
    for (const { from, count } of [...array.folded()].filter(({ kind }) => kind === "failed"))
      for (let index = from; index < from + count; index++) array.get(index);
  }
  for (const task of tasks.expandedOnes()) if (task.state.kind === "failed") yield task;
}

function addOutputs(session: Session, spec: TaskSpec): void {
  for (const output of spec.outputs)
    session.objects.add(newObject(session, output.object, output, spec.id, { kind: "pending" }));
}

/** Does the server itself have all that these tasks read, so that they are ready until they run? */
function isReadyNow(session: Session, { task, vary }: TaskArray): boolean {
  if (task.cache === true || vary.some(({ at }) => at[0] === "input")) return false;
  return task.inputs.every(({ object: id }) => {
    const object = session.objects.get(id);
    if (!object) return false;
    return (
      object.producer === undefined || (object.state.kind === "finished" && object.state.data !== undefined)
    );
  });
}

/** Counts an array's tasks among the consumers of what they read; those that cannot be virtual are expanded. */
export function enterArray(array: ArrayState, changes: Changes | undefined): void {
  if (array.isReady) {
    for (const input of inputsOf(array.session, array.spec.task)) input.openConsumers += array.count;
    changes?.arrays.push(array);
    return;
  }
  for (let index = 0; index < array.count; index++) {
    const task = array.get(index);
    addConsumer(task);
    changes?.opened.push(task);
  }
}

export function addConsumer(task: Task): void {
  for (const input of task.inputs) {
    input.openConsumers++;
    input.consumers.add(task);
  }
}

/** Makes a task over objects that exist already. */
export function addTask(session: Session, spec: TaskSpec, state: DurableTaskState): Task {
  const task = new Task(session, spec, state);
  session.tasks.add(task);
  if (spec.replaces !== undefined) replace(session, spec.replaces, spec.id);
  return task;
}

/** The old task has settled; if it failed, its failure does not count any more. */
function replace(session: Session, old: TaskId, by: TaskId): void {
  const replaced = session.tasks.get(old);
  if (!replaced) throw new Error(`task ${session.id}/${by} replaces task ${old}, which does not exist`);
  replaced.replacedBy = by;
  if (replaced.state.kind === "failed") session.failed--;
  if (replaced.excused) session.excused--;
}

/** A failure that has stopped its session once does not stop it again. */
export function excuse(task: Task): void {
  task.excused = true;
  task.session.excused++;
}

/** Points of the current attempt that are not known yet: `Curves.news` chose them before they were recorded. */
export function addMetrics(task: Task, batch: MetricsBatch | undefined, changes: Changes): void {
  if (batch === undefined) return;
  if (task.curves?.attempt !== task.state.attempt) task.curves = new Curves(task.state.attempt);
  task.curves.add(batch);
  changes.measured.push(task);
}

export function applyFinished(
  task: Task,
  record: Extract<ServerRecord, { type: "finished" }>,
  changes: Changes,
  cache: Cache,
): void {
  const { attempt, governor, info } = record;
  moveTask(task, { kind: "finished", attempt, governor, info });
  // It does not kill governors: should it run again for a lost output, their bad luck is not held against it.
  task.crashes = 0;
  addMetrics(task, record.metrics, changes);
  // Now: an input that nobody else needs goes with this task.
  const key = task.spec.cache === true && !task.inputsChanged ? cacheKey(task) : undefined;
  takeOutputs(task, record.outputs, () => governor, changes);
  const outputs = key === undefined ? undefined : cachedOutputs(task, record.outputs);
  if (key !== undefined && outputs) cache.finished(key, task, info, outputs);
}

/** It was not run: the same task finished before. */
export function applyCached(
  task: Task,
  record: Extract<ServerRecord, { type: "cached" }>,
  changes: Changes,
  cache: Cache,
): void {
  const { info, from, outputs, copies } = record;
  moveTask(task, { kind: "finished", attempt: task.state.attempt, governor: undefined, info, from });
  task.curves = undefined;
  const key = cacheKey(task);
  takeOutputs(task, outputs, (id) => copies.find(({ object }) => object === id)?.governor, changes);
  if (key !== undefined) cache.hit(key, task);
}

/** A finished task's outputs are there, and the task is settled. */
function takeOutputs(
  task: Task,
  list: readonly OutputReport[],
  originOf: (id: ObjectId) => GovernorId | undefined,
  changes: Changes,
): void {
  if (task.spec.outputs.length === 0) return settle(task, changes);
  const reports = new Map<number, OutputReport>(list.map((report) => [report.object, report]));
  for (const output of outputsOf(task)) {
    const report = reports.get(output.id);
    // A task that ran again for one lost output does not replace the others.
    if (!report || output.state.kind !== "pending") continue;
    output.state = {
      kind: "finished",
      size: report.size,
      sha256: report.sha256,
      contentType: report.contentType,
      data: report.data,
      origin: originOf(output.id),
      user: report.user,
    };
    changes.finished.push(output);
  }
  settle(task, changes);
  for (const output of outputsOf(task)) dropIfUnneeded(output, changes);
}

export function applyFailed(
  task: Task,
  record: Extract<ServerRecord, { type: "failed" }>,
  changes: Changes,
): void {
  const failure: TaskFailure = record.failure;
  moveTask(task, {
    kind: "failed",
    attempt: task.state.attempt,
    governor: governorOf(task),
    failure,
    info: record.info,
  });
  addMetrics(task, record.metrics, changes);
  settle(task, changes);
  failOutputs(task, task.spec.id, changes);
  const { session } = task;
  if (task.replacedBy === undefined) session.failed++;
  if (session.onError === "fail" && !session.failure) {
    session.failure = {
      task: task.spec.id,
      name: task.spec.name,
      failure,
      origin: task.spec.origin,
    };
    cancelOpen(session, changes);
  } else {
    abortConsumers(outputsOf(task), task.spec.id, changes);
    if (isStopped(session)) cancelOpen(session, changes);
  }
}

function cancelOpen(session: Session, changes: Changes): void {
  // By number: the order of the set is another one after a snapshot, and the settled log must be the same.
  const others: (Task | Run)[] = [];
  for (const task of session.open) if (!task.array) others.push(task);
  for (const array of session.tasks.arrays) others.push(...openRuns(array, 0, array.count));
  const first = (each: Task | Run): number =>
    each instanceof Task ? each.spec.id : each.array.first + each.from;
  others.sort((a, b) => first(a) - first(b));
  for (const other of others) {
    if (other instanceof Task) cancelTask(other, changes);
    else sweep(other, changes);
  }
}

/** Open tasks of a part of an array: those that are virtual in runs. */
function openRuns(array: ArrayState, from: number, to: number): (Task | Run)[] {
  return [...array.openRuns(from, to)].map((each) => (each instanceof Task ? each : { array, ...each }));
}

/** Cancels virtual tasks: nothing is known of them but that they are no more. */
function sweep(run: Run, changes: Changes): void {
  const { array, from, count } = run;
  const { session } = array;
  array.sweep(from, count);
  for (let index = from; index < from + count; index++) session.settled.push(asTaskId(array.first + index));
  for (const input of inputsOf(session, array.spec.task)) {
    input.openConsumers -= count;
    dropIfUnneeded(input, changes);
  }
  changes.swept.push(run);
}

export function applyReleased(
  task: Task,
  record: Extract<ServerRecord, { type: "released" }>,
  changes: Changes,
): void {
  moveTask(task, { kind: "open", attempt: task.state.attempt, governor: undefined });
  if (record.counts === "crash") task.crashes++;
  if (record.counts === "failure") task.failures++;
  if (record.counts === "starved") task.starved++;
  changes.released.push(task);
}

/** Opens a finished task for its lost outputs: those are pending again, and its inputs are needed again. */
export function applyReopened(task: Task, objects: readonly ObjectId[], changes: Changes): void {
  task.mustRun = true;
  if (task.state.kind !== "open") {
    moveTask(task, { kind: "open", attempt: task.state.attempt, governor: undefined });
    task.session.open.add(task);
    addConsumer(task);
    changes.opened.push(task);
  } else for (const input of task.inputs) input.consumers.add(task);
  for (const output of outputsOf(task)) {
    if (!objects.includes(output.id)) continue;
    output.state = { kind: "pending" };
    for (const consumer of output.consumers)
      if (consumer.state.kind === "open") consumer.inputsChanged = true;
    changes.lost.push(output);
  }
}

export function applyLost(object: DataObject, changes: Changes): void {
  if (object.producer === undefined)
    throw new Error(`constant ${object.session.id}/o${object.id} cannot be lost`);
  object.state = { kind: "failed", cause: object.producer };
  changes.failedObjects.push(object);
  abortConsumers([object], object.producer, changes);
}

export function applyCancelled(
  session: Session,
  { tasks, ranges = [] }: Extract<ServerRecord, { type: "cancelled" }>,
  changes: Changes,
): void {
  const cancelled: Task[] = [];
  const cancelOne = (task: Task | undefined): void => {
    if (task?.state.kind !== "open") return;
    cancelTask(task, changes);
    cancelled.push(task);
  };
  const parts = [...tasks.map((id): [TaskId, number] => [id, 0]), ...ranges];
  // In the order of their numbers, as without arrays. (Records without arrays have an order of their own.)
  if (ranges.length > 0) parts.sort(([a], [b]) => a - b);
  for (const [first, count] of parts) {
    if (count === 0) {
      cancelOne(session.tasks.get(first));
      continue;
    }
    const array = session.tasks.arrayOf(first);
    if (!array) throw new Error(`record for array ${session.id}/${first}, which does not exist`);
    const from = first - array.first;
    for (const each of openRuns(array, from, from + count)) {
      if (each instanceof Task) cancelOne(each);
      else sweep(each, changes);
    }
  }
  for (const task of cancelled) abortConsumers(outputsOf(task), task.spec.id, changes);
}

function cancelTask(task: Task, changes: Changes): void {
  moveTask(task, { kind: "cancelled", attempt: task.state.attempt, governor: governorOf(task) });
  settle(task, changes);
  failOutputs(task, task.spec.id, changes);
}

/** Everything that needs one of these objects, directly or not, can never run. */
function abortConsumers(objects: Iterable<DataObject>, cause: TaskId, changes: Changes): void {
  const work = [...objects];
  for (let object = work.pop(); object; object = work.pop()) {
    // By number, for the same settled log after a restart.
    for (const consumer of [...object.consumers].toSorted((a, b) => a.spec.id - b.spec.id)) {
      if (consumer.state.kind !== "open") continue;
      moveTask(consumer, { kind: "aborted", attempt: consumer.state.attempt, cause });
      settle(consumer, changes);
      failOutputs(consumer, cause, changes);
      work.push(...outputsOf(consumer));
    }
  }
}

/** A task left the open ones: it is logged, and its inputs have one consumer less. */
function settle(task: Task, changes: Changes): void {
  const { session } = task;
  session.open.delete(task);
  const finishedAgain = task.logged && task.state.kind === "finished";
  if (!finishedAgain) session.settled.push(task.spec.id);
  task.logged = task.state.kind === "finished";
  changes.settled.push(task);
  session.tasks.touch(task);
  for (const input of task.inputs) {
    input.openConsumers--;
    input.consumers.delete(task);
    dropIfUnneeded(input, changes);
  }
  task.forgetInputs();
}

const governorOf = ({ state }: Task): GovernorId | undefined =>
  "governor" in state ? state.governor : undefined;

function failOutputs(task: Task, cause: TaskId, changes: Changes): void {
  for (const output of outputsOf(task)) {
    if (output.state.kind !== "pending") continue;
    output.state = { kind: "failed", cause };
    changes.failedObjects.push(output);
  }
}

export function dropIfUnneeded(object: DataObject, changes: Changes): void {
  if (object.producer !== undefined && object.openConsumers === 0) {
    const maker = object.session.tasks.there(object.producer);
    if (maker) object.session.tasks.touch(maker);
  }
  if (isNeeded(object) || object.state.kind !== "finished") return;
  // A constant stays in the server for the rebuilding of lost objects; its copies on governors may go.
  if (object.producer !== undefined) object.state = { kind: "removed" };
  changes.unneeded.push(object);
}

const NO_OBJECTS: readonly DataObject[] = [];
export function outputsOf({ spec, session }: Task): readonly DataObject[] {
  if (spec.outputs.length === 0) return NO_OBJECTS;
  const outputs: DataObject[] = [];
  for (const { object: id } of spec.outputs) {
    const object = session.objects.get(id);
    if (object) outputs.push(object);
  }
  return outputs;
}
