import { Argument, Command, Option } from "commander";
import type { Context, Globals } from "./context.ts";
import { usageError } from "./failure.ts";
import { formatHelp } from "./help.ts";
import type { Io, OutputFormat } from "./output.ts";
import * as read from "./options.ts";
import { addRunCommand } from "./program-run.ts";
import { addRunCommands } from "./program-runs.ts";
import { addSubmitCommand } from "./program-submit.ts";

/** The command line of `rain`, in one place. Each command's code is loaded when it runs, so that help is quick. */

/** Option reader for commander: `read` of options.ts with the option's name. */
const by =
  <T>(parse: (option: string, text: string) => T, name: string): ((text: string) => T) =>
  (text) =>
    parse(name, text);

/** Reader of an option that may be repeated: key and value pairs become one record. */
const collect =
  <T>(parse: (option: string, text: string) => readonly [string, T], name: string) =>
  (text: string, before: Readonly<Record<string, T>>): Readonly<Record<string, T>> => ({
    ...before,
    ...Object.fromEntries([parse(name, text)]),
  });

const defaultListen = "127.0.0.1:7210";
const listenOption = (): Option =>
  new Option("--listen <[HOST:]PORT>", "where it listens (default: 127.0.0.1:7210)")
    .argParser(by(read.parseListen, "--listen"))
    .default(read.parseListen("--listen", defaultListen), defaultListen);
const hostNameOption = (): Option =>
  new Option("--host-name <NAME>", "another name of this machine; may be repeated")
    .argParser((text: string, before: readonly string[]) => [...before, read.parseHost("--host-name", text)])
    .default([], "none");
const logdirOption = (what: string): Option => new Option("--logdir <DIR>", what);
const readyFileOption = (): Option =>
  new Option("--ready-file <FILE>", "write {url, pid} as JSON there once it is ready");
const journalOption = (): Option =>
  new Option("--journal <DIR>", "folder of the journal (default: in the instance)");
const leaseOption = (): Option =>
  new Option("--lease <SECONDS>", "a governor silent for so long is lost (15)").argParser(
    by(read.parseSeconds, "--lease"),
  );

const onLostOption = (): Option =>
  new Option("--on-lost <WHAT>", "programs of a governor without a server (finish)").choices([
    "finish",
    "kill",
  ]);

/** Options for starting governors over ssh; docs/cluster.md has them. */
const tunnelOption = (flags: string, text: string): Option => new Option(flags, text).hideHelp();
const sshOptionOption = (): Option =>
  new Option("--ssh-option <OPTION>", "for ssh -o, as Port=2222; may be repeated")
    .argParser((text: string, before: readonly string[]) => [...before, text])
    .default([], "none");
const hostFileOption = (what: string): Option => new Option("--governor-host-file <FILE>", what);

/** Makes the parser. `done` is told the exit code of the command that ran. */
export function createProgram(io: Io, env: NodeJS.ProcessEnv, done: (code: number) => void): Command {
  const program = new Command("rain")
    .description("Runs graphs of tasks on governors; a server schedules them.")
    .helpOption("-h, --help", "show help, after a COMMAND that of the command")
    .helpCommand(false)
    .option(
      "--instance <NAME>",
      "which cluster of this machine (default: default)",
      by(read.parseName, "--instance"),
    )
    .option("--access-file <FILE>", "address and keys of a server; also $RAIN_ACCESS_FILE")
    .addOption(
      new Option("-o, --output <FORMAT>", "plain (default) or json")
        .choices(["plain", "json"])
        .default("plain"),
    )
    .configureHelp({ formatHelp, subcommandTerm: (each) => each.name(), helpWidth: 80 })
    .configureOutput({
      writeOut: (text) => io.stdout(text),
      writeErr: (text) => io.stderr(text),
      outputError: () => undefined, // what is thrown says it once more
    })
    .exitOverride()
    .showSuggestionAfterError();

  const context = (): Context => {
    const { instance, accessFile, output } = program.opts<{
      instance?: string;
      accessFile?: string;
      output: OutputFormat;
    }>();
    const globals: Globals = {
      output,
      ...(instance === undefined ? {} : { instance }),
      ...(accessFile === undefined ? {} : { accessFile }),
    };
    return { io, globals, env };
  };
  addClusterCommands(program, context, done);
  addScpCommand(program, context, done);
  addDaemonCommands(program, context, done);
  addViewCommands(program, context, done);
  addRunCommand(program, context, done);
  addSubmitCommand(program, context, done);
  addRunCommands(program, context, done);
  addAccessCommand(program, context, done);
  addJournalCommand(program, context, done);
  return program;
}

type Done = (code: number) => void;

function addClusterCommands(program: Command, context: () => Context, done: Done): void {
  program
    .command("start")
    .summary("start a server and governors in the background")
    .description(
      "Starts a server and governors on this machine in the background, and returns\n" +
        "when they are ready. Example: rain start --simple",
    )
    .option("--simple", "one governor with all resources of this machine", false)
    .option(
      "--local-governors <CPUS>",
      "a governor for each number of cpus: 4,4,2",
      by(read.parseLocalGovernors, "--local-governors"),
    )
    .addOption(hostFileOption("a governor on each host of the file, over ssh"))
    .addOption(
      new Option("--autoconf <SYSTEM>", "a governor on each node of a batch job").choices(["pbs", "slurm"]),
    )
    .option("-S, --reserve-cpu", "leave one cpu of this machine to the server", false)
    .option("--remote-init <COMMAND>", "shell line that comes first on each host")
    .option("--runprefix <COMMAND>", "how rain is started there (default: rain)", "rain")
    .addOption(sshOptionOption())
    .addOption(listenOption())
    .addOption(hostNameOption())
    .addOption(logdirOption("folder for logs (default: in the instance)"))
    .option("--workdir <DIR>", "folder for the governors' data, on a fast disk")
    .addOption(journalOption())
    .addOption(leaseOption())
    .addOption(onLostOption())
    .option(
      "--timeout <SECONDS>",
      "give up after so long (default: 120)",
      by(read.parseSeconds, "--timeout"),
      120,
    )
    .action(async (flags) => done(await (await import("./commands/start.ts")).run(context(), flags)));

  program
    .command("stop")
    .summary("stop the server and the governors of an instance; or one run")
    .description(
      "Stops the server and the governors of an instance: by request, then SIGTERM,\n" +
        "then SIGKILL. With --access-file only the request is sent; the server passes it\n" +
        "on to its governors. With RUN only what is left of that run.",
    )
    .argument("[RUN]", "name of a run, or the number of its session", read.parseRunRef)
    .option(
      "--grace <SECONDS>",
      "time for each of these steps (default: 10)",
      by(read.parseSeconds, "--grace"),
      10,
    )
    .addOption(tunnelOption("--asked", "the server told them already: wait first").default(false))
    .addOption(tunnelOption("--forget-access", "remove the access file").default(false))
    .action(async (run: read.RunRef | undefined, flags) =>
      done(
        run === undefined
          ? await (await import("./commands/stop.ts")).run(context(), flags)
          : await (await import("./commands/stop-run.ts")).run(context(), run),
      ),
    );
}

function addDaemonCommands(program: Command, context: () => Context, done: Done): void {
  program
    .command("server")
    .summary("run a server in the foreground")
    .description("Runs a server in the foreground until SIGINT, SIGTERM or rain stop.")
    .addOption(listenOption())
    .addOption(hostNameOption())
    .addOption(tunnelOption("--audit-dir <DIR>", "folder of the audit log"))
    .addOption(journalOption())
    .addOption(logdirOption("log to server.log there instead of stderr"))
    .addOption(readyFileOption())
    .addOption(leaseOption())
    .action(async (flags) => done(await (await import("./commands/server.ts")).run(context(), flags)));

  program
    .command("governor")
    .summary("run a governor in the foreground")
    .description("Runs a governor in the foreground until SIGINT, SIGTERM or rain stop.")
    .argument(
      "[ADDRESS]",
      "HOST[:PORT] of the server (default: access file)",
      by(read.parseAddress, "ADDRESS"),
    )
    .option("--config <FILE>", "configuration (TOML); the options here win over it")
    .option("--cpus <N>", "cpus to offer: N, -N (all but N), detect (default)", by(read.parseCpus, "--cpus"))
    .option("--gpus <N>", "gpus to offer (default: detect)", by(read.parseCount, "--gpus"))
    .option("--memory <SIZE>", "memory to offer, as 8G (default: detect)", by(read.parseMemory, "--memory"))
    .addOption(
      new Option("--resource <NAME=N>", "a resource of your own to offer; may be repeated")
        .argParser(collect(read.parseResource, "--resource"))
        .default({}, "none"),
    )
    .addOption(
      new Option("--label <KEY=VALUE>", "a label to show; may be repeated")
        .argParser(collect(read.parseLabel, "--label"))
        .default({}, "none"),
    )
    .addOption(
      new Option("--executor <NAME=CMD>", "runs tasks NAME/METHOD; may be repeated")
        .argParser(collect(read.parseExecutor, "--executor"))
        .default({}, "none"),
    )
    .option("--name <NAME>", "its name (default: that of the machine)", by(read.parseName, "--name"))
    .option("--workdir <DIR>", "its data, on a fast disk (default: in the instance)")
    .option(
      "--listen <HOST>",
      "where others read its data (default: 127.0.0.1)",
      by(read.parseHost, "--listen"),
    )
    .option(
      "--cache-size <SIZE>",
      "objects to keep for later (default: 2G)",
      by(read.parseMemory, "--cache-size"),
    )
    .option("--pin-cpus", "give each task whole cpus of its own (taskset)")
    .addOption(onLostOption())
    .addOption(
      new Option("--memory-limit <HOW>", "hold tasks to their memory (auto)")
        .choices(["auto", "cgroup", "watch", "off"])
        .hideHelp(),
    )
    .addOption(
      new Option("--zero", "for measuring: run nothing, report every task as done at once")
        .default(false)
        .hideHelp(),
    )
    .option("--background", "return when it is registered, leave a daemon", false)
    .addOption(logdirOption("log to governor-NAME.log there instead of stderr"))
    .addOption(readyFileOption())
    .addOption(tunnelOption("--access-stdin", "the access file comes on stdin").default(false))
    .addOption(
      tunnelOption("--data-port <PORT>", "port of its data port").argParser(
        by(read.parseCount, "--data-port"),
      ),
    )
    .addOption(
      tunnelOption("--data-url <URL>", "where the server finds its data port").argParser(
        by(read.parseDataUrl, "--data-url"),
      ),
    )
    .addOption(
      tunnelOption("--tunnel-to <HOST:PORT>", "the server behind a tunnel, as it knows itself").argParser(
        by(read.parseAddress, "--tunnel-to"),
      ),
    )
    .action(async (address, { resource, label, executor, ...flags }) => {
      const { run } = await import("./commands/governor.ts");
      done(
        await run(context(), address, { ...flags, resources: resource, labels: label, executors: executor }),
      );
    });
}

function addViewCommands(program: Command, context: () => Context, done: Done): void {
  program
    .command("status")
    .summary("show the server, its governors and sessions; or one run")
    .description("Shows the server, its governors and sessions; with RUN, how that run stands.")
    .argument("[RUN]", "name of a run, or the number of its session", read.parseRunRef)
    .action(async (run: read.RunRef | undefined) =>
      done(
        run === undefined
          ? await (await import("./commands/status.ts")).run(context())
          : await (await import("./commands/status-run.ts")).run(context(), run),
      ),
    );

  addGovernorsCommand(program, context, done);

  program
    .command("sessions")
    .summary("list the sessions")
    .description("Lists the sessions of the server.")
    .action(async () => done(await (await import("./commands/sessions.ts")).run(context())));

  program
    .command("explain")
    .summary("say why a task or experiment is in its state")
    .description(
      "Says why a task, or an experiment of a run, is in the state it is in.\n" +
        "Examples: rain explain 3/17, rain explain calm-otter-001 7",
    )
    .argument("<SESSION/TASK|RUN>", "task 17 of session 3 is 3/17", read.parseRunOrTask)
    .argument("[N]", "number of the experiment, with RUN", by(read.parseExperiment, "N"))
    .action(async (ref: read.RunOrTask, experiment: number | undefined) => {
      if ("task" in ref) {
        if (experiment !== undefined) throw usageError("explain: a task has no experiment: leave out N");
        done(await (await import("./commands/explain.ts")).run(context(), ref));
        return;
      }
      if (experiment === undefined)
        throw usageError("explain: write SESSION/TASK, as 3/17, or RUN N with the number of an experiment");
      done(await (await import("./commands/explain-run.ts")).run(context(), ref, experiment));
    });

  program
    .command("logs")
    .summary("print what a task or the experiments of a run wrote")
    .description(
      "Prints what a task's last attempt wrote: its stdout on stdout, its stderr on\n" +
        "stderr. Of a run with several experiments each line begins with the number of\n" +
        "its experiment. Examples: rain logs -f 3/17, rain logs calm-otter-001",
    )
    .argument("<RUN|SESSION/TASK>", "a run; or task 17 of session 3 as 3/17", read.parseRunOrTask)
    .option("--experiment <N>", "only this one of the run", by(read.parseExperiment, "--experiment"))
    .option("--pod <N>", "the same as --experiment", by(read.parseExperiment, "--pod"))
    .addOption(
      new Option("--stream <STREAM>", "stdout, stderr or both (default)")
        .choices(["stdout", "stderr", "both"])
        .default("both"),
    )
    .option("-f, --follow", "go on until all has ended", false)
    .action(async (ref: read.RunOrTask, { pod, experiment = pod, ...flags }) => {
      if ("task" in ref) {
        if (experiment !== undefined) throw usageError("logs: --experiment goes with a run, not with a task");
        done(await (await import("./commands/logs.ts")).run(context(), ref, flags));
      } else {
        const { run } = await import("./commands/logs-run.ts");
        done(await run(context(), ref, { ...flags, ...(experiment !== undefined && { experiment }) }));
      }
    });
}

function addGovernorsCommand(program: Command, context: () => Context, done: Done): void {
  const governors = program
    .command("governors")
    .summary("list the governors; drain or stop some")
    .description("Lists the governors of the server.\nExample: rain governors drain 2")
    .action(async () => done(await (await import("./commands/governors.ts")).run(context())));
  const add = (what: "drain" | "stop", summary: string, text: string): void => {
    governors
      .command(what)
      .summary(summary)
      .description(text)
      .argument("<GOVERNOR...>", "numbers or names")
      .action(async (wanted: readonly string[]) =>
        done(await (await import("./commands/governors.ts")).act(context(), what, wanted)),
      );
  };
  add(
    "drain",
    "give them no new tasks, and stop them when idle",
    "Gives governors no new tasks; each stops when what it runs has ended, and others\n" +
      "have copied what only it has. rain governors says what one waits for.",
  );
  add("stop", "stop them now", "Stops governors now; others get the tasks that they run.");
}

function addJournalCommand(program: Command, context: () => Context, done: Done): void {
  const journal = program
    .command("journal")
    .helpCommand(false)
    .summary("check, repair or export a journal")
    .description("Looks after the journal of a server that does not run.\nExample: rain journal check");
  const load = () => import("./commands/journal.ts");
  journal
    .command("check")
    .summary("read all of it, and say what is there and what is damaged")
    .description("Reads the whole journal and changes nothing. Exit code 65 when it is damaged.")
    .addOption(journalOption())
    .action(async (flags) => done(await (await load()).check(context(), flags)));
  journal
    .command("repair")
    .summary("cut it at the first damage, and keep a copy of it as it was")
    .description(
      "Copies the journal's folder, then cuts the journal at its first damage and says\n" +
        "what is lost. A journal without damage is left alone.",
    )
    .addOption(journalOption())
    .option("--dry-run", "say what would be done and lost, and do nothing", false)
    .action(async (flags) => done(await (await load()).repair(context(), flags)));
  journal
    .command("export")
    .summary("print its records, one JSON document a line")
    .description(
      "Prints what the journal holds, one JSON document a line: the items of the\n" +
        "snapshot, then records. Long bytes are cut, values of environments left out.",
    )
    .addOption(journalOption())
    .option("--state", "the state after all of them instead", false)
    .action(async (flags) => done(await (await load()).exportLines(context(), flags)));
}

function addScpCommand(program: Command, context: () => Context, done: Done): void {
  program
    .command("scp")
    .summary("copy a file to every host of governors")
    .description(
      "Copies a file or folder to the same place on every host of a host file, or on\n" +
        "those where rain start started governors.",
    )
    .argument("<FILE>", "file or folder of this machine")
    .argument("<PATH>", "where it goes there")
    .addOption(hostFileOption("the hosts (default: those of the running cluster)"))
    .addOption(sshOptionOption())
    .action(async (file, path, flags) =>
      done(await (await import("./commands/scp.ts")).run(context(), file, path, flags)),
    );
}

function addAccessCommand(program: Command, context: () => Context, done: Done): void {
  const access = program
    .command("access")
    .helpCommand(false)
    .summary("split or change the keys of a server")
    .description("Makes access files for one role each, and new keys.\nExample: rain access rotate governor");
  access
    .command("split")
    .summary("make files with the key of one role each")
    .description(
      "Makes access files that hold the key of one role each, for machines and people\n" +
        "that need no more. Example: rain access split --governor governor.json",
    )
    .option("--client <FILE>", "may submit, fetch, stop")
    .option("--governor <FILE>", "may register and run tasks")
    .option("--viewer <FILE>", "may look on")
    .action(async (flags) => done(await (await import("./commands/access.ts")).split(context(), flags)));
  access
    .command("rotate")
    .summary("make new keys for roles; the old ones stop working")
    .description(
      "Makes new keys for roles. A running server uses them at once and closes the\n" +
        "connections that have the old ones.",
    )
    .addArgument(
      new Argument("<ROLE...>", "client, governor or viewer").choices(["client", "governor", "viewer"]),
    )
    .action(async (wanted) => done(await (await import("./commands/access.ts")).rotate(context(), wanted)));
}
