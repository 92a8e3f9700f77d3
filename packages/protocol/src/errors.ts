import { z } from "zod";

/**
 * The catalogue of errors that cross a process boundary: code -> may the same request succeed later?
 * Every error is "what, where, the limit, the remedy" in its message and plain facts beside it.
 */
export type ErrorCode =
  | "bad-request"
  | "unknown-session"
  | "unknown-task"
  | "unknown-object"
  | "unknown-governor"
  | "duplicate-id"
  | "name-taken"
  | "unknown-datastore"
  | "cycle"
  | "not-kept"
  | "object-removed"
  | "object-failed"
  | "object-lost"
  | "session-failed"
  | "session-closed"
  | "task-failed"
  | "limit-exceeded"
  | "not-allowed"
  | "unauthorized"
  | "version-mismatch"
  | "identity-in-use"
  | "timeout"
  | "connection"
  | "bad-message"
  | "bad-digest"
  | "bad-file"
  | "server-stopping"
  | "internal";
export const errorCatalogue: Readonly<Record<ErrorCode, { readonly retryable: boolean }>> = {
  "bad-request": { retryable: false },
  "unknown-session": { retryable: false },
  "unknown-task": { retryable: false },
  "unknown-object": { retryable: false },
  "unknown-governor": { retryable: false },
  "duplicate-id": { retryable: false },
  "name-taken": { retryable: false },
  "unknown-datastore": { retryable: false },
  cycle: { retryable: false },
  "not-kept": { retryable: false },
  "object-removed": { retryable: false },
  "object-failed": { retryable: false },
  "object-lost": { retryable: false },
  "session-failed": { retryable: false },
  "session-closed": { retryable: false },
  "task-failed": { retryable: false },
  "limit-exceeded": { retryable: false },
  "not-allowed": { retryable: false },
  unauthorized: { retryable: false },
  "version-mismatch": { retryable: false },
  "identity-in-use": { retryable: true },
  timeout: { retryable: true },
  connection: { retryable: true },
  "bad-message": { retryable: false },
  "bad-digest": { retryable: true },
  "bad-file": { retryable: false },
  "server-stopping": { retryable: true },
  internal: { retryable: false },
};
const codes = Object.keys(errorCatalogue) as [ErrorCode, ...ErrorCode[]];

/** Facts beside a message: identifiers, limits, names. Never a secret. */
export type Facts = Readonly<Record<string, string | number | boolean | null>>;

/** An error of Rain. `code` is from the catalogue, `facts` are for programs, the message is for people. */
export class RainError extends Error {
  readonly code: ErrorCode;
  readonly facts: Facts;
  constructor(code: ErrorCode, message: string, facts: Facts = {}, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "RainError";
    this.code = code;
    this.facts = facts;
  }
  get retryable(): boolean {
    return errorCatalogue[this.code].retryable;
  }
}

export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly facts?: Facts | undefined;
}

const fact: z.ZodType<string | number | boolean | null> = z.union([
  z.string(),
  z.number(),
  z.boolean(),
  z.null(),
]);
export const wireError: z.ZodType<WireError> = z.strictObject({
  code: z.enum(codes),
  message: z.string(),
  facts: z.record(z.string(), fact).optional(),
});

/** The form of an error on the wire. An error that is not ours says only that it is internal. */
export function toWireError(error: unknown): WireError {
  if (error instanceof RainError) return { code: error.code, message: error.message, facts: error.facts };
  return { code: "internal", message: error instanceof Error ? error.message : String(error) };
}
export const fromWireError = (error: WireError): RainError =>
  new RainError(error.code, error.message, error.facts ?? {});

/**
 * Why a task failed. `launch` is a program that could not be started; `crash-limit` a governor lost under it too often;
 * `oom-killed` and `process-limit` more memory, or more processes, than it may have.
 */
export const failureReasons = [
  "exit",
  "signal",
  "timeout",
  "program-not-found",
  "launch",
  "output-missing",
  "output-kind",
  "capture-limit",
  "oom-killed",
  "process-limit",
  "input-unavailable",
  "input-modified",
  "content-type",
  "disk-full",
  "crash-limit",
  "internal",
] as const;
export type FailureReason = (typeof failureReasons)[number];

/** How an attempt failed, as its governor saw it. `stderr` is the last part of what the program wrote there. */
export interface TaskFailure {
  readonly reason: FailureReason;
  readonly message: string;
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  readonly stderr?: string | undefined;
  /** Attempt and governor are filled in by the server. */
  readonly attempt?: number | undefined;
  readonly governor?: string | undefined;
}
export const taskFailure: z.ZodType<TaskFailure> = z.strictObject({
  reason: z.enum(failureReasons),
  message: z.string(),
  exitCode: z.int().optional(),
  signal: z.string().max(32).optional(),
  stderr: z.string().optional(),
  attempt: z.int().optional(),
  governor: z.string().optional(),
});
