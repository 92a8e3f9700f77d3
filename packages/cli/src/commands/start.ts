import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { GovernorInfo } from "@rain/client";
import { batchHosts, type BatchSystem } from "../cluster/batch.ts";
import { isThisMachine, parseHostFile, type Host } from "../cluster/hosts.ts";
import { listRemotes, startRemote, stopRemote, type StartedRemote } from "../cluster/remote.ts";
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
  /** Hosts on which governors are started over ssh. */
  readonly governorHostFile?: string;
  /** Take the hosts from the environment of a batch job. */
  readonly autoconf?: BatchSystem;
  readonly remoteInit?: string;
  readonly runprefix: string;
  readonly sshOption: readonly string[];
  /** Leave one cpu of the machine to the server. */
  readonly reserveCpu: boolean;
  readonly listen: Address;
  readonly hostName: readonly string[];
  readonly journal?: string;
  readonly logdir?: string;
  readonly workdir?: string;
  /** Seconds that a silent governor keeps its tasks. */
  readonly lease?: number;
  /** What governors do with programs when they lost the server. */
  readonly onLost?: "kill" | "finish";
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
  const hosts = hostsOf(context, flags);
  const local = localGovernors(flags, hosts);
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
    const [names, remotes] = await bothOrNone(
      start,
      (within) => startGovernors(within, local),
      (within) =>
        startRemotes(
          within,
          url,
          hosts.filter((host) => !isLocal(flags, host)),
        ),
    );
    const all = [...names, ...remotes.map((one) => one.name)];
    report(start, url, await registeredGovernors(start, all), remotes);
    return exitCodes.ok;
  } catch (error) {
    await stopRemotes(start);
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
      "say which governors to start: --simple (one with all of this machine), --local-governors=4,4,2, " +
        "--governor-host-file=FILE or --autoconf=pbs|slurm",
    );
  if (reserveCpu)
    throw usageError("--reserve-cpu goes with --simple; --local-governors says the cpus itself");
  return localGovernors;
}

interface LocalGovernor {
  readonly name: string;
  readonly cpus: Cpus;
  /** Further options of `rain governor`. */
  readonly more: readonly string[];
}

/** Hosts of the host file or the batch job; -S leaves a cpu of this machine free where the file does not say more. */
function hostsOf(context: Context, { governorHostFile: file, autoconf }: StartFlags): readonly Host[] {
  if (file !== undefined && autoconf !== undefined)
    throw usageError("--governor-host-file and --autoconf exclude each other: choose one");
  if (file !== undefined) return parseHostFile(readFileSync(file, "utf8"), file);
  return autoconf === undefined ? [] : batchHosts(autoconf, context.env);
}

/** The node of a batch job on which the job's script runs needs no ssh. */
const isLocal = ({ autoconf }: StartFlags, host: Host): boolean =>
  autoconf !== undefined && isThisMachine(host.address);

function localGovernors(flags: StartFlags, hosts: readonly Host[]): readonly LocalGovernor[] {
  const own = hosts
    .filter((host) => isLocal(flags, host))
    .map((host): LocalGovernor => {
      const spare = flags.reserveCpu ? 1 : 0;
      const cpus = host.cpus === undefined ? (spare === 0 ? "detect" : -1) : Math.max(1, host.cpus - spare);
      const more = [...option("gpus", host.gpus), ...option("memory", host.memory)];
      return { name: host.name, cpus, more };
    });
  const asked = hosts.length > 0 && !flags.simple && flags.localGovernors === undefined;
  const numbered = asked ? [] : cpusOfGovernors(flags);
  const local = numbered.map((cpus, index): LocalGovernor => ({
    name: `local-${index + 1}`,
    cpus,
    more: [],
  }));
  const taken = new Set(hosts.map((host) => host.name));
  const twice = local.find((one) => taken.has(one.name));
  if (twice !== undefined)
    throw usageError(`a host is named ${twice.name}, as a local governor is: rename it`);
  return [...local, ...own];
}

/** Runs both; when one fails the other is given up, and is over when this throws. */
async function bothOrNone<A, B>(
  start: Start,
  first: (within: Start) => Promise<A>,
  second: (within: Start) => Promise<B>,
): Promise<[A, B]> {
  const failed = new AbortController();
  const within = { ...start, signal: AbortSignal.any([start.signal, failed.signal]) };
  const giveUp = (error: unknown): never => {
    failed.abort(error);
    throw error;
  };
  const both = [first(within).catch(giveUp), second(within).catch(giveUp)] as const;
  await Promise.allSettled(both);
  return Promise.all(both);
}

/** How many hosts are started at once. */
const AT_ONCE = 16;

async function startRemotes(
  start: Start,
  serverUrl: string,
  hosts: readonly Host[],
): Promise<StartedRemote[]> {
  const { instance, flags, logDir, signal } = start;
  const options = {
    sshOptions: flags.sshOption,
    runPrefix: flags.runprefix,
    ...(flags.remoteInit === undefined ? {} : { init: flags.remoteInit }),
  };
  const started: StartedRemote[] = [];
  const { onLost } = flags;
  const asked = onLost === undefined ? hosts : hosts.map((host) => ({ ...host, onLost }));
  const rest = asked.map((host) =>
    flags.reserveCpu && host.cpus === undefined && isThisMachine(host.address) ? { ...host, cpus: -1 } : host,
  );
  const work = async (): Promise<void> => {
    for (let host = rest.shift(); host !== undefined; host = rest.shift())
      started.push(await startRemote({ instance, serverUrl, logDir }, host, options, signal));
  };
  const lanes = Array.from({ length: Math.min(AT_ONCE, hosts.length) }, () => work());
  await Promise.allSettled(lanes);
  await Promise.all(lanes);
  return started.toSorted((a, b) => a.name.localeCompare(b.name));
}

/** After a start that failed: what runs on other machines by now. */
async function stopRemotes({ context, instance }: Start): Promise<void> {
  const stopped = await Promise.all(
    listRemotes(instance).map((remote) => stopRemote(instance, remote, UNDO_GRACE_S, false)),
  );
  for (const { name, address, problem } of stopped) {
    if (problem !== undefined)
      context.io.stderr(`rain: governor ${name} on ${address} may still run: ${problem}\n`);
  }
}
const UNDO_GRACE_S = 5;

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
    ...flags.hostName.flatMap((name) => option("host-name", name)),
    ...option("audit-dir", start.logDir),
    ...option("journal", flags.journal === undefined ? undefined : resolve(flags.journal)),
    ...option("lease", flags.lease),
  ]);
  start.launched.push(server);
  return waitReady(server, { ...start, waiting: (seconds) => progress(start, ["the server"], seconds) });
}

/** Starts all governors at once; their names. The first that fails gives up the others. */
async function startGovernors(start: Start, local: readonly LocalGovernor[]): Promise<readonly string[]> {
  const { instance, flags } = start;
  for (const { name, cpus, more } of local) {
    const base = flags.workdir === undefined ? instance.governorsDir : resolve(flags.workdir);
    start.launched.push(
      await launch(instance, name, join(start.logDir, `governor-${name}.log`), [
        "governor",
        ...option("instance", instance.name),
        ...option("name", name),
        ...option("cpus", cpus),
        ...more,
        ...option("on-lost", flags.onLost),
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

function report(
  start: Start,
  url: string,
  governors: readonly GovernorInfo[],
  remotes: readonly StartedRemote[],
): void {
  const { context, instance, launched, logDir } = start;
  const daemon = (name: string): { readonly pid: number; readonly log: string; readonly host?: string } => {
    const remote = remotes.find((one) => one.name === name);
    if (remote !== undefined) return { pid: remote.pid, log: remote.log, host: remote.address };
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
      one.host ?? "",
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
  { title: "HOST" },
] as const;
