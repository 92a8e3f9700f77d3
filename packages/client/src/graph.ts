import { wrongType } from "./check.ts";
import {
  asObjectId,
  asTaskId,
  RainError,
  type ConstantSpec,
  type InputSpec,
  type ObjectId,
  type ObjectView,
  type OutputSpec,
  type SettledItem,
  type TaskId,
  type TaskSpec,
  type TaskView,
} from "@rain/protocol";
import { checkUsable, DataObject, newRecord, recordOf } from "./data-object.ts";
import { originText, type Origin } from "./origin.ts";
import type { Pattern, PatternOutput } from "./pattern.ts";
import type { Session } from "./session.ts";
import { Task, taskRecordOf, type TaskRecord } from "./task.ts";
import { messageBudget, weigh, type Weight } from "./weight.ts";

/** What a submit takes: the tasks and constants that are not sent yet. */
export interface Batch {
  readonly tasks: readonly Task[];
  readonly constants: readonly DataObject[];
}

/** The tasks and data objects of one session, their numbers, and which of them are not submitted yet. */
export class Graph {
  readonly tasks: Map<TaskId, Task> = new Map<TaskId, Task>();
  readonly objects: Map<ObjectId, DataObject> = new Map<ObjectId, DataObject>();
  readonly #session: Session;
  #newTasks: Task[] = [];
  #newConstants: DataObject[] = [];
  #nextTask = 0;
  #nextObject = 0;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Makes a task of a pattern whose slots are filled. Nothing is changed when it throws. */
  add(pattern: Pattern, origin: Origin): Task {
    const objects = pattern.inputs.map((slot) => {
      if (!slot.object) {
        throw wrongType(
          `${pattern.what}: input ${JSON.stringify(slot.label)} has no object; only a Program has slots`,
        );
      }
      checkUsable(slot.object, this.#session);
      return slot.object;
    });
    // Estimated with the largest numbers, before any is taken.
    checkWeight(
      pattern,
      weigh(
        specOf(
          pattern,
          MAX_ID,
          objects.map(() => MAX_ID),
          [],
        ),
      ),
    );
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
    this.tasks.set(id, task);
    this.#newTasks.push(task);
    return task;
  }

  #addOutput({ label, contentType, kind, user }: PatternOutput): DataObject {
    const id = asObjectId(this.#nextObject++);
    const object = new DataObject(newRecord({ label, contentType, kind, user, session: this.#session, id }));
    this.objects.set(id, object);
    return object;
  }

  /** A constant belongs to the session that uses it first. */
  #adopt(object: DataObject): void {
    const record = recordOf(object);
    if (record.session) return;
    record.session = this.#session;
    record.id = asObjectId(this.#nextObject++);
    this.objects.set(record.id, object);
    this.#newConstants.push(object);
  }

  /** Takes what is not submitted, and fixes its description. Throws, and takes nothing, when an input was let go. */
  take(): Batch {
    const specs = this.#newTasks.map((task) => taskRecordOf(task).describe());
    for (const { inputs } of specs) {
      for (const { object } of inputs) {
        const used = this.objects.get(object);
        if (used) checkUsable(used, this.#session);
      }
    }
    const batch = { tasks: this.#newTasks, constants: this.#newConstants };
    this.#newTasks = [];
    this.#newConstants = [];
    for (const [index, task] of batch.tasks.entries()) {
      const record = taskRecordOf(task);
      record.spec = specs[index];
      record.sent = true;
    }
    for (const object of objectsOf(batch)) recordOf(object).phase = "sent";
    return batch;
  }

  /** The server has accepted the batch. */
  markSubmitted(batch: Batch): void {
    for (const task of batch.tasks) taskRecordOf(task).state ??= "waiting";
    for (const object of objectsOf(batch)) {
      const record = recordOf(object);
      record.state ??= record.producer ? "pending" : "finished";
    }
  }

  /** The server refused the batch: it is as before `take`. */
  putBack(batch: Batch): void {
    this.#newTasks = [...batch.tasks, ...this.#newTasks];
    this.#newConstants = [...batch.constants, ...this.#newConstants];
    for (const task of batch.tasks) {
      const record = taskRecordOf(task);
      record.spec = undefined;
      record.sent = false;
    }
    for (const object of objectsOf(batch)) recordOf(object).phase = "new";
  }

  /** Keeps all outputs that are not submitted yet. */
  keepAll(): void {
    for (const task of this.#newTasks) task.keepOutputs();
  }

  /** Takes up tasks and objects that the server has; later ones are numbered behind them. */
  restore(tasks: readonly TaskView[], objects: readonly ObjectView[]): void {
    const types = new Map<ObjectId, string>();
    for (const { spec } of tasks)
      for (const output of spec.outputs) types.set(output.object, output.contentType);
    for (const view of objects) {
      if (this.objects.has(view.object)) continue;
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
      this.objects.set(view.object, object);
      this.updateObject(view);
      this.#nextObject = Math.max(this.#nextObject, view.object + 1);
    }
    for (const view of tasks) if (!this.tasks.has(view.task)) this.#restoreTask(view);
  }

  #restoreTask(view: TaskView): void {
    const outputs = view.spec.outputs.flatMap(({ object }) => this.objects.get(object) ?? []);
    const task = new Task({
      ...emptyTask(this.#session, view.task, outputs),
      describe: () => view.spec,
      origin: () => view.spec.origin,
      sent: true,
      spec: view.spec,
    });
    for (const output of outputs) recordOf(output).producer = task;
    this.tasks.set(view.task, task);
    this.updateTask(view);
    this.#nextTask = Math.max(this.#nextTask, view.task + 1);
    const replaced = view.spec.replaces === undefined ? undefined : this.tasks.get(view.spec.replaces);
    if (replaced) taskRecordOf(replaced).replacedBy = view.task;
  }

  /** A task has settled. */
  noteSettled(item: SettledItem): void {
    const task = this.tasks.get(item.task);
    if (!task) return;
    const record = taskRecordOf(task);
    record.settled = item;
    record.state = item.state;
    record.failure = item.failure ?? record.failure;
    if (item.failure?.attempt !== undefined) record.attempt = item.failure.attempt;
    const objectState = item.state === "finished" ? "finished" : "failed";
    for (const output of task.outputs) recordOf(output).state = objectState;
  }

  updateTask(view: TaskView): void {
    const task = this.tasks.get(view.task);
    if (!task) return;
    const record = taskRecordOf(task);
    record.state = view.state;
    record.attempt = view.attempt;
    record.governor = view.governor;
    record.measured = view.info;
    record.failure = view.failure;
  }

  updateObject(view: ObjectView): void {
    const object = this.objects.get(view.object);
    if (!object) return;
    const record = recordOf(object);
    record.state = view.state;
    record.keep = view.keep;
    record.info = view.info ?? record.info;
  }
}

const MAX_ID = 2 ** 31 - 1;

/** Outputs may still be missing when only the size counts. */
function specOf(
  pattern: Pattern,
  id: number,
  inputs: readonly number[],
  outputs: readonly DataObject[],
): TaskSpec {
  return {
    id: asTaskId(id),
    work: pattern.work,
    inputs: pattern.inputs.map((slot, index): InputSpec => ({
      object: asObjectId(inputs[index] ?? MAX_ID),
      ...(slot.label !== undefined && { label: slot.label }),
      ...(slot.path !== undefined && { path: slot.path }),
      ...(slot.write && { write: true }),
      ...(slot.shared && { shared: true }),
      ...(slot.contentType !== "" && { contentType: slot.contentType }),
    })),
    outputs: pattern.outputs.map((slot, index): OutputSpec => {
      const object = outputs[index];
      return {
        object: asObjectId(object?.id ?? MAX_ID),
        label: slot.label,
        kind: slot.kind,
        contentType: slot.contentType,
        keep: object?.isKept ?? false,
        ...(slot.path !== undefined && { path: slot.path }),
        ...(slot.capture !== undefined && { capture: slot.capture }),
        ...(slot.user !== undefined && { user: slot.user }),
      };
    }),
    ...pattern.common,
  };
}

const ORIGIN_BYTES = 4_500; // the longest origin, with its key

function checkWeight(pattern: Pattern, weight: Weight): void {
  const full = { bytes: weight.bytes + ORIGIN_BYTES, items: weight.items + 2 };
  if (full.bytes <= messageBudget.bytes && full.items <= messageBudget.items) return;
  throw new RainError(
    "limit-exceeded",
    `${pattern.what}: its description has about ${full.bytes} bytes and ${full.items} values; the limits are ` +
      `${messageBudget.bytes} and ${messageBudget.items}. Pass large texts in a blob, and join inputs by concat`,
  );
}

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
  settled: undefined,
  replacedBy: undefined,
});

const objectsOf = (batch: Batch): DataObject[] => [
  ...batch.constants,
  ...batch.tasks.flatMap((task) => [...task.outputs]),
];

/** The constant as it is submitted; `inline` says whether its bytes go along. */
export function constantSpec(object: DataObject, inline: boolean): ConstantSpec {
  const { id, kind, label, contentType, keep, content, info, user, stored } = recordOf(object);
  if (id === undefined || !info || (!content && !stored))
    throw new Error(`${label} is no constant with a number`);
  const { size, sha256 } = info;
  const spec = { id, kind, label, contentType, keep, size, sha256, ...(user !== undefined && { user }) };
  return inline && content instanceof Uint8Array ? { ...spec, data: content } : spec;
}
