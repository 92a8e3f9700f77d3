import { wrongType } from "./check.ts";
import {
  asObjectId,
  asTaskId,
  limits,
  RainError,
  type ObjectId,
  type ObjectView,
  type SettledState,
  type TaskFailure,
  type TaskId,
  type TaskSpec,
  type TaskView,
} from "@rain/protocol";
import { checkUsable, DataObject, newRecord, recordOf } from "./data-object.ts";
import { originText, type Origin } from "./origin.ts";
import type { Pattern, PatternOutput } from "./pattern.ts";
import type { Session } from "./session.ts";
import type { ArrayPattern, OwnInput } from "./array-pattern.ts";
import { Task, taskRecordOf, type TaskRecord } from "./task.ts";
import {
  arrayRecordOf,
  handleAt,
  liveHandles,
  newArray,
  TaskArray,
  type ArrayRecord,
  type Settled,
} from "./task-array.ts";
import { ArrayTable } from "./array-table.ts";
import { arraySpecOf, checkWeight, MAX_ID, specOf } from "./describe.ts";

/** What a submit takes: the tasks, arrays and constants that are not sent yet. */
export interface Batch {
  readonly tasks: readonly Task[];
  readonly arrays: readonly ArrayRecord[];
  readonly constants: readonly DataObject[];
}

/** The tasks and data objects of one session, their numbers, and which of them are not submitted yet. */
export class Graph {
  readonly #session: Session;
  readonly #settled: Settled;
  readonly #tasks: Map<TaskId, Task> = new Map<TaskId, Task>();
  readonly #objects: Map<ObjectId, DataObject> = new Map<ObjectId, DataObject>();
  readonly #arrays: ArrayTable = new ArrayTable();
  #newTasks: Task[] = [];
  #newArrays: ArrayRecord[] = [];
  #newConstants: DataObject[] = [];
  #nextTask = 0;
  #nextObject = 0;

  constructor(session: Session, settled: Settled) {
    this.#session = session;
    this.#settled = settled;
  }

  task(id: TaskId): Task | undefined {
    const array = this.#arrays.of(id);
    return array ? handleAt(array, id - array.first) : this.#tasks.get(id);
  }
  object(id: ObjectId): DataObject | undefined {
    return this.#objects.get(id) ?? this.#arrays.object(id);
  }
  /** All tasks by number; the handles of those in arrays are made for it. */
  *tasks(): Generator<Task, void> {
    const arrays = [...this.#arrays];
    for (const [id, task] of this.#tasks) {
      while (arrays[0] && arrays[0].first < id) yield* handlesOf(arrays.shift());
      yield task;
    }
    for (const array of arrays) yield* handlesOf(array);
  }
  /** Numbers of all tasks that are of no array. */
  get ownIds(): Iterable<TaskId> {
    return this.#tasks.keys();
  }
  /** Tasks whose handles are there: what was learned of others would have no place. */
  *handles(): Generator<Task, void> {
    yield* this.#tasks.values();
    yield* this.#arrays.handles();
  }
  *objects(): Generator<DataObject, void> {
    yield* this.#objects.values();
    for (const array of this.#arrays) yield* new TaskArray(array).outputs;
  }

  /** Makes a task of a pattern whose slots are filled. Nothing is changed when it throws. */
  add(pattern: Pattern, origin: Origin): Task {
    const objects = this.#checkPattern(pattern);
    for (const object of objects) this.#adopt(object);
    const id = asTaskId(this.#nextTask++);
    const outputs = pattern.outputs.map((slot) => this.#addOutput(slot));
    const inputs = objects.map((object) => object.id ?? MAX_ID);
    const describe = (): TaskSpec => {
      const from = originText(origin);
      const spec = specOf(pattern, id, inputs, outputs);
      return from === undefined ? spec : { ...spec, origin: from };
    };
    const task = new Task({
      ...emptyTask(this.#session, id, outputs),
      describe,
      origin: () => originText(origin),
    });
    for (const output of outputs) recordOf(output).producer = task;
    this.#tasks.set(id, task);
    this.#newTasks.push(task);
    return task;
  }

  /** Makes an array. Nothing is changed when it throws. */
  addArray(given: ArrayPattern, origin: Origin): TaskArray {
    const { pattern, count, inputs: own } = given;
    const objects = this.#checkPattern(pattern);
    const size = count * pattern.outputs.length;
    if (this.#nextTask + count > MAX_ID || this.#nextObject + size + MAX_INPUTS > MAX_ID)
      throw new RainError("limit-exceeded", `${pattern.what}: the session has no numbers for so many tasks`);
    for (const { of } of own) for (const object of each(of)) checkUsable(object, this.#session);
    for (const object of objects) this.#adopt(object);
    for (const { of } of own) if (!(of instanceof TaskArray)) for (const object of of) this.#adopt(object);
    const first = asTaskId(this.#nextTask);
    const start = asObjectId(this.#nextObject);
    this.#nextTask += count;
    this.#nextObject += size;
    const inputs = objects.map((object) => object.id ?? MAX_ID);
    const record: ArrayRecord = newArray({
      session: this.#session,
      first,
      count,
      objects: start,
      outputs: pattern.outputs,
      settled: this.#settled,
      inputs: own.map(({ of }) => of),
      origin: () => originText(origin),
      describe: () => arraySpecOf(given, { first, objects: start }, inputs, originText(origin), record.keep),
    });
    this.#arrays.add(record);
    this.#newArrays.push(record);
    return new TaskArray(record);
  }

  /** The objects that the task reads, in order; throws unless it may, and when its description is too large. */
  #checkPattern(pattern: Pattern): DataObject[] {
    const objects = pattern.inputs.map((slot) => {
      if (!slot.object) {
        throw wrongType(
          `${pattern.what}: input ${JSON.stringify(slot.label)} has no object; only a Program has slots`,
        );
      }
      checkUsable(slot.object, this.#session);
      return slot.object;
    });
    checkWeight(pattern);
    return objects;
  }

  #addOutput({ label, contentType, kind, user }: PatternOutput): DataObject {
    const id = asObjectId(this.#nextObject++);
    const object = new DataObject(newRecord({ label, contentType, kind, user, session: this.#session, id }));
    this.#objects.set(id, object);
    return object;
  }

  /** A constant belongs to the session that uses it first. */
  #adopt(object: DataObject): void {
    const record = recordOf(object);
    if (record.session) return;
    record.session = this.#session;
    record.id = asObjectId(this.#nextObject++);
    this.#objects.set(record.id, object);
    this.#newConstants.push(object);
  }

  /** Takes what is not submitted, and fixes its description. Throws, and takes nothing, when an input was let go. */
  take(): Batch {
    const specs = this.#newTasks.map((task) => taskRecordOf(task).describe());
    const arrays = this.#newArrays.map((record) => record.describe());
    for (const { inputs } of [...specs, ...arrays.map(({ task }) => task)]) {
      for (const { object } of inputs) {
        const used = this.object(object);
        if (used) checkUsable(used, this.#session);
      }
    }
    for (const { inputs } of this.#newArrays)
      for (const of of inputs) for (const object of each(of)) checkUsable(object, this.#session);
    const batch = { tasks: this.#newTasks, arrays: this.#newArrays, constants: this.#newConstants };
    this.#newTasks = [];
    this.#newArrays = [];
    this.#newConstants = [];
    for (const [index, task] of batch.tasks.entries()) taskRecordOf(task).spec = specs[index];
    for (const [index, array] of batch.arrays.entries()) {
      array.spec = arrays[index];
      array.phase = "sent";
    }
    for (const task of tasksOf(batch)) taskRecordOf(task).sent = true;
    for (const object of objectsOf(batch)) recordOf(object).phase = "sent";
    return batch;
  }

  /** The server has accepted the batch. */
  markSubmitted(batch: Batch): void {
    for (const array of batch.arrays) array.accepted = true;
    for (const task of tasksOf(batch)) taskRecordOf(task).state ??= "waiting";
    for (const object of objectsOf(batch)) {
      const record = recordOf(object);
      record.state ??= record.producer ? "pending" : "finished";
    }
  }

  /** The server refused the batch: it is as before `take`. */
  putBack(batch: Batch): void {
    this.#newTasks = [...batch.tasks, ...this.#newTasks];
    this.#newArrays = [...batch.arrays, ...this.#newArrays];
    this.#newConstants = [...batch.constants, ...this.#newConstants];
    for (const array of batch.arrays) {
      array.spec = undefined;
      array.phase = "new";
    }
    for (const task of tasksOf(batch)) {
      const record = taskRecordOf(task);
      record.spec = undefined;
      record.sent = false;
    }
    for (const object of objectsOf(batch)) recordOf(object).phase = "new";
  }

  /** Keeps all outputs that are not submitted yet. */
  keepAll(): void {
    for (const task of this.#newTasks) task.keepOutputs();
    for (const array of this.#newArrays) new TaskArray(array).keepOutputs();
  }

  /** Lets go of an object: its number, if the server is to be told. */
  unkeep(object: DataObject): ObjectId[] {
    const record = recordOf(object);
    if (!record.keep || record.phase === "unkept") return [];
    if (record.phase === "new") {
      record.keep = false;
      return [];
    }
    record.phase = "unkept";
    const { id, producer } = record;
    if (id === undefined) return [];
    const array = producer && this.#arrays.of(taskRecordOf(producer).id);
    if (array && array.unkept !== "all") array.unkept.add(id);
    return [id];
  }

  /** Lets go of all outputs of an array. */
  *unkeepArray(array: TaskArray): Generator<ObjectId, void> {
    const record = arrayRecordOf(array);
    const { keep, unkept, phase, objects, count, outputs } = record;
    if (!keep || unkept === "all") return;
    for (const task of liveHandles(record))
      for (const output of task.outputs)
        if (phase === "new") recordOf(output).keep = false;
        else recordOf(output).phase = "unkept";
    if (phase === "new") {
      record.keep = false;
      return;
    }
    record.unkept = "all";
    for (let id = objects; id < objects + count * outputs.length; id = asObjectId(id + 1))
      if (!unkept.has(id)) yield id;
  }

  /** `by` was added in the place of a task. */
  noteReplaced(task: Task, by: Task): void {
    const record = taskRecordOf(task);
    record.replacedBy = taskRecordOf(by).id;
    this.#arrays.of(record.id)?.replaced.set(record.id, record.replacedBy);
  }

  /** Takes up tasks and objects that the server has; later ones are numbered behind them. */
  restore(tasks: readonly TaskView[], objects: readonly ObjectView[]): void {
    const types = new Map<ObjectId, string>();
    for (const { spec } of tasks)
      for (const output of spec.outputs) types.set(output.object, output.contentType);
    for (const view of objects) {
      if (this.#objects.has(view.object)) continue;
      const fields = {
        label: view.label,
        contentType: types.get(view.object) ?? view.info?.contentType ?? "",
      };
      const placed = {
        kind: view.kind,
        user: view.user,
        session: this.#session,
        id: view.object,
        phase: "sent" as const,
      };
      const object = new DataObject(newRecord({ ...fields, ...placed }));
      this.#objects.set(view.object, object);
      this.updateObject(view);
      this.#nextObject = Math.max(this.#nextObject, view.object + 1);
    }
    for (const view of tasks) if (!this.#tasks.has(view.task)) this.#restoreTask(view);
  }

  #restoreTask(view: TaskView): void {
    const outputs = view.spec.outputs.flatMap(({ object }) => this.#objects.get(object) ?? []);
    const task = new Task({
      ...emptyTask(this.#session, view.task, outputs),
      describe: () => view.spec,
      origin: () => view.spec.origin,
      sent: true,
      spec: view.spec,
    });
    for (const output of outputs) recordOf(output).producer = task;
    this.#tasks.set(view.task, task);
    this.updateTask(view);
    this.#nextTask = Math.max(this.#nextTask, view.task + 1);
    const replaced = view.spec.replaces === undefined ? undefined : this.#tasks.get(view.spec.replaces);
    if (replaced) this.noteReplaced(replaced, task);
  }

  /** A task has settled. */
  noteSettled(id: TaskId, state: SettledState, failure: TaskFailure | undefined): void {
    const task = this.#there(id);
    if (!task) return;
    const record = taskRecordOf(task);
    record.state = state;
    record.failure = failure ?? record.failure;
    if (failure?.attempt !== undefined) record.attempt = failure.attempt;
    const objectState = state === "finished" ? "finished" : "failed";
    for (const output of task.outputs) recordOf(output).state = objectState;
  }

  /** The handle of a task, if it is there. */
  #there(id: TaskId): Task | undefined {
    const array = this.#arrays.of(id);
    return array ? this.#arrays.handle(array, id) : this.#tasks.get(id);
  }

  updateTask(view: TaskView): void {
    const task = this.#there(view.task);
    if (!task) return;
    const record = taskRecordOf(task);
    record.state = view.state;
    record.attempt = view.attempt;
    record.governor = view.governor;
    record.measured = view.info;
    record.failure = view.failure;
  }

  updateObject(view: ObjectView): void {
    const object = this.object(view.object);
    if (!object) return;
    const record = recordOf(object);
    record.state = view.state;
    record.keep = view.keep;
    record.info = view.info ?? record.info;
  }
}

/** Constants that one task may bring along. */
const MAX_INPUTS = limits.inputsPerTask;

function* handlesOf(array: ArrayRecord | undefined): Generator<Task, void> {
  if (array) yield* new TaskArray(array);
}

/** What has to be looked at of the inputs that the tasks of an array have each for itself. */
const each = (of: OwnInput["of"]): readonly DataObject[] =>
  of instanceof TaskArray ? [of.at(0).output] : of;

const emptyTask = (
  session: Session,
  id: TaskId,
  outputs: readonly DataObject[],
): Omit<TaskRecord, "describe" | "origin"> => ({
  session,
  id,
  outputs,
  sent: false,
  spec: undefined,
  state: undefined,
  attempt: 0,
  governor: undefined,
  measured: undefined,
  failure: undefined,
  replacedBy: undefined,
});

/** All whose handles are there. */
const tasksOf = ({ tasks, arrays }: Batch): Task[] => [
  ...tasks,
  ...arrays.flatMap((array) => [...liveHandles(array)]),
];
const objectsOf = (batch: Batch): DataObject[] => [
  ...batch.constants,
  ...tasksOf(batch).flatMap((task) => [...task.outputs]),
];
