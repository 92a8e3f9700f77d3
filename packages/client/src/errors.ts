import {
  formatTask,
  RainError,
  type ErrorCode,
  type Facts,
  type SessionId,
  type SettledState,
  type TaskFailure,
  type TaskId,
} from "@rain/protocol";
import type { Task } from "./task.ts";

/** What a `TaskError` is made from. */
export interface TaskProblem {
  readonly session: SessionId;
  readonly taskId: TaskId;
  readonly state: Exclude<SettledState, "finished">;
  readonly task?: Task | undefined;
  readonly name?: string | undefined;
  readonly failure?: TaskFailure | undefined;
  readonly origin?: string | undefined;
  /** Of an aborted task: the task whose output can never come, as people name it. */
  readonly cause?: string | undefined;
}

/**
 * A task did not finish. `state` says how: "failed" (see `reason`), "cancelled", or "aborted" (an input can never
 * come). Its code is always "task-failed".
 */
export class TaskError extends RainError {
  /** The handle of the task; undefined only when another client of the session made it. */
  readonly task: Task | undefined;
  readonly taskId: TaskId;
  readonly state: Exclude<SettledState, "finished">;
  readonly reason: TaskFailure["reason"] | undefined;
  readonly attempt: number | undefined;
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly governor: string | undefined;
  /** The last part of what the program wrote to stderr, at most 8 KiB. */
  readonly stderr: string | undefined;
  /** The line of the script that made the task: `sweep.mjs:12:5`. */
  readonly origin: string | undefined;

  constructor(problem: TaskProblem) {
    const facts = { session: problem.session, task: problem.taskId, state: problem.state };
    super("task-failed", taskMessage(problem), facts);
    const { failure } = problem;
    this.name = "TaskError";
    this.task = problem.task;
    this.taskId = problem.taskId;
    this.state = problem.state;
    this.reason = failure?.reason;
    this.attempt = failure?.attempt;
    this.exitCode = failure?.exitCode;
    this.signal = failure?.signal;
    this.governor = failure?.governor;
    this.stderr = failure?.stderr;
    this.origin = problem.origin;
  }
}

/** How people read a task: `task 3/17 (train lr=0.1)`. */
export function nameTask(session: SessionId, task: TaskId, name: string | undefined): string {
  const id = `task ${formatTask(session, task)}`;
  return name === undefined || name === "" ? id : `${id} (${printable(name)})`;
}

// Names, stderr and messages come from programs: what would move a terminal's cursor is shown, not obeyed.
// oxlint-disable-next-line no-control-regex
const controls = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g;
const printable = (text: string): string => text.replace(controls, escapeChar).replaceAll("\n", "\\n");
const printableLines = (text: string): string => text.replaceAll("\r\n", "\n").replace(controls, escapeChar);
const escapeChar = (char: string): string =>
  char === "\t" ? char : `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;

function taskMessage(problem: TaskProblem): string {
  const { failure, origin } = problem;
  const lines = [`${nameTask(problem.session, problem.taskId, problem.name)} ${whatHappened(problem)}`];
  const where = [
    ...(failure?.governor === undefined ? [] : [`on governor ${printable(failure.governor)}`]),
    ...(failure?.attempt === undefined ? [] : [`attempt ${failure.attempt}`]),
  ];
  if (where.length > 0) lines.push(`  it ran ${where.join(", ")}`);
  if (origin !== undefined) lines.push(`  created at ${printable(origin)}`);
  const stderr = failure?.stderr?.trimEnd();
  if (stderr) {
    lines.push(
      "  the last of its stderr:",
      ...printableLines(stderr)
        .split("\n")
        .map((line) => `    ${line}`),
    );
  }
  return lines.join("\n");
}

function whatHappened({ state, failure, cause }: TaskProblem): string {
  if (state === "cancelled") return "was cancelled";
  if (state === "aborted") {
    const why = cause === undefined ? "" : `: ${cause} did not finish`;
    return `was aborted, because an input can never come${why}`;
  }
  return `failed: ${printable(failure?.message ?? "the server gave no reason")}`;
}

/**
 * The session cannot be used any more. Code "session-failed" (the `cause` is the `TaskError` of the task that failed
 * it), "session-closed", or "unknown-session" (the server has forgotten it).
 */
export class SessionError extends RainError {
  constructor(
    code: "session-failed" | "session-closed" | "unknown-session",
    message: string,
    facts: Facts = {},
    options?: { cause?: unknown },
  ) {
    super(code, message, facts, options);
    this.name = "SessionError";
  }
}

/**
 * The server cannot be reached, or refuses this client ("unauthorized", "version-mismatch"). Thrown only after the
 * library has tried to reconnect for `reconnectS` seconds.
 */
export class ConnectionError extends RainError {
  constructor(code: ErrorCode, message: string, facts: Facts = {}, options?: { cause?: unknown }) {
    super(code, message, facts, options);
    this.name = "ConnectionError";
  }
}

/** A wait took longer than its `timeoutS`. What was waited for goes on. */
export class TimeoutError extends RainError {
  constructor(message: string, facts: Facts = {}) {
    super("timeout", message, facts);
    this.name = "TimeoutError";
  }
}
