import { RainError } from "@rain/protocol";
import { UsageError } from "./check.ts";
import { isAbsolute, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** Where the user's script called the library; V8 makes the text only when `stack` is read. */
export interface Origin {
  readonly stack?: string;
}

/** Remembers the line that called a method of the library. Costs a few microseconds. */
export function captureOrigin<Name extends string>(
  owner: Readonly<Record<Name, (...args: never[]) => unknown>>,
  method: Name,
): Origin {
  const limit = Error.stackTraceLimit;
  const origin: Origin = {};
  Error.stackTraceLimit = 1; // one frame, the caller's: a deep stack costs nothing more
  Error.captureStackTrace(origin, owner[method]);
  Error.stackTraceLimit = limit;
  return origin;
}

type Called = ((...args: never[]) => unknown) | (new (...args: never[]) => unknown);

/**
 * Runs a part of a method of the library. The stack of an error of its user starts at the user's line: the frames of
 * the library would push that line out of sight.
 */
export function atCaller<T, Name extends string>(
  owner: Readonly<Record<Name, Called>>,
  method: Name,
  run: () => T,
): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof UsageError || error instanceof RainError) {
      Error.captureStackTrace(error, owner[method]);
    }
    throw error;
  }
}

/** A loop adds all its tasks at one line, so that line's text is made once. */
const texts = { cwd: "", byStack: new Map<string, string | undefined>() };
const TEXTS_MAX = 1_000;

/** `sweep.mjs:12:5`, from the working folder when the file is in it; undefined when the engine does not tell. */
export function originText(origin: Origin): string | undefined {
  const { stack = "" } = origin;
  const cwd = process.cwd();
  if (texts.cwd !== cwd || texts.byStack.size >= TEXTS_MAX) {
    texts.cwd = cwd;
    texts.byStack.clear();
  }
  if (!texts.byStack.has(stack)) texts.byStack.set(stack, readOrigin(stack));
  return texts.byStack.get(stack);
}

function readOrigin(stack: string): string | undefined {
  const match = /(?:^|[( ])([^()\n]*?):(\d+):(\d+)\)?\s*$/.exec(stack);
  const file = match?.[1]?.replace(/^\s*at (async )?/, "");
  if (!match || !file) return undefined;
  return `${shorten(file)}:${match[2]}:${match[3]}`;
}

function shorten(file: string): string {
  const path = file.startsWith("file://") ? fileURLToPath(file) : file;
  if (!isAbsolute(path)) return path;
  const inside = relative(process.cwd(), path);
  return inside === "" || inside.startsWith("..") ? (path.split("/").at(-1) ?? path) : inside;
}
