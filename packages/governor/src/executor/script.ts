/** A word of POSIX shell that stands for exactly this text. */
export const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/**
 * Names that mean something to a shell itself, or are read-only in one: an assignment would fail or change how the
 * launcher works. `env` sets them instead.
 */
const shellNames =
  /^(_|IFS|OPT(IND|ARG|ERR)|PPID|E?UID|GROUPS|LINENO|PS[0-4]|ENV|CDPATH|RANDOM|SRANDOM|SECONDS|FUNCNAME|DIRSTACK|PIPESTATUS|SHELLOPTS|TMOUT|POSIXLY_CORRECT|(HIST|BASH|COMP_|EPOCH|MAIL).*)$/;

export interface Command {
  /** Absolute path. */
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  /** File of a control group to which the program's number is to be written. */
  readonly group?: string | undefined;
  /** The files for its output are there, and empty: they are not cut, which a file system may take for an overwrite. */
  readonly isPrepared?: boolean;
}

/** Enters a control group and becomes the program. */
const ENTER = ["/bin/sh", "-c", 'echo "$$" >"$0" && exec "$@"'];

/**
 * The run script of one task: sourced by a launcher, its status is the program's. A folder that cannot be entered
 * ends the launcher, so that it cannot be taken for the program's own failure. What follows in the script's file may be
 * the rest of an earlier, longer one: the script returns before it. A line to descriptor 4 says that the program is next.
 */
export function runScript(command: Command): string {
  const plain: string[] = [];
  const special: string[] = [];
  for (const [name, value] of Object.entries(command.env))
    (shellNames.test(name) ? special : plain).push(`${name}=${quote(value)}`);
  const enter = command.group === undefined ? [] : [...ENTER, command.group];
  const words = [...enter, command.program, ...command.args].map(quote);
  const viaEnv = special.length === 0 ? [] : ["/usr/bin/env", ...special];
  const [out, err] = command.isPrepared === true ? ["1<>", "2<>"] : [">", "2>"];
  const redirections = `<${quote(command.stdin)} ${out}${quote(command.stdout)} ${err}${quote(command.stderr)} 3<&- 4>&- 5>&-`;
  return `cd ${quote(command.cwd)} || exit 1\necho >&4\n${[...plain, ...viaEnv, ...words].join(" ")} ${redirections}\nreturn\n`;
}
