import { Option, type Command } from "commander";
import type { Context } from "./context.ts";
import { flagWord, SETTING_FLAGS, settingNames, type SettingName } from "./runs/flags.ts";

/** `rain run`, whose settings are those of runs/flags.ts. */
export function addRunCommand(program: Command, context: () => Context, done: (code: number) => void): void {
  const options = settingNames.map((name) => {
    const { flag, help, isCommon } = SETTING_FLAGS[name];
    return { name, isCommon: isCommon === true, option: new Option(flag, help).hideHelp(isCommon !== true) };
  });
  const command = program
    .command("run")
    .summary("run a program with many values of its flags")
    .usage("[FLAGS] PROGRAM [ARGS...]")
    .description(
      "Runs PROGRAM once for each combination of the values in its ARGS.\n" +
        'Example: rain run train.py --lr "loguniform(1e-5, 1e-1, 5)" --layers "[2, 4]"\n' +
        hiddenFlags(options.filter(({ isCommon }) => !isCommon).map(({ name }) => name)),
    )
    .argument("[PROGRAM]")
    .argument("[ARGS...]");
  for (const { option } of options) command.addOption(option);
  command
    .option("--config <FILE>", "a YAML file with all of that; the line wins over it")
    .option("--dry-run", "only show the commands and what they take", false)
    .option("--detach", "do not wait for the end", false)
    .addOption(new Option("--no-localdir", "send no project folder").hideHelp())
    .addOption(new Option("--print-config", "print the YAML of the run").default(false).hideHelp())
    .addOption(new Option("--local", "start a server here when none runs").default(false).hideHelp())
    .action(async (word: string | undefined, args: readonly string[], given: Given) => {
      const { run } = await import("./commands/run.ts");
      const typed: Partial<Record<SettingName, string | boolean>> = {};
      for (const { name, option } of options) {
        const value = given[option.attributeName()];
        // Without --no-localdir commander makes localdir true.
        if (value !== undefined && !(name === "localdir" && value === true)) typed[name] = value;
      }
      const { config, printConfig = false, dryRun = false, detach = false, local = false } = given;
      done(
        await run(context(), word, args, {
          typed,
          printConfig: printConfig === true,
          dryRun: dryRun === true,
          detach: detach === true,
          local: local === true,
          ...(typeof config === "string" && { config }),
        }),
      );
    });
}
type Given = Readonly<Record<string, string | boolean | undefined>>;

/** The flags that have no line of their own in the help, which is one screen. */
function hiddenFlags(names: readonly SettingName[]): string {
  const words = [
    ...names.map((name) => flagWord(SETTING_FLAGS[name].flag)),
    "--no-localdir",
    "--print-config",
    "--local",
  ];
  const lines: string[] = ["Also (docs/cli.md):"];
  for (const word of words) {
    const last = lines.at(-1) ?? "";
    if (last.length + 1 + word.length <= WIDTH) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join("\n");
}
const WIDTH = 80;
