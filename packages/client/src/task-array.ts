import {
  asObjectId,
  asTaskId,
  RainError,
  taskOfArray,
  type ObjectId,
  type SettledItem,
  type SettledState,
  type TaskArray as ArraySpec,
  type TaskId,
} from "@rain/protocol";
import { DataObject, newRecord, recordOf } from "./data-object.ts";
import type { PatternOutput } from "./pattern.ts";
import type { Session } from "./session.ts";
import { Task } from "./task.ts";
import type { WaitOptions } from "./wait-limit.ts";

/** What became of tasks, as far as it is known here. */
export interface Settled {
  readonly get: (task: TaskId) => SettledItem | undefined;
  readonly stateOf: (task: TaskId) => SettledState | undefined;
}

/**
 * What the library knows of an array as a whole. Of its tasks it knows what is in the settled log, and what it needs to
 * make their handles anew: a handle that nobody holds is forgotten.
 */
export interface ArrayRecord {
  readonly session: Session;
  readonly first: TaskId;
  readonly count: number;
  readonly objects: ObjectId;
  /** Of each task. */
  readonly outputs: readonly PatternOutput[];
  /** Objects that each task has for itself, by input. */
  readonly inputs: readonly (readonly DataObject[] | TaskArray)[];
  /** The description as it stands; fixed from the submit on. */
  readonly describe: () => ArraySpec;
  readonly origin: () => string | undefined;
  readonly settled: Settled;
  /** What was sent. */
  spec: ArraySpec | undefined;
  phase: "new" | "sent";
  /** The server has it. */
  accepted: boolean;
  keep: boolean;
  /** Outputs that were let go, or all. */
  unkept: Set<ObjectId> | "all";
  /** Tasks that were retried, and those in their place. */
  readonly replaced: Map<TaskId, TaskId>;
  readonly handles: Map<number, WeakRef<Task>>;
  readonly forgotten: FinalizationRegistry<number>;
}

export type NewArray = Omit<
  ArrayRecord,
  "spec" | "phase" | "accepted" | "keep" | "unkept" | "replaced" | "handles" | "forgotten"
>;

export function newArray(of: NewArray): ArrayRecord {
  const handles = new Map<number, WeakRef<Task>>();
  const forget = (index: number): void => {
    if (handles.get(index)?.deref() === undefined) handles.delete(index);
  };
  return {
    ...of,
    spec: undefined,
    phase: "new",
    accepted: false,
    keep: false,
    unkept: new Set(),
    replaced: new Map(),
    handles,
    forgotten: new FinalizationRegistry(forget),
  };
}

/** Handles that somebody holds, or held a short while ago. */
export function* liveHandles({ handles }: ArrayRecord): Generator<Task, void> {
  for (const handle of handles.values()) {
    const task = handle.deref();
    if (task) yield task;
  }
}

/** The handle of task 0, 1, ...: the same one as long as somebody holds it. */
export function handleAt(record: ArrayRecord, index: number): Task {
  const known = record.handles.get(index)?.deref();
  if (known) return known;
  const { session, count, accepted } = record;
  if (!(index >= 0 && index < count)) throw new Error(`an array of ${count} has no task ${index}`);
  const id = asTaskId(record.first + index);
  const settled = record.settled.get(id);
  const outputs = record.outputs.map((slot, k) => outputOf(record, index, k, slot, settled?.state));
  const task = new Task({
    session,
    id,
    outputs,
    describe: () => taskOfArray(record.spec ?? record.describe(), index),
    origin: record.origin,
    sent: record.phase === "sent",
    spec: undefined,
    state: settled?.state ?? (accepted ? "waiting" : undefined),
    attempt: settled?.failure?.attempt ?? 0,
    governor: undefined,
    measured: undefined,
    failure: settled?.failure,
    replacedBy: record.replaced.get(id),
  });
  for (const output of outputs) recordOf(output).producer = task;
  record.handles.set(index, new WeakRef(task));
  record.forgotten.register(task, index);
  return task;
}

function outputOf(
  record: ArrayRecord,
  index: number,
  k: number,
  { label, contentType, kind, user }: PatternOutput,
  settled: SettledState | undefined,
): DataObject {
  const id = asObjectId(record.objects + index * record.outputs.length + k);
  const { session, keep, unkept, accepted } = record;
  const isUnkept = unkept === "all" || unkept.has(id);
  const there = settled === "finished" ? "finished" : "failed";
  return new DataObject(
    newRecord({
      label,
      contentType,
      kind,
      user,
      session,
      id,
      keep,
      ofArray: true,
      phase: isUnkept ? "unkept" : record.phase,
      state: settled ? there : accepted ? "pending" : undefined,
    }),
  );
}

/** For the library's own files: the record behind a handle. */
export let arrayRecordOf: (array: TaskArray) => ArrayRecord;

/**
 * Tasks that are alike, as one: made by `session.array`. It takes a few bytes for each task, however much is done with
 * it; the handle of a task is made when it is asked for.
 */
export class TaskArray implements Iterable<Task> {
  readonly #record: ArrayRecord;

  static {
    arrayRecordOf = (array) => array.#record;
  }

  /** Made by the session; not by users. */
  constructor(record: ArrayRecord) {
    this.#record = record;
  }

  /** Number of the tasks. */
  get length(): number {
    return this.#record.count;
  }
  get session(): Session {
    return this.#record.session;
  }
  /** Number of the first task in its session; the others follow. */
  get first(): number {
    return this.#record.first;
  }

  /** The task at this place, from the end if negative; throws when there is none. */
  at(index: number): Task {
    const place = index < 0 ? this.length + index : index;
    if (Number.isInteger(place) && place >= 0 && place < this.length) return handleAt(this.#record, place);
    throw new RainError("unknown-task", `the array has no task ${index}; it has ${this.length}`);
  }

  /** Every task in turn. Each handle is let go again unless you keep it. */
  *[Symbol.iterator](): Generator<Task, void> {
    for (let index = 0; index < this.length; index++) yield handleAt(this.#record, index);
  }

  /** Every output of every task, in their order: for a task that reads all of them. */
  get outputs(): readonly DataObject[] {
    const all: DataObject[] = [];
    for (const task of this) all.push(...task.outputs);
    return all;
  }

  /** How many of the tasks have ended in which state, as far as waits have brought news. */
  get settled(): Readonly<Record<SettledState, number>> {
    const counts = { finished: 0, failed: 0, cancelled: 0, aborted: 0 };
    const { first, count, settled } = this.#record;
    for (let index = 0; index < count; index++) {
      const state = settled.stateOf(asTaskId(first + index));
      if (state !== undefined) counts[state]++;
    }
    return counts;
  }

  /** Keeps every output of every task. Before the submit. */
  keepOutputs(): this {
    const record = this.#record;
    if (record.phase !== "new")
      throw new RainError("bad-request", "the array is submitted: keepOutputs() before the submit");
    record.keep = true;
    for (const task of liveHandles(record)) for (const output of task.outputs) recordOf(output).keep = true;
    return this;
  }

  /** Lets go of every output of every task: they are removed everywhere once no task needs them. */
  async unkeep(): Promise<void> {
    await this.session.unkeep([this]);
  }

  /** Until all its tasks are finished. Throws the `TaskError` of the first that ends otherwise. */
  async wait(options: WaitOptions = {}): Promise<void> {
    await this.session.wait([this], options);
  }

  /** Stops its tasks that run, and those that wait. */
  async cancel(): Promise<void> {
    await this.session.cancel([this]);
  }
}
