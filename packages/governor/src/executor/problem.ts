import { constants } from "node:os";
import type { FailureReason, TaskFailure } from "@rain/protocol";
import { errorCode } from "../monitor/errno.ts";

/** Ends a run with this failure. */
export class TaskProblem extends Error {
  readonly failure: TaskFailure;
  constructor(reason: FailureReason, message: string, more: Omit<TaskFailure, "reason" | "message"> = {}) {
    super(message);
    this.name = "TaskProblem";
    this.failure = { reason, message, ...more };
  }
}

/** The failure that an exception on a run's way means. */
export function failureOf(error: unknown): TaskFailure {
  if (error instanceof TaskProblem) return error.failure;
  const message = error instanceof Error ? error.message : String(error);
  const code = errorCode(error);
  if (code === "ENOSPC" || code === "EDQUOT")
    return { reason: "disk-full", message: `the disk of the governor is full: ${message}` };
  return { reason: "internal", message };
}

const signalNames = new Map<number, string>();
for (const [name, number] of Object.entries(constants.signals))
  if (!signalNames.has(number)) signalNames.set(number, name);

/** Shells report a program that signal N ended as 128 + N. */
export const signalOfStatus = (status: number): string | undefined =>
  status > 128 ? signalNames.get(status - 128) : undefined;
