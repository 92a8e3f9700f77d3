import type { ErrorCode, Facts } from "@rain/protocol";
import { exitCodeOf, exitCodeOfErrno, exitCodes, type ExitCode } from "./exit-codes.ts";
import { escapeText } from "./escape.ts";

/** A command that cannot do what was asked. The message is for people, `exitCode` for scripts. */
export class CommandError extends Error {
  readonly exitCode: number;
  readonly facts: Facts;
  constructor(exitCode: number, message: string, facts: Facts = {}, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "CommandError";
    this.exitCode = exitCode;
    this.facts = facts;
  }
}

/** A wrong command line: exit code 2. */
export const usageError = (message: string): CommandError => new CommandError(exitCodes.usage, message);

/** What is known of an error: the form of `-o json`, on stderr. */
export interface Failure {
  readonly exitCode: number;
  readonly message: string;
  /** Code of Rain's catalogue, or the system's errno name. */
  readonly code?: string;
  readonly facts?: Facts;
  /** Only for an error that nobody expected. */
  readonly stack?: string;
}

interface CodedError extends Error {
  readonly code: string;
  readonly facts?: Facts;
}
const hasCode = (error: unknown): error is CodedError =>
  error instanceof Error && typeof (error as { code?: unknown }).code === "string";

const isRainError = (error: CodedError): error is CodedError & { code: ErrorCode } =>
  "retryable" in error && error.facts !== undefined;

/** First system error among an error and its causes. */
function systemExitCode(error: unknown): ExitCode | undefined {
  for (let current = error, depth = 0; current instanceof Error && depth < 8; depth += 1) {
    const code = hasCode(current) ? exitCodeOfErrno(current.code) : undefined;
    if (code !== undefined) return code;
    current = current.cause;
  }
  return undefined;
}

/** Reads any thrown value. Classes are told by their fields, so that the quick paths need not load the packages. */
export function readFailure(error: unknown): Failure {
  if (error instanceof CommandError) {
    const { exitCode, message, facts } = error;
    return { exitCode, message, ...(Object.keys(facts).length > 0 ? { facts } : {}) };
  }
  if (hasCode(error) && isRainError(error)) {
    const { code, message, facts } = error;
    // The cause is closer to the matter than a general code: a full disk, a port in use.
    const exitCode = systemExitCode(error.cause) ?? exitCodeOf(code);
    return {
      exitCode,
      message,
      code,
      ...(Object.keys(facts ?? {}).length > 0 ? { facts: facts ?? {} } : {}),
    };
  }
  if (hasCode(error) && "syscall" in error) {
    return { exitCode: systemExitCode(error) ?? exitCodes.failed, message: error.message, code: error.code };
  }
  if (!(error instanceof Error)) return { exitCode: exitCodes.internal, message: String(error) };
  return {
    exitCode: exitCodes.internal,
    message: `${error.message} (this is a bug in Rain: please report it with the lines below)`,
    ...(error.stack === undefined ? {} : { stack: error.stack }),
  };
}

/** The text of a failure for stderr, with the newline. */
export function formatFailure(failure: Failure, json: boolean): string {
  if (json) return `${escapeText(JSON.stringify({ error: failure }))}\n`;
  const lines = failure.message.split("\n").map(escapeText);
  const stack = failure.stack === undefined ? [] : failure.stack.split("\n").map(escapeText);
  return `${[`rain: ${lines[0] ?? ""}`, ...lines.slice(1), ...stack].join("\n")}\n`;
}
