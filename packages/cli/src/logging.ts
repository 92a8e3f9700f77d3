import { openSync, writeSync } from "node:fs";
import { join, resolve } from "node:path";
import { escapeText } from "./escape.ts";
import { ensureDir } from "./instance.ts";

export type LogLevel = "info" | "warn" | "error";
export type Log = (level: LogLevel, text: string) => void;

/** One line of a log: time, level, text; further lines of the text are indented. */
export function formatLogLine(time: Date, level: LogLevel, text: string): string {
  const [first = "", ...rest] = text.split("\n").map(escapeText);
  return `${[`${time.toISOString()} ${level.padEnd(5)} ${first}`, ...rest.map((line) => `    ${line}`)].join("\n")}\n`;
}

/**
 * A log on stderr, or with `logdir` in the file NAME.log there, which is appended to. Lines are written at once, so
 * that the last one before a crash is there.
 */
export function openLog(
  logdir: string | undefined,
  name: string,
): { readonly log: Log; readonly file?: string } {
  if (logdir === undefined)
    return { log: (level, text) => void process.stderr.write(formatLogLine(new Date(), level, text)) };
  const dir = resolve(logdir);
  ensureDir(dir);
  const file = join(dir, `${name}.log`);
  const fd = openSync(file, "a", 0o600);
  return { log: (level, text) => void writeSync(fd, formatLogLine(new Date(), level, text)), file };
}
