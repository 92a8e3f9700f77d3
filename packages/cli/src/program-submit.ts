import { Option, type Command } from "commander";
import type { Context } from "./context.ts";
import { usageError } from "./failure.ts";
import { parseCount, parsePlainName } from "./options.ts";
import { submitSettings, type SettingName } from "./runs/flags.ts";

/** `rain submit`: one command, many times, as Run:AI has it. */
export function addSubmitCommand(
  program: Command,
  context: () => Context,
  done: (code: number) => void,
): void {
  const options = submitSettings.map(({ name, flag, help }) => ({ name, option: new Option(flag, help) }));
  const command = program
    .command("submit")
    .summary("run one command many times, each with its number")
    .usage("NAME [FLAGS] -- COMMAND [ARGS...]")
    .description(
      "Runs COMMAND N times, with RAIN_COMPLETION_INDEX 0 to N-1, and returns at once.\n" +
        "Example: rain submit hpo1 -g 1 --completions 12 -- python3 hpo.py",
    )
    .argument("<NAME>", "its name", (text: string) => parsePlainName("NAME", text))
    .argument("<COMMAND...>", "what to run, with its arguments")
    .addOption(
      new Option("--completions <N>", "how many times (default: 1)").argParser(readCompletions).default(1),
    );
  for (const { option } of options) command.addOption(option);
  command
    .addOption(
      new Option("-e, --env <NAME=VALUE>", "a variable; may be repeated").argParser(append).default([]),
    )
    .addOption(
      new Option("-v, --volume <SRC:DST>", "map SRC at DST, read-only; may be repeated")
        .argParser(append)
        .default([]),
    )
    .addOption(new Option("--no-localdir", "send no project folder").hideHelp())
    .option("--wait", "show it until it ends", false)
    .action(async (name: string, words: readonly string[], given: Given) => {
      const { run } = await import("./commands/submit.ts");
      const typed: Partial<Record<SettingName, string | boolean>> = {};
      for (const { name: setting, option } of options) {
        const value = given[option.attributeName()];
        // Without --no-localdir commander makes localdir true.
        if ((typeof value === "string" || value === false) && value !== "") typed[setting] = value;
        else if (value === "") throw usageError(`${option.long ?? ""} "": write a value`);
      }
      const { completions, env, volume, wait } = given;
      done(await run(context(), name, words, { typed, completions, env, volumes: volume, wait }));
    });
}

interface Given extends Readonly<Record<string, unknown>> {
  readonly completions: number;
  readonly env: readonly string[];
  readonly volume: readonly string[];
  readonly wait: boolean;
}

const append = (text: string, before: readonly string[]): readonly string[] => [...before, text];

const MAX_COMPLETIONS = 100_000;
function readCompletions(text: string): number {
  const count = parseCount("--completions", text);
  if (count >= 1 && count <= MAX_COMPLETIONS) return count;
  throw usageError(`--completions ${count}: write a number from 1 to ${MAX_COMPLETIONS}`);
}
