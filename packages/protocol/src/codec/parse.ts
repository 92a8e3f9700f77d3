import type { z } from "zod";
import { RainError } from "../errors.ts";
import { check } from "./check.ts";
import { formatPlace } from "./place.ts";

type Issue = z.core.$ZodIssue;

/**
 * The value as its schema types it. `what` names the message for people.
 * Throws RainError("bad-message") with the place of the first problem: `submit: tasks[3].outputs[0].path: ...`.
 */
export function parse<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = check(schema, value);
  if (result.success) return result.data;
  const { path, message } = locate(result.error.issues[0], []);
  throw new RainError("bad-message", `${what}: ${formatPlace(path)}${message}`, {
    place: formatPlace(path).slice(0, -2),
  });
}

/** The problem of an issue; of a union, that of the variant that was understood the furthest. */
function locate(
  issue: Issue | undefined,
  base: readonly PropertyKey[],
): { path: PropertyKey[]; message: string } {
  if (issue === undefined) return { path: [...base], message: "is not valid" };
  const path = [...base, ...issue.path];
  if (issue.code !== "invalid_union") return { path, message: shorten(issue.message) };
  if (issue.errors.length === 0) return { path, message: "is not one of the known kinds" };
  const variants = issue.errors.map((issues) => locate(issues[0], path));
  const deepest = variants.toSorted((a, b) => b.path.length - a.path.length)[0];
  return deepest !== undefined && deepest.path.length > path.length
    ? deepest
    : { path, message: shorten(issue.message) };
}

const shorten = (message: string): string => (message.length > 500 ? `${message.slice(0, 500)}...` : message);
