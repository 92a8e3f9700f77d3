import {
  asTaskId,
  limits,
  RainError,
  type Feature,
  type ObjectId,
  type OnError,
  type ReplyOf,
  type Requests,
  type RequestType,
  type SessionId,
  type SessionView,
  type TaskId,
  type UserAttributes,
} from "@rain/protocol";
import {
  concatPattern,
  loadPattern,
  makeDirectoryPattern,
  sleepPattern,
  sliceDirectoryPattern,
  storePattern,
  type DirectoryItems,
  type LoadOptions,
} from "./built-in.ts";
import { badRequest, checkOptions, show, wrongType } from "./check.ts";
import type { Connection, RequestOptions } from "./connection.ts";
import { customPattern, pythonPattern, type CustomOptions, type PythonOptions } from "./custom.ts";
import { cancelParts, numbersOf } from "./cancel-parts.ts";
import { checkOwnKeep, DataObject, nameObject, recordOf } from "./data-object.ts";
import { SessionError } from "./errors.ts";
import { executePattern, type Argument, type ExecuteOptions } from "./execute.ts";
import { Fate } from "./fate.ts";
import { bringBytes, checkFetchable } from "./fetch.ts";
import { Graph } from "./graph.ts";
import type { Http } from "./http.ts";
import type { DataInstance } from "./instance.ts";
import { arrayPattern, type ArrayArgument, type ArrayOptions } from "./array-pattern.ts";
import { arrayRecordOf, liveHandles, TaskArray, type ArrayRecord } from "./task-array.ts";
import { readLogs, type LogChunk, type LogOptions } from "./logs.ts";
import { IdSet } from "./id-set.ts";
import { atCaller, captureOrigin } from "./origin.ts";
import type { Pattern } from "./pattern.ts";
import { fillProgram, type Program } from "./program.ts";
import { readResults, type Results, type ResultsOptions } from "./results.ts";
import { retryTasks } from "./retry.ts";
import { SettledLog } from "./settled.ts";
import type { Input, ObjectLike } from "./slots.ts";
import { Submitter } from "./submitter.ts";
import { describeTask, Task, taskRecordOf, type TaskMetrics } from "./task.ts";
import type { TaskOptions } from "./task-options.ts";
import { Updates } from "./updates.ts";
import type { Uploads } from "./uploads.ts";
import { limitOperation, type WaitOptions } from "./wait-limit.ts";

/** What a session needs of its client. */
export interface SessionContext {
  readonly connection: Connection;
  readonly http: Http;
  readonly uploads: Uploads;
}

/** How a session stands, and its attributes. */
export interface SessionInfo extends SessionView {
  readonly user: UserAttributes;
}

const resultsNames = new Set(["since"]);

export interface SessionSettings {
  readonly id: SessionId;
  readonly name: string;
  readonly onError: OnError;
  readonly detached: boolean;
}

/**
 * One graph of tasks and its lifetime. It grows by `execute` and its like and by `submit`, which may be called again.
 * Once the session has failed or is closed, every call but `close` throws a `SessionError`; what concerns the failed
 * task itself throws its `TaskError`.
 */
export class Session {
  readonly id: SessionId;
  readonly name: string;
  readonly onError: OnError;
  readonly detached: boolean;
  readonly #context: SessionContext;
  readonly #graph: Graph;
  readonly #fate: Fate;
  readonly #settled: SettledLog;
  readonly #submitter: Submitter;
  readonly #updates: Updates;
  /** Submitted here, or there at the attach. */
  readonly #submitted = new IdSet();
  #closing: Promise<void> | undefined;

  /** Made by the client; not by users. */
  constructor(context: SessionContext, settings: SessionSettings) {
    this.id = settings.id;
    this.name = settings.name;
    this.onError = settings.onError;
    this.detached = settings.detached;
    this.#context = context;
    this.#graph = new Graph(this, {
      get: (task) => this.#settled.get(task),
      stateOf: (task) => this.#settled.states.get(task),
    });
    this.#fate = new Fate(this, this.#graph, (tasks) => this.#settled.failed(tasks));
    this.#settled = new SettledLog({
      poll: (from) =>
        this.#requestAnew("next", (knows) => ({
          session: this.id,
          from,
          ...(knows("columns") && { columns: true }),
        })),
      onSettled: (task, state, failure) => this.#graph.noteSettled(task, state, failure),
      failureOf: (reply) => reply.failure && this.#fate.noteFailure(reply.failure),
    });
    this.#submitter = new Submitter(context.connection, context.uploads, this.id);
    this.#updates = new Updates(this.id, this.#graph, (type, fields) => this.#request(type, fields));
    context.connection.hold(this.id, (error) => this.#end(this.#fate.lost(error)));
  }

  /** Takes up a session that is on the server. */
  static async attach(context: SessionContext, view: SessionView): Promise<Session> {
    const session = new Session(context, { id: view.session, ...view });
    let from: TaskId | undefined = asTaskId(0);
    while (from !== undefined) {
      const fields: Requests["session.describe"] = { session: view.session, from, max: DESCRIBE_MAX };
      const page: ReplyOf<"session.describe"> = await session.#request("session.describe", fields);
      session.#graph.restore(page.tasks, page.objects);
      from = page.next;
    }
    for (const id of session.#graph.ownIds) session.#expect(id, 1);
    if (view.failure) session.#fate.noteFailure(view.failure);
    return session;
  }

  /** All tasks that are known here, by number; also those of arrays, of which each gets a handle. */
  get tasks(): readonly Task[] {
    return [...this.#graph.tasks()];
  }
  get objects(): readonly DataObject[] {
    return [...this.#graph.objects()];
  }
  /** Why the session cannot be used any more; undefined as long as it can, as far as it is known here. */
  get error(): SessionError | undefined {
    return this.#fate.ended;
  }

  /** The task with this number or name; throws when there is none, or when several have the name. */
  task(which: number | string): Task {
    const found =
      typeof which === "number"
        ? [this.#graph.task(asTaskId(which))].filter((task) => task !== undefined)
        : [...this.#graph.tasks()].filter((task) => task.name === which);
    const [only, second] = found;
    if (only && !second) return only;
    const problem = only ? `has ${found.length} tasks named` : "has no task";
    throw new RainError("unknown-task", `session ${this.id} ${problem} ${show(which)}`);
  }

  // ---------------------------------------------------------------------------------------------------- building

  /** Adds a task that runs a program: a line, split as a shell splits words, or a list of arguments. */
  execute(args: string | readonly Argument[], options: ExecuteOptions = {}): Task {
    return this.#add("execute", () => executePattern(args, options));
  }

  /**
   * Adds `count` tasks that are alike but for `index()` and `each([...])` among the arguments, in `env`, `name`, `user`
   * and `stdin`. They take a few bytes each, here and in the server, where as many calls of `execute` take an object each.
   */
  array(count: number, args: string | readonly ArrayArgument[], options: ArrayOptions = {}): TaskArray {
    return atCaller(this, "array", () => {
      this.#check();
      return this.#graph.addArray(arrayPattern(count, args, options), captureOrigin(this, "array"));
    });
  }

  /** Adds a task whose one output has the bytes of all these objects, in order. */
  concat(objects: readonly ObjectLike[], options: TaskOptions = {}): Task {
    return this.#add("concat", () => concatPattern(objects, options));
  }

  /** Adds a task whose one output is the object, `seconds` later. */
  sleep(object: ObjectLike, seconds: number, options: TaskOptions = {}): Task {
    return this.#add("sleep", () => sleepPattern(object, seconds, options));
  }

  /** Adds a task of an own executor of governors, "NAME/METHOD": see docs/executors.md. */
  custom(method: string, options: CustomOptions = {}): Task {
    return this.#add("custom", () => customPattern(method, options));
  }

  /**
   * Adds a task that calls a Python function with the inputs in their order; what it returns is the output. `source` is
   * the text of the function and of what it needs. Governors need the executor "py" (rain_executor.py).
   */
  python(source: string, inputs: readonly (ObjectLike | Input)[] = [], options: PythonOptions = {}): Task {
    return this.#add("python", () => pythonPattern(source, inputs, options));
  }

  /** Adds a task whose output is a file of the machine of the governor that runs it. The path is absolute. */
  load(path: string, options: LoadOptions = {}): Task {
    return this.#add("load", () => loadPattern("blob", path, options));
  }

  /** Adds a task whose output is a folder of the machine of the governor that runs it. The path is absolute. */
  loadDir(path: string, options: TaskOptions = {}): Task {
    return this.#add("loadDir", () => loadPattern("directory", path, options));
  }

  /**
   * Adds a task that writes the object to a new file or folder of the machine of the governor that runs it. The path is
   * absolute; folders above it are made, and the task fails when there is something already.
   */
  store(object: ObjectLike, path: string, options: TaskOptions = {}): Task {
    return this.#add("store", () => storePattern(object, path, options));
  }

  /** Adds a task whose output is a directory of these objects: `{ "a/b": object }`, or nested `{ a: { b: object } }`. */
  makeDirectory(items: DirectoryItems, options: TaskOptions = {}): Task {
    return this.#add("makeDirectory", () => makeDirectoryPattern(items, options));
  }

  /** Adds a task whose output is a file of a directory (`a/b`), or a folder of it (`a/b/`). */
  sliceDirectory(directory: ObjectLike, path: string, options: LoadOptions = {}): Task {
    return this.#add("sliceDirectory", () => sliceDirectoryPattern(directory, path, options));
  }

  /** Adds a task of a program, with an object for each of its inputs; `options` take the place of the program's own. */
  run(program: Program, inputs: Readonly<Record<string, ObjectLike>> = {}, options: TaskOptions = {}): Task {
    return this.#add("run", () => fillProgram(program, inputs, options));
  }

  /**
   * Adds a new task in the place of each of these, which have ended, with the same description: the old ones are not
   * counted any more. Their inputs must be there still (constants and objects that were kept), or be outputs of tasks
   * that are retried along with them. `submit()` sends them.
   */
  retry(tasks: readonly Task[]): readonly Task[] {
    return atCaller(this, "retry", () => {
      this.#check();
      return retryTasks(this, this.#graph, tasks, captureOrigin(this, "retry"));
    });
  }

  /** Keeps every output of the tasks that are not submitted yet. */
  keepAll(): void {
    this.#check();
    this.#graph.keepAll();
  }

  /**
   * Sends what was added since the last submit: all of it takes effect, or nothing. When the server refuses it, the
   * tasks stay as they were before.
   */
  async submit(): Promise<void> {
    this.#check();
    const batch = this.#graph.take();
    if (batch.tasks.length + batch.arrays.length + batch.constants.length === 0) return;
    try {
      await this.#submitter.send(batch);
    } catch (error) {
      this.#graph.putBack(batch);
      throw await this.#translate(error);
    }
    this.#graph.markSubmitted(batch);
    for (const task of batch.tasks) this.#expect(taskRecordOf(task).id, 1);
    for (const { first, count } of batch.arrays) this.#expect(first, count);
  }

  // ----------------------------------------------------------------------------------------------------- waiting

  /** Until all of these are finished. Throws the `TaskError` of the first that ends otherwise. */
  async wait(items: readonly Waitable[], options: WaitOptions = {}): Promise<void> {
    if (!Array.isArray(items))
      throw wrongType(`wait: needs a list of tasks, arrays and data objects, not ${show(items)}`);
    await this.#waitFor(this.#idsOf(items), options);
  }

  /**
   * Until at least one of these has settled; those that have, in the order of the list, whatever became of them. An
   * array has settled once all its tasks have.
   */
  async waitSome<T extends Waitable>(items: readonly T[], options: WaitOptions = {}): Promise<T[]> {
    const ids = items.map((item) => this.#idsOf([item]));
    this.#check();
    const isSettled = (of: IdSet | undefined): boolean => of !== undefined && this.#settled.has(of);
    if (!ids.some(isSettled)) {
      await this.#settled.someOf(`session ${this.id}: waitSome`, ids, options);
      this.#check();
    }
    return items.filter((_, index) => isSettled(ids[index]));
  }

  /**
   * Until everything that is submitted has settled. Returns the tasks that did not finish, which there can be with
   * `onError: "continue"` or after a `cancel`; throws when the session fails.
   */
  async waitAll(options: WaitOptions = {}): Promise<readonly Task[]> {
    this.#check();
    await this.#settled.rest(
      `session ${this.id}: waitAll`,
      new IdSet(this.#submitted),
      (item) => this.#fate.failureOf(item),
      options,
    );
    const unfinished = [...this.#settled.states.unfinished()].map((id) => this.#graph.task(id));
    return unfinished.filter((task) => task !== undefined);
  }

  /**
   * Tasks as they end, those that ended before first; each once, whatever became of it (`task.state`). Ends when all
   * that is submitted has settled; throws when the session fails.
   */
  async *finished(): AsyncGenerator<Task, void, undefined> {
    const { states } = this.#settled;
    for (let index = 0; ;) {
      const id = states.at(index);
      if (id !== undefined) {
        index++;
        const task = this.#graph.task(id);
        if (task) yield task;
        continue;
      }
      this.#check();
      if (this.#settled.error !== undefined) throw this.#settled.error;
      if (states.open === 0) return;
      await this.#settled.longerThan(index);
    }
  }

  // ----------------------------------------------------------------------------------------------------- results

  /** Brings the bytes of a kept object, once it is finished. */
  async fetch(given: ObjectLike, options: WaitOptions = {}): Promise<DataInstance> {
    const object = given instanceof Task ? given.output : given;
    this.#checkOwn(object);
    this.#checkProducer(object);
    this.#check();
    const id = checkFetchable(object);
    return await limitOperation(`fetch of ${nameObject(object)}`, options, async (signal) => {
      const ask = (): Promise<ReplyOf<"fetch">> => this.#askFetch(object, id, signal);
      return await bringBytes(this.#context.http, this.id, object, ask, signal);
    });
  }

  /** Lets go of objects, or all outputs of an array: they are removed everywhere once no task needs them. */
  async unkeep(objects: readonly (ObjectLike | TaskArray)[]): Promise<void> {
    for (const given of objects) {
      if (given instanceof TaskArray) {
        if (given.session !== this) throw badRequest(`the array does not belong to ${this.#fate.name}`);
        continue;
      }
      const object = given instanceof Task ? given.output : given;
      this.#checkOwn(object);
      checkOwnKeep(object);
    }
    this.#check();
    const ids = objects.flatMap((given) =>
      given instanceof TaskArray
        ? [...this.#graph.unkeepArray(given)]
        : this.#graph.unkeep(given instanceof Task ? given.output : given),
    );
    await this.#submitter.idle();
    for (let at = 0; at < ids.length; at += MANY) {
      await this.#request("unkeep", { session: this.id, objects: ids.slice(at, at + MANY) });
    }
  }

  /**
   * Asks the server for the state and info of these, or of everything that is submitted. Of arrays: of those tasks
   * whose handles you hold.
   */
  async update(items?: readonly Waitable[]): Promise<void> {
    this.#check();
    const tasks: TaskId[] = [];
    const objects: ObjectId[] = [];
    const addObject = (object: DataObject): void => {
      const { id, phase } = recordOf(object);
      if (id !== undefined && phase !== "new") objects.push(id);
    };
    const handles = (items ?? [...this.#graph.handles()].filter((task) => taskRecordOf(task).sent)).flatMap(
      (item) => (item instanceof TaskArray ? [...liveHandles(this.#sentArray(item))] : [item]),
    );
    for (const item of handles) {
      if (item instanceof Task) {
        tasks.push(this.#sentTask(item));
        for (const output of item.outputs) addObject(output);
      } else {
        this.#idsOf([item]);
        addObject(item);
      }
    }
    await this.#updates.update(tasks, objects);
  }

  /**
   * Rows of the table of results: for each task its state, times, metrics and outputs. With `since`, those that changed
   * after earlier results; a row takes the place of the one that its task had.
   */
  async results(options: ResultsOptions = {}): Promise<Results> {
    checkOptions("results", options, resultsNames);
    this.#check();
    return await readResults(this.id, options.since, (fields) => this.#request("results", fields));
  }

  /** Every value of a task's metrics: of its last attempt. */
  async metrics(task: Task): Promise<TaskMetrics> {
    return await this.#request("metrics", { session: this.id, task: this.#sentTask(task) });
  }

  /** How the session stands, and the attributes that it was made with. */
  async info(): Promise<SessionInfo> {
    const { view, user = {} } = await this.#request("session.get", { session: this.id });
    return { ...view, user };
  }

  /** Cancels these tasks, or all that have not settled. */
  async cancel(tasks?: readonly (Task | TaskArray)[]): Promise<void> {
    const ids = new IdSet();
    for (const task of tasks ?? [])
      if (task instanceof TaskArray) ids.add(this.#sentArray(task).first, task.length);
      else ids.add(this.#sentTask(task));
    this.#check();
    if (!tasks) return void (await this.#request("cancel", { session: this.id }));
    for (const part of cancelParts(ids))
      await this.#requestAnew("cancel", (knows) => ({
        session: this.id,
        ...(knows("columns") ? part : { tasks: numbersOf(part) }),
      }));
  }

  /** What the task's last attempt wrote. Also after the session failed, as long as it is not closed. */
  logs(task: Task, options: LogOptions = {}): AsyncGenerator<LogChunk, void, undefined> {
    return readLogs(this.#context, this.id, this.#sentTask(task), options);
  }

  /** Why the task is in the state it is in: lines for people, the most important first. */
  async explain(task: Task): Promise<readonly string[]> {
    return (await this.#request("explain", { session: this.id, task: this.#sentTask(task) })).lines;
  }

  /** Stops everything of the session and lets the server forget it. May be called at any time and again. */
  async close(): Promise<void> {
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // ------------------------------------------------------------------------------------------------------ inside

  async #close(): Promise<void> {
    this.#context.connection.release(this.id);
    const closed = new SessionError("session-closed", `${this.#fate.name} is closed`, { session: this.id });
    this.#fate.ended = closed;
    this.#settled.fail(closed);
    if (this.#context.connection.isClosed) return;
    try {
      await this.#context.connection.request("session.close", { session: this.id });
    } catch (error) {
      const isGone =
        error instanceof RainError && (error.code === "unknown-session" || error.code === "session-closed");
      if (!isGone && !this.#context.connection.isClosed) throw error;
    }
  }

  /** Adds a task for the user's line that called the method. */
  #add(method: BuildMethod, pattern: () => Pattern): Task {
    return atCaller(this, method, () => {
      this.#check();
      return this.#graph.add(pattern(), captureOrigin(this, method));
    });
  }

  #check(): void {
    if (this.#fate.ended) throw this.#fate.ended;
  }

  #checkOwn(object: DataObject): void {
    if (!(object instanceof DataObject))
      throw wrongType(`must be a data object or a task, not ${show(object)}`);
    if (object.session !== this)
      throw badRequest(`${nameObject(object)} does not belong to ${this.#fate.name}`);
  }

  #expect(first: TaskId, count: number): void {
    this.#submitted.add(first, count);
    this.#settled.states.expect(first, count);
  }

  /** The tasks whose end settles these: none for a constant, which is there from its submit on. */
  #idsOf(items: readonly Waitable[]): IdSet {
    const ids = new IdSet();
    const single: TaskId[] = [];
    for (const item of items) {
      if (item instanceof TaskArray) ids.add(this.#sentArray(item).first, item.length);
      else if (item instanceof Task) single.push(this.#sentTask(item));
      else {
        this.#checkOwn(item);
        const { producer, phase } = recordOf(item);
        if (phase === "new") throw badRequest(`${nameObject(item)} is not submitted; submit() comes first`);
        if (producer) single.push(this.#sentTask(producer));
      }
    }
    ids.addAll(single);
    return ids;
  }

  #sentArray(array: TaskArray): ArrayRecord {
    const record = arrayRecordOf(array);
    if (record.session !== this) throw badRequest(`the array does not belong to ${this.#fate.name}`);
    if (record.phase === "new")
      throw badRequest(`the array of ${record.count} tasks is not submitted; submit() comes first`);
    return record;
  }

  #sentTask(task: Task): TaskId {
    if (!(task instanceof Task)) throw wrongType(`must be a task, not ${show(task)}`);
    const { session, sent, id } = taskRecordOf(task);
    if (session !== this) throw badRequest(`${describeTask(task)} does not belong to ${this.#fate.name}`);
    if (!sent) throw badRequest(`${describeTask(task)} is not submitted; submit() comes first`);
    return id;
  }

  async #waitFor(tasks: IdSet, options: WaitOptions): Promise<void> {
    this.#fate.checkTasks(tasks);
    this.#check();
    const what =
      tasks.size === 1
        ? this.#fate.nameTask(asTaskId(tasks.start(0)))
        : `session ${this.id}: wait for ${tasks.size} tasks`;
    try {
      await this.#settled.all(what, tasks, (item) => this.#fate.problemOf(item), options);
    } catch (error) {
      if (error instanceof SessionError) this.#fate.checkTasks(tasks);
      throw error;
    }
  }

  #checkProducer(object: DataObject): void {
    const { producer } = recordOf(object);
    if (producer) this.#fate.checkTasks(this.#idsOf([producer]));
  }

  #end(error: SessionError): SessionError {
    this.#fate.ended ??= error;
    this.#settled.fail(this.#fate.ended);
    return this.#fate.ended;
  }

  async #askFetch(
    object: DataObject,
    id: ObjectId,
    signal: AbortSignal | undefined,
  ): Promise<ReplyOf<"fetch">> {
    try {
      return await this.#request("fetch", { session: this.id, object: id }, { signal });
    } catch (error) {
      const { producer } = recordOf(object);
      if (!(error instanceof RainError) || !producer) throw error;
      if (error.code === "session-failed") this.#checkProducer(object);
      // The server says that it can never come; the settled log says why.
      if (error.code === "object-failed") await this.#waitFor(this.#idsOf([producer]), { signal });
      throw error;
    }
  }

  async #request<T extends RequestType>(
    type: T,
    fields: Requests[T],
    options?: RequestOptions,
  ): Promise<ReplyOf<T>> {
    try {
      return await this.#context.connection.request(type, fields, options);
    } catch (error) {
      throw await this.#translate(error);
    }
  }

  /** The same for fields that depend on what the server knows. */
  async #requestAnew<T extends RequestType>(
    type: T,
    fields: (knows: (feature: Feature) => boolean) => Requests[T],
  ): Promise<ReplyOf<T>> {
    const { connection } = this.#context;
    try {
      return await connection.requestAnew(type, () => fields((feature) => connection.knows(feature)));
    } catch (error) {
      throw await this.#translate(error);
    }
  }

  /** Errors of the server that concern the whole session, as a `SessionError`. */
  async #translate(error: unknown): Promise<unknown> {
    if (!(error instanceof RainError)) return error;
    if (error.code === "unknown-session" || error.code === "session-closed") {
      return this.#end(this.#fate.ended ?? this.#fate.lost(error));
    }
    if (error.code !== "session-failed") return error;
    if (this.#fate.ended) return this.#fate.ended;
    const view = await this.#context.connection.request("session.attach", { session: this.id });
    const failure = view.failure && this.#fate.noteFailure(view.failure);
    return this.#end(
      failure ?? new SessionError("session-failed", error.message, error.facts, { cause: error }),
    );
  }
}

/** What a wait may be for. */
type Waitable = Task | DataObject | TaskArray;

/** Methods that add a task. */
type BuildMethod =
  | "execute"
  | "concat"
  | "custom"
  | "python"
  | "sleep"
  | "load"
  | "loadDir"
  | "store"
  | "makeDirectory"
  | "sliceDirectory"
  | "run";

/** Numbers in one request. */
const MANY = limits.submitChunk * 10;

const DESCRIBE_MAX = 200;
