import { RainError, type Facts } from "@rain/protocol";

/** What the journal tells its owner beside its results, for the log. */
export interface JournalNote {
  readonly level: "info" | "warn" | "error";
  readonly text: string;
}

/** Damage in a file of the journal, found while reading it. Nothing was changed on disk. */
export class JournalDamage extends RainError {
  readonly file: string;
  readonly offset: number;
  /** What is wrong there. */
  readonly why: string;
  readonly #more: Facts;

  constructor(file: string, offset: number, why: string, more: Facts = {}, remedy = "") {
    const text = `Journal file ${file} is damaged at byte ${offset}: ${why}. Nothing was changed.${remedy}`;
    super("bad-file", text, { file, offset, ...more });
    this.file = file;
    this.offset = offset;
    this.why = why;
    this.#more = more;
  }

  /** The same, with what to do about it. */
  inFolder(folder: string): JournalDamage {
    const command = `rain journal repair --journal ${shellWord(folder)}`;
    const remedy =
      ` Restore ${folder} from a copy, or go on with what comes before the damage: "${command} --dry-run" says what ` +
      `would be lost then, "${command}" does it and keeps the damaged files beside the folder.`;
    return new JournalDamage(this.file, this.offset, this.why, { ...this.#more, folder }, remedy);
  }
}

export const damaged = (file: string, offset: number, why: string, more: Facts = {}): JournalDamage =>
  new JournalDamage(file, offset, why, more);

const shellWord = (text: string): string =>
  /^[\w./:@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;

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
