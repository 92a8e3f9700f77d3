import { CommanderError } from "commander";
import { exitCodes } from "./exit-codes.ts";
import { formatFailure, readFailure, usageError, type CommandError } from "./failure.ts";
import { processIo, type Io } from "./output.ts";
import { createProgram } from "./program.ts";
import { markProgram } from "./runs/argv.ts";
import { version } from "./version.ts";

/**
 * Runs one command line (without the program's own name) to its end; the exit code. Errors are printed, never thrown:
 * `rain: message` on stderr, or with `-o json` one line `{"error": {exitCode, message, code?, facts?}}` there.
 */
export async function main(
  argv: readonly string[],
  io: Io = processIo(),
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  let code: number = exitCodes.ok;
  const program = createProgram(io, env, (result) => (code = result));
  const run = program.commands.find((command) => command.name() === "run");
  const words = markProgram(argv, program.options, run?.options ?? []);
  try {
    if (argv.length === 0) {
      program.outputHelp({ error: true });
      return exitCodes.usage;
    }
    // Not an option of the parser, which would find it behind commands too: a datastore has a version.
    if (argv[0] === "--version" || argv[0] === "-V") {
      io.stdout(`rain ${version()}\n`);
      return exitCodes.ok;
    }
    await program.parseAsync(words, { from: "user" });
    return code;
  } catch (error) {
    // Help, already printed, ends the parser by an error as well.
    if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.ok;
    const failure = readFailure(error instanceof CommanderError ? asUsageError(error) : error);
    io.stderr(formatFailure(failure, asksJson(words)));
    return failure.exitCode;
  }
}

const asUsageError = (error: CommanderError): CommandError =>
  usageError(error.message.replace(/^error: /, ""));

/**
 * Is `-o json` among the arguments, before those of a program? Read by hand, since a command line that cannot be parsed
 * asks for it too.
 */
const asksJson = (argv: readonly string[]): boolean =>
  argv
    .slice(0, argv.includes("--") ? argv.indexOf("--") : argv.length)
    .some(
      (word, index) =>
        ["-ojson", "--output=json"].includes(word) ||
        (["-o", "--output"].includes(word) && argv[index + 1] === "json"),
    );
