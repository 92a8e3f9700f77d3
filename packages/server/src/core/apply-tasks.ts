import {
  type DatastoreVersion,
  type GovernorId,
  type MetricsBatch,
  type ObjectId,
  type OutputReport,
  type TaskFailure,
  type TaskId,
} from "@rain/protocol";
import { Curves } from "./curves.ts";
import { cachedOutputs, type Cache } from "./cache.ts";
import { cacheKey } from "./cache-key.ts";
import {
  isNeeded,
  isStopped,
  moveTask,
  type DataObject,
  type DurableTaskState,
  type Session,
  type Task,
} from "./state.ts";
import type { ServerRecord } from "./types.ts";

/** How records change tasks and objects; `apply.ts` hands them on. */

/** What a record changed: from it the live side follows. */
export interface Changes {
  /** Tasks that became open: submitted, or opened again. */
  readonly opened: Task[];
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

export const noChanges = (): Changes => ({
  opened: [],
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

export function applySubmit(
  session: Session,
  record: Extract<ServerRecord, { type: "submitted" }>,
  changes: Changes,
): void {
  session.submitKeys.add(record.key);
  for (const constant of record.constants) {
    const object: DataObject = {
      session,
      id: constant.id,
      kind: constant.kind,
      label: constant.label,
      contentType: constant.contentType,
      user: constant.user,
      producer: undefined,
      keep: constant.keep,
      state: {
        kind: "finished",
        size: constant.size,
        sha256: constant.sha256,
        contentType: constant.contentType,
        data: constant.data,
        origin: undefined,
      },
      consumers: [],
      openConsumers: 0,
    };
    session.objects.set(constant.id, object);
    changes.constants.push(object);
  }
  for (const spec of record.tasks) {
    for (const output of spec.outputs) {
      session.objects.set(output.object, {
        session,
        id: output.object,
        kind: output.kind,
        label: output.label,
        contentType: output.contentType,
        user: output.user,
        producer: spec.id,
        keep: output.keep,
        state: { kind: "pending" },
        consumers: [],
        openConsumers: 0,
      });
    }
  }
  for (const spec of record.tasks) {
    const replaced = spec.replaces === undefined ? undefined : session.tasks.get(spec.replaces);
    if (replaced) changes.replaced.push(replaced);
    const task = addTask(session, spec, { kind: "open", attempt: 0, governor: undefined });
    session.open.add(task);
    for (const input of task.inputs) input.openConsumers++;
    changes.opened.push(task);
  }
  if (!record.resumes) return;
  for (const task of session.tasks.values())
    if (task.state.kind === "failed" && task.replacedBy === undefined && !task.excused) excuse(task);
}

/** Makes a task over objects that exist already. */
export function addTask(session: Session, spec: Task["spec"], state: DurableTaskState): Task {
  const inputs = new Set<DataObject>();
  for (const { object: id } of spec.inputs) {
    const object = session.objects.get(id);
    if (!object) throw new Error(`task ${session.id}/${spec.id} has the input ${id}, which does not exist`);
    inputs.add(object);
  }
  const task: Task = {
    session,
    spec,
    state,
    inputs: [...inputs],
    crashes: 0,
    failures: 0,
    starved: 0,
    logged: false,
    replacedBy: undefined,
    curves: undefined,
    revision: 0,
    counted: undefined,
    mustRun: false,
    excused: false,
    inputsChanged: false,
  };
  session.tasks.set(spec.id, task);
  if (spec.replaces !== undefined) replace(session, spec.replaces, spec.id);
  for (const input of inputs) input.consumers.push(task);
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
  const others = [...session.open].toSorted((a, b) => a.spec.id - b.spec.id);
  for (const other of others) cancelTask(other, changes);
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
    for (const input of task.inputs) input.openConsumers++;
    changes.opened.push(task);
  }
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

export function applyCancelled(session: Session, tasks: readonly TaskId[], changes: Changes): void {
  const cancelled: Task[] = [];
  for (const id of tasks) {
    const task = session.tasks.get(id);
    if (task?.state.kind !== "open") continue;
    cancelTask(task, changes);
    cancelled.push(task);
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
    for (const consumer of object.consumers) {
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
  for (const input of task.inputs) {
    input.openConsumers--;
    dropIfUnneeded(input, changes);
  }
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
  if (isNeeded(object) || object.state.kind !== "finished") return;
  // A constant stays in the server for the rebuilding of lost objects; its copies on governors may go.
  if (object.producer !== undefined) object.state = { kind: "removed" };
  changes.unneeded.push(object);
}

export function* outputsOf(task: Task): Iterable<DataObject> {
  for (const { object: id } of task.spec.outputs) {
    const object = task.session.objects.get(id);
    if (object) yield object;
  }
}
