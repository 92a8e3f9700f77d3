import { join, resolve } from "node:path";
import type { GovernorInfo } from "@rain/client";
import { instanceOf, type Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import { ensureDir, listDaemons, refuseSecondServer, removeStale, type Instance } from "../instance.ts";
import { launch, undo, waitReady, type Launched } from "../launch.ts";
import { formatAmount, formatBytes, print, table } from "../output.ts";
import { formatAddress, type Address, type Cpus } from "../options.ts";

export interface StartFlags {
  readonly simple: boolean;
  /** Cpus of each local governor. */
  readonly localGovernors?: readonly number[];
  /** Leave one cpu of the machine to the server. */
  readonly reserveCpu: boolean;
  readonly listen: Address;
  readonly journal?: string;
  readonly logdir?: string;
  readonly workdir?: string;
  /** Seconds that a silent governor keeps its tasks. */
  readonly lease?: number;
  /** Seconds until the start is given up. */
  readonly timeout: number;
}

/** What a start needs all along. `launched` grows: it is what to end when the start fails. */
interface Start {
  readonly context: Context;
  readonly instance: Instance;
  readonly flags: StartFlags;
  readonly logDir: string;
  readonly launched: Launched[];
  readonly signal: AbortSignal;
  readonly deadline: number;
}

/** `rain start`: a server and local governors as daemons. */
export async function run(context: Context, flags: StartFlags): Promise<number> {
  const cpus = cpusOfGovernors(flags);
  if (context.globals.accessFile !== undefined)
    throw usageError(
      "--access-file names a server that runs already; rain start makes one: choose --instance NAME",
    );
  const instance = await instanceOf(context);
  ensureDir(instance.dir);
  ensureDir(instance.runDir);
  refuseSecond(instance);
  const logDir = flags.logdir === undefined ? instance.logDir : resolve(flags.logdir);
  ensureDir(logDir);

  const interrupt = new AbortController();
  const onSignal = (name: NodeJS.Signals): void =>
    interrupt.abort(new CommandError(name === "SIGINT" ? 130 : 143, `${name}: the start is given up`));
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  const deadline = performance.now() + flags.timeout * 1_000;
  const start: Start = { context, instance, flags, logDir, launched: [], signal: interrupt.signal, deadline };
  try {
    const { url } = await startServer(start);
    const names = await startGovernors(start, cpus);
    report(start, url, await registeredGovernors(start, names));
    return exitCodes.ok;
  } catch (error) {
    await undo(start.launched);
    removeStale(instance);
    throw error;
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

function cpusOfGovernors({ simple, localGovernors, reserveCpu }: StartFlags): readonly Cpus[] {
  if (simple && localGovernors !== undefined)
    throw usageError("--simple and --local-governors exclude each other: choose one");
  if (simple) return [reserveCpu ? -1 : "detect"];
  if (localGovernors === undefined)
    throw usageError(
      "say which governors to start: --simple (one with all of this machine) or --local-governors=4,4,2",
    );
  if (reserveCpu)
    throw usageError("--reserve-cpu goes with --simple; --local-governors says the cpus itself");
  return localGovernors;
}

function refuseSecond(instance: Instance): void {
  refuseSecondServer(instance);
  const { alive } = listDaemons(instance);
  if (alive.length === 0) return;
  const names = alive.map((one) => `${one.name} (pid ${one.pid})`).join(", ");
  throw new CommandError(
    exitCodes.failed,
    `instance ${instance.name} has governors without a server: ${names}. "rain stop" ends them; "rain server" gives ` +
      "them their server back",
    { instance: instance.name },
  );
}

const option = (name: string, value: string | number | undefined): string[] =>
  value === undefined ? [] : [`--${name}=${value}`];

async function startServer(start: Start): Promise<{ readonly url: string }> {
  const { instance, flags } = start;
  const server = await launch(instance, "server", join(start.logDir, "server.log"), [
    "server",
    ...option("instance", instance.name),
    ...option("listen", formatAddress(flags.listen)),
    ...option("journal", flags.journal === undefined ? undefined : resolve(flags.journal)),
    ...option("lease", flags.lease),
  ]);
  start.launched.push(server);
  return waitReady(server, { ...start, waiting: (seconds) => progress(start, ["the server"], seconds) });
}

/** Starts all governors at once; their names. The first that fails gives up the others. */
async function startGovernors(start: Start, cpus: readonly Cpus[]): Promise<readonly string[]> {
  const { instance, flags } = start;
  for (const [index, count] of cpus.entries()) {
    const name = `local-${index + 1}`;
    const base = flags.workdir === undefined ? instance.governorsDir : resolve(flags.workdir);
    start.launched.push(
      await launch(instance, name, join(start.logDir, `governor-${name}.log`), [
        "governor",
        ...option("instance", instance.name),
        ...option("name", name),
        ...option("cpus", count),
        ...option("workdir", join(base, name)),
      ]),
    );
  }
  const waiting = new Set(start.launched.slice(1).map((one) => one.name));
  const failed = new AbortController();
  const signal = AbortSignal.any([start.signal, failed.signal]);
  let told = 0;
  const onWaiting = (seconds: number): void => {
    if (seconds > told) progress(start, [...waiting], (told = seconds));
  };
  await Promise.all(
    start.launched.slice(1).map(async (governor) => {
      await waitReady(governor, { signal, deadline: start.deadline, waiting: onWaiting });
      waiting.delete(governor.name);
    }),
  ).catch((error: unknown) => {
    failed.abort(error);
    throw error;
  });
  return start.launched.slice(1).map((one) => one.name);
}

const progress = ({ context }: Start, names: readonly string[], seconds: number): void =>
  context.io.stderr(`rain: waiting for ${names.join(", ")} (${seconds} s)\n`);

/** The server's own word that the governors are there. */
async function registeredGovernors(start: Start, names: readonly string[]): Promise<readonly GovernorInfo[]> {
  const { Client } = await import("@rain/client");
  const client = await Client.connect({ accessFile: start.instance.accessFile, reconnectS: 0 });
  try {
    const { governors } = await client.serverInfo();
    return names.map((name) => {
      const found = governors.find((one) => one.name === name && one.state === "connected");
      if (found !== undefined) return found;
      throw new CommandError(
        exitCodes.failed,
        `governor ${name} registered and was lost again; see ${start.logDir}`,
      );
    });
  } finally {
    await client.close();
  }
}

function report(start: Start, url: string, governors: readonly GovernorInfo[]): void {
  const { context, instance, launched, logDir } = start;
  const daemon = (name: string): { readonly pid: number; readonly log: string } => {
    const found = launched.find((one) => one.name === name);
    return { pid: found?.identity.pid ?? 0, log: found?.log ?? "" };
  };
  const json = {
    instance: instance.name,
    url,
    accessFile: instance.accessFile,
    logDir,
    server: daemon("server"),
    governors: governors.map(({ id, name, resources }) => ({
      id,
      name,
      ...resources,
      ...daemon(name),
    })),
  };
  print(context.io, context.globals.output, json, () => {
    const rows = json.governors.map((one) => [
      one.name,
      formatAmount(one.cpus),
      formatAmount(one.gpus),
      formatBytes(one.memory),
      String(one.pid),
    ]);
    return [
      `Rain is ready at ${url} (instance ${instance.name}, server pid ${json.server.pid})`,
      "",
      table(governorColumns, rows, context.io),
      "",
      `Next: "rain status" shows what runs, "rain stop" ends it. Logs are in ${logDir}`,
    ].join("\n");
  });
}
const governorColumns = [
  { title: "GOVERNOR" },
  { title: "CPUS", align: "right" },
  { title: "GPUS", align: "right" },
  { title: "MEMORY", align: "right" },
  { title: "PID", align: "right" },
] as const;
