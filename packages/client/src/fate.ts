import type { RainError, SessionFailure, SettledItem, TaskId } from "@rain/protocol";
import { SessionError, TaskError } from "./errors.ts";
import type { Graph } from "./graph.ts";
import type { Session } from "./session.ts";
import type { IdSet } from "./id-set.ts";
import { describeTask } from "./task.ts";

/** How a session and its tasks ended, and the errors that say so. */
export class Fate {
  /** Why the session cannot be used any more. */
  ended: SessionError | undefined;
  readonly #session: Session;
  readonly #graph: Graph;
  readonly #failed: (tasks: IdSet) => SettledItem | undefined;

  /** `failed`: one of these tasks that has failed. */
  constructor(session: Session, graph: Graph, failed: (tasks: IdSet) => SettledItem | undefined) {
    this.#session = session;
    this.#graph = graph;
    this.#failed = failed;
  }

  /** The session as people read it: `session 3 (digits)`. */
  get name(): string {
    const { id, name } = this.#session;
    return `session ${id}${name === "" ? "" : ` (${name})`}`;
  }

  nameTask(task: TaskId): string {
    const known = this.#graph.task(task);
    return known ? describeTask(known) : `task ${this.#session.id}/${task}`;
  }

  /** Throws for a failed task. It is told as itself also when its failure has failed the session meanwhile. */
  checkTasks(tasks: IdSet): void {
    const item = this.#failed(tasks);
    if (item) throw this.#taskError(item);
    const cause = this.ended?.cause;
    if (cause instanceof TaskError && tasks.has(cause.taskId)) throw cause;
  }

  /** What a wait for the task throws; undefined when it is finished. */
  problemOf(item: SettledItem): Error | undefined {
    if (item.state === "finished") return undefined;
    // Tasks that were stopped because the session failed are not the news; the failure is.
    return item.state === "failed" ? this.#taskError(item) : (this.ended ?? this.#taskError(item));
  }

  /** The same for `waitAll`, for which tasks may end otherwise as long as the session goes on. */
  failureOf(item: SettledItem): Error | undefined {
    const isFatal = item.state === "failed" && this.#session.onError === "fail";
    return isFatal ? this.#taskError(item) : this.ended;
  }

  /** The server says which task has failed the session. */
  noteFailure(found: SessionFailure): SessionError {
    if (this.ended) return this.ended;
    const task = this.#graph.task(found.task);
    const cause = new TaskError({
      session: this.#session.id,
      taskId: found.task,
      state: "failed",
      task,
      name: found.name ?? task?.name,
      failure: found.failure,
      origin: found.origin ?? task?.origin,
    });
    const facts = { session: this.#session.id, task: found.task };
    this.ended = new SessionError("session-failed", `${this.name} failed: ${cause.message}`, facts, {
      cause,
    });
    return this.ended;
  }

  /** The server does not have the session any more. */
  lost(error: RainError): SessionError {
    const code = error.code === "session-closed" ? "session-closed" : "unknown-session";
    return new SessionError(code, `${this.name}: ${error.message}`, error.facts, { cause: error });
  }

  #taskError(item: SettledItem): TaskError | undefined {
    if (item.state === "finished") return undefined;
    const task = this.#graph.task(item.task);
    return new TaskError({
      session: this.#session.id,
      taskId: item.task,
      state: item.state,
      task,
      name: task?.name,
      failure: item.failure,
      origin: task?.origin,
      cause: item.cause === undefined ? undefined : this.nameTask(item.cause),
    });
  }
}
