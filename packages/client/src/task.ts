import {
  RainError,
  type MetricPoint,
  type TaskFailure,
  type TaskId,
  type TaskInfo,
  type TaskSpec,
  type TaskState,
  type UserAttributes,
} from "@rain/protocol";
import { badRequest, show } from "./check.ts";
import type { DataObject } from "./data-object.ts";
import { nameTask } from "./errors.ts";
import type { LogChunk, LogOptions } from "./logs.ts";
import type { Session } from "./session.ts";
import type { WaitOptions } from "./wait-limit.ts";

/** What the library knows of a task. The handle that users hold reads it; the session changes it. */
export interface TaskRecord {
  readonly session: Session;
  readonly id: TaskId;
  readonly outputs: readonly DataObject[];
  /** The description as it stands; fixed from the submit on. */
  readonly describe: () => TaskSpec;
  readonly origin: () => string | undefined;
  /** A submit with it is under way or done. */
  sent: boolean;
  /** What was sent. */
  spec: TaskSpec | undefined;
  state: TaskState | undefined;
  attempt: number;
  governor: string | undefined;
  measured: TaskInfo | undefined;
  failure: TaskFailure | undefined;
  /** The task that was added in its place. */
  replacedBy: TaskId | undefined;
}

/** The curves of a task: what its last attempt has told so far. */
export interface TaskMetrics {
  readonly attempt: number;
  /** In the order in which they came. */
  readonly points: readonly MetricPoint[];
  /** Parameters that the program chose itself (`pick`). */
  readonly params?: UserAttributes | undefined;
}

/**
 * What was measured of a task's last attempt, as far as it is known: `update()` asks for it. `user` has the attributes
 * of the `spec`, and those that the program set.
 */
export interface TaskInfoView extends TaskInfo {
  /** Number of the last attempt that was given to a governor; 0 when none was. */
  readonly attempt: number;
  /** Name of the governor of that attempt. */
  readonly governor?: string | undefined;
  /** Why the task failed. */
  readonly error?: string | undefined;
}

/** For the library's own files: the record behind a handle. */
export let taskRecordOf: (task: Task) => TaskRecord;

/** A node of the graph. Made by `session.execute` and its like. */
export class Task {
  readonly #record: TaskRecord;
  readonly outputs: Outputs;

  static {
    taskRecordOf = (task) => task.#record;
  }

  /** Made by the session; not by users. */
  constructor(record: TaskRecord) {
    this.#record = record;
    this.outputs = new Outputs(this, record.outputs);
  }

  /** Number in its session, from 0. */
  get id(): number {
    return this.#record.id;
  }
  get session(): Session {
    return this.#record.session;
  }
  get name(): string | undefined {
    return this.spec.name;
  }
  /** What was asked. Fixed once it is submitted. */
  get spec(): TaskSpec {
    return this.#record.spec ?? this.#record.describe();
  }
  /** Where it was at the last news: `update()` asks for news, waits bring them. Undefined until it is submitted. */
  get state(): TaskState | undefined {
    return this.#record.state;
  }
  get info(): TaskInfoView {
    const { attempt, governor, measured, failure } = this.#record;
    const user = { ...this.spec.user, ...measured?.user };
    return {
      ...measured,
      ...(Object.keys(user).length > 0 && { user }),
      attempt,
      ...(governor !== undefined && { governor }),
      ...(failure && { error: failure.message }),
    };
  }
  /** The line of the script that made it: `sweep.mjs:12:5`. */
  get origin(): string | undefined {
    return this.#record.spec?.origin ?? this.#record.origin();
  }

  /** Its output; throws unless there is exactly one. */
  get output(): DataObject {
    const [only, second] = this.#record.outputs;
    if (only && !second) return only;
    const labels = this.#record.outputs.map((output) => show(output.label)).join(", ");
    const problem = only
      ? `it has ${this.outputs.length}: ${labels}`
      : "it has none; ask for one: { stdout: true }";
    throw badRequest(`${describeTask(this)} has not exactly one output: ${problem}`);
  }

  /** Keeps all its outputs. Before the submit. */
  keepOutputs(): this {
    for (const output of this.#record.outputs) output.keep();
    return this;
  }

  /** Until it is finished. Throws `TaskError` when it ends otherwise, `SessionError` when the session fails. */
  async wait(options: WaitOptions = {}): Promise<void> {
    await this.session.wait([this], options);
  }

  /** Asks the server for `state` and `info`, also of the outputs. Many at once share one request. */
  async update(): Promise<this> {
    await this.session.update([this]);
    return this;
  }

  /** Stops it if it runs; what needs its outputs is aborted. Nothing happens when it has settled. */
  async cancel(): Promise<void> {
    await this.session.cancel([this]);
  }

  /** What its last attempt wrote to stdout and stderr; with `follow`, until it ends. */
  logs(options: LogOptions = {}): AsyncGenerator<LogChunk, void, undefined> {
    return this.session.logs(this, options);
  }

  /** Every value of its metrics, while it runs and after: of `execute` with `{ metrics: true }`. */
  async metrics(): Promise<TaskMetrics> {
    return await this.session.metrics(this);
  }

  /** Why it is in the state it is in: lines for people, the most important first. */
  async explain(): Promise<readonly string[]> {
    return await this.session.explain(this);
  }
}

/** The outputs of a task, in order. */
export class Outputs implements Iterable<DataObject> {
  readonly #task: Task;
  readonly #list: readonly DataObject[];
  constructor(task: Task, list: readonly DataObject[]) {
    this.#task = task;
    this.#list = list;
  }
  get length(): number {
    return this.#list.length;
  }
  /** The output with this label; throws when there is none. */
  get(label: string): DataObject {
    const found = this.#list.find((output) => output.label === label);
    if (found) return found;
    const labels = this.#list.map((output) => show(output.label)).join(", ") || "none";
    throw new RainError(
      "unknown-object",
      `${describeTask(this.#task)} has no output ${show(label)}; its outputs: ${labels}`,
    );
  }
  /** The output at this place, from the end if negative; throws when there is none. */
  at(index: number): DataObject {
    const found = this.#list.at(index);
    if (found) return found;
    throw new RainError(
      "unknown-object",
      `${describeTask(this.#task)} has no output ${index}; it has ${this.#list.length}`,
    );
  }
  [Symbol.iterator](): ArrayIterator<DataObject> {
    return this.#list[Symbol.iterator]();
  }
}

export const describeTask = (task: Task): string => {
  const { session, id, spec } = taskRecordOf(task);
  return nameTask(session.id, id, spec === undefined ? task.name : spec.name);
};
