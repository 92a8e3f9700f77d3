import { RainError, type Facts } from "@rain/protocol";

/** What the journal tells its owner beside its results, for the log. */
export interface JournalNote {
  readonly level: "info" | "warn" | "error";
  readonly text: string;
}

/** Damage in a file of the journal, found while reading it. Nothing was changed on disk. */
export function damaged(file: string, offset: number, what: string, facts: Facts = {}): RainError {
  const text =
    `Journal file ${file} is damaged at byte ${offset}: ${what}. Nothing was changed. ` +
    `Restore the journal's folder from a copy. To go on with only what comes before the damage: make a copy of the ` +
    `folder, ${repair(file, offset)}, and start again.`;
  return new RainError("bad-file", text, { file, offset, ...facts });
}

function repair(file: string, offset: number): string {
  if (!file.startsWith("journal-"))
    return `remove ${file} if an older snapshot and all journal files are there`;
  return `run \`truncate -s ${offset} ${file}\` in it, remove every journal file with a higher number`;
}

/** A file whose content is sound but which this server must not use. */
export const refused = (file: string, what: string, facts: Facts = {}): RainError =>
  new RainError("bad-file", `Journal file ${file}: ${what}`, { file, ...facts });

/** A write, sync or other operation on the journal's files that failed. Facts: operation, file, errno, path. */
export function failedOperation(operation: string, file: string, cause: Error): RainError {
  const errno = textOf(cause, "code") ?? "unknown";
  const path = textOf(cause, "path") ?? file;
  return new RainError(
    "bad-file",
    `Journal: ${operation} of ${path} failed with ${errno}: ${cause.message}. Nothing that was not on disk before ` +
      `has been acknowledged. ${remedyFor(errno)}`,
    { operation, file, errno, path },
    { cause },
  );
}

function remedyFor(errno: string): string {
  if (errno === "ENOSPC" || errno === "EDQUOT")
    return "Free space on that disk, then start the server again.";
  if (errno === "EACCES" || errno === "EPERM" || errno === "EROFS")
    return "Make the folder writable for the server's user, then start it again.";
  return "Check the disk, then start the server again.";
}

function textOf(error: Error, name: "code" | "path"): string | undefined {
  const value: unknown = Reflect.get(error, name);
  return typeof value === "string" ? value : undefined;
}
