import { Option, type Command } from "commander";
import type { Context } from "./context.ts";
import { usageError } from "./failure.ts";
import * as read from "./options.ts";

/** The commands about runs, datastores and the cache; `program.ts` has the others. */

type Done = (code: number) => void;
type Add = (program: Command, context: () => Context, done: Done) => void;

const runArgument = ["<RUN>", "name of a run, or the number of its session"] as const;
const metricOption = (): Option => new Option("--metric <NAME>", "judge by this metric");
const experimentOption = (text: string): Option =>
  new Option("--experiment <N>", text).argParser((value: string) =>
    read.parseExperiment("--experiment", value),
  );
const numberOption = (what: string): Option =>
  new Option("-n, --number <N>", `the most ${what} (default: 100)`)
    .argParser((value: string) => atLeastOne("--number", read.parseCount("--number", value)))
    .default(100);

const MAX_NUMBER = 10_000; // of the protocol, which is not loaded for a command line
function atLeastOne(option: string, count: number): number {
  if (count < 1 || count > MAX_NUMBER)
    throw usageError(`${option} ${count}: write a number from 1 to ${MAX_NUMBER}`);
  return count;
}

export const addRunCommands: Add = (program, context, done) => {
  for (const add of [addLists, addResults, addFiles, addChanges, addData]) add(program, context, done);
};

const addLists: Add = (program, context, done) => {
  program
    .command("list")
    .summary("list the runs")
    .description("Lists the runs that the server has.")
    .action(async () => done(await (await import("./commands/list.ts")).run(context())));
  program
    .command("get")
    .summary("show how a run stands (as status RUN)")
    .description("Shows how a run stands: the same as rain status RUN.")
    .argument(...runArgument, read.parseRunRef)
    .action(async (run) => done(await (await import("./commands/status-run.ts")).run(context(), run)));
  program
    .command("history")
    .summary("list what was closed or deleted")
    .description("Lists sessions that were closed or deleted, runs among them, the last first.")
    .addOption(numberOption("items"))
    .action(async (flags) => done(await (await import("./commands/history.ts")).run(context(), flags)));
};

const addResults: Add = (program, context, done) => {
  program
    .command("results")
    .summary("show the table of a run, or write it to a file")
    .description(
      "Shows a line for each experiment: its parameters, metrics, state, duration and\n" +
        "cost. Example: rain results calm-otter-001 --sort accuracy\n" +
        "Files have every parameter and all digits; the name - is stdout.",
    )
    .argument(...runArgument, read.parseRunRef)
    .option("--sort <NAME>", "by a metric (the best first), a parameter, duration, cost")
    .addOption(metricOption())
    .option("--all", "all parameters, and each repeat on a line of its own", false)
    .option("--csv [FILE]", "as CSV, to stdout when no FILE is named")
    .option("--json [FILE]", "as JSON, to stdout when no FILE is named")
    .option("--parquet <FILE>", "as a Parquet file")
    .action(async (run, flags) =>
      done(await (await import("./commands/results.ts")).run(context(), run, flags)),
    );
  program
    .command("best")
    .summary("show the values that won, and their command line")
    .description("Shows the experiment that won, its values and the line that runs it again.")
    .argument(...runArgument, read.parseRunRef)
    .addOption(metricOption())
    .action(async (run, flags) =>
      done(await (await import("./commands/best.ts")).run(context(), run, flags)),
    );
  program
    .command("heatmap")
    .summary("show a metric over one or two parameters")
    .description(
      "Shows a metric over two parameters, or bars over one. Other parameters are\n" +
        "averaged. Example: rain heatmap calm-otter-001 --svg map.svg",
    )
    .argument(...runArgument, read.parseRunRef)
    .option("--x <PARAMETER>", "across (default: the second that varies)")
    .option("--y <PARAMETER>", "down (default: the first that varies)")
    .addOption(metricOption())
    .option("--svg <FILE>", "write a picture instead")
    .action(async (run, flags) =>
      done(await (await import("./commands/heatmap.ts")).run(context(), run, flags)),
    );
};

const addFiles: Add = (program, context, done) => {
  program
    .command("artifacts")
    .summary("copy the files that experiments made")
    .description(
      "Copies what each finished experiment made or changed to DIR/RUN-expN, with its\n" +
        "stdout as stdout.txt there.",
    )
    .argument(...runArgument, read.parseRunRef)
    .argument("[DIR]", "folder (default: one with the name of the run)")
    .addOption(experimentOption("only this one"))
    .option("--force", "replace the folders of experiments that are there", false)
    .action(async (run, dir, flags) =>
      done(await (await import("./commands/artifacts.ts")).run(context(), run, dir, flags)),
    );
};

const detachOption = (): Option => new Option("--detach", "return at once, and let it run").default(false);

const addChanges: Add = (program, context, done) => {
  program
    .command("retry")
    .summary("run again what failed, with the same values")
    .description("Runs again what failed, with the same values, and waits for it.")
    .argument(...runArgument, read.parseRunRef)
    .addOption(detachOption())
    .action(async (run, flags) =>
      done(await (await import("./commands/retry.ts")).run(context(), run, flags)),
    );
  program
    .command("extend")
    .summary("add trials to a random search")
    .description(
      "Adds N trials to a run with --strategy random_search, with its seed and values,\n" +
        "and waits for them. They are those that a larger --trials would have given.",
    )
    .argument(...runArgument, read.parseRunRef)
    .requiredOption("--trials <N>", "how many more", (text: string) =>
      atLeastOne("--trials", read.parseCount("--trials", text)),
    )
    .addOption(detachOption())
    .action(async (run, flags) =>
      done(await (await import("./commands/extend.ts")).run(context(), run, flags)),
    );
  program
    .command("resume")
    .summary("go on with what was cancelled, and watch it again")
    .description(
      "Goes on with what was cancelled, by rain stop or after a failure, and waits for\n" +
        "the run to end. What failed stays as it is: see rain retry.",
    )
    .argument(...runArgument, read.parseRunRef)
    .addOption(detachOption())
    .action(async (run, flags) =>
      done(await (await import("./commands/resume.ts")).run(context(), run, flags)),
    );
  program
    .command("delete")
    .summary("remove a run with its results")
    .description("Removes a run with its results; one that still runs is stopped first.")
    .argument(...runArgument, read.parseRunRef)
    .option("-y, --yes", "do not ask when it still runs", false)
    .action(async (run, flags) =>
      done(await (await import("./commands/delete.ts")).run(context(), run, flags)),
    );
};

const addData: Add = (program, context, done) => {
  const datastore = program
    .command("datastore")
    .summary("create, list and delete named data")
    .description("Named, versioned data that outlives runs.")
    .helpCommand(false);
  datastore
    .command("create")
    .summary("upload a file or folder")
    .description("Uploads a file or folder. The same name again makes the next version.")
    .requiredOption("--source <PATH>", "file or folder of this machine")
    .requiredOption("--name <NAME>", "its name", (text: string) => read.parsePlainName("--name", text))
    .action(async (flags) => done(await (await import("./commands/datastore.ts")).create(context(), flags)));
  datastore
    .command("list")
    .summary("list them")
    .description("Lists every version of every datastore.")
    .action(async () => done(await (await import("./commands/datastore.ts")).list(context())));
  datastore
    .command("delete")
    .summary("forget one, or a version of it")
    .description("Forgets a datastore, or one version. Runs that use it keep their data.")
    .argument("<NAME>", "its name", (text: string) => read.parsePlainName("NAME", text))
    .option("--version <V>", "only this version", (text: string) => read.parseCount("--version", text))
    .action(async (name, flags) =>
      done(await (await import("./commands/datastore.ts")).remove(context(), name, flags)),
    );
  const cache = program
    .command("cache")
    .summary("list or clear the results that are taken over")
    .description("Results of finished tasks that the same task takes over instead of running.")
    .helpCommand(false);
  cache
    .command("list")
    .summary("list them, the newest first")
    .description("Lists the results that the same task takes over.")
    .addOption(numberOption("entries"))
    .action(async (flags) => done(await (await import("./commands/cache.ts")).list(context(), flags)));
  cache
    .command("clear")
    .summary("forget all of them")
    .description("Forgets all of them: every task runs again.")
    .action(async () => done(await (await import("./commands/cache.ts")).clear(context())));
};
