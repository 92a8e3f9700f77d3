import { rmSync } from "node:fs";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import type { GovernorOptions } from "@rain/governor";
import type { MemoryLimit, Resources } from "@rain/protocol";
import type { Access } from "@rain/protocol/access";
import { instanceOf, requireAccessFile, type Context } from "../context.ts";
import { catchStrayErrors, leaveSoon, runDaemon, runService } from "../daemon.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import { readGovernorConfig, type GovernorConfigFile } from "../governor-config.ts";
import { claimDaemon, ensureDir, writeWhole, type Daemon, type Instance } from "../instance.ts";
import { launch, undo, waitReady } from "../launch.ts";
import { openLog } from "../logging.ts";
import { formatAddress, isLoopback, type Address, type Cpus } from "../options.ts";
import { print } from "../output.ts";

export interface GovernorFlags {
  /** Configuration file; the other flags win over it. */
  readonly config?: string;
  readonly cpus?: Cpus;
  readonly gpus?: number;
  /** Bytes. */
  readonly memory?: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Commands of own executors, by their names. */
  readonly executors: Readonly<Record<string, string>>;
  readonly name?: string;
  readonly pinCpus?: boolean;
  /** For measuring: run nothing. */
  readonly zero: boolean;
  /** What becomes of programs when the server may have given this governor up. */
  readonly onLost?: "kill" | "finish";
  /** How tasks are held to the memory that they asked for. */
  readonly memoryLimit?: "auto" | MemoryLimit;
  /** Bytes of objects that nobody needs any more and that are kept. */
  readonly cacheSize?: number;
  readonly workdir?: string;
  readonly logdir?: string;
  readonly readyFile?: string;
  /** Address of the data port. */
  readonly listen?: string;
  readonly dataPort?: number;
  readonly dataUrl?: string;
  readonly tunnelTo?: Address;
  /** Start it as a daemon and return when it is registered. */
  readonly background: boolean;
  /** The access file comes on stdin and is kept in the instance. */
  readonly accessStdin: boolean;
}

/** How long a governor in the background may take until it is registered. */
const BACKGROUND_MS = 60_000;
const ACCESS_BYTES = 65_536;

/** `rain governor [ADDRESS]`: a governor in the foreground, or with --background as a daemon. */
export async function run(
  context: Context,
  address: Address | undefined,
  flags: GovernorFlags,
): Promise<number> {
  const config = flags.config === undefined ? undefined : readGovernorConfig(flags.config);
  const instance = await instanceOf(context);
  if (flags.accessStdin) await keepAccess(context, instance);
  const name = flags.name ?? config?.name ?? defaultName();
  if (flags.background) return runInBackground(context, instance, name, address, flags, config);
  return runHere(context, instance, name, address, flags, config);
}

async function runHere(
  context: Context,
  instance: Instance,
  name: string,
  address: Address | undefined,
  flags: GovernorFlags,
  config: GovernorConfigFile | undefined,
): Promise<number> {
  const { url, access, accessFile, key } = await readAccess(context, instance, address);
  const executors = await splitCommands(flags.executors);
  const { detectCapacity, startGovernor } = await import("@rain/governor");
  const { log, file } = openLog(flags.logdir ?? config?.logdir, `governor-${name}`);
  catchStrayErrors(log);
  const facts = { role: "governor", name, ...(file === undefined ? {} : { log: file }) } as const;
  const claim = (): Daemon => claimDaemon(instance, facts);
  const code = await runDaemon(claim, log, async (place, stopping) => {
    const given = flags.workdir === undefined ? config?.workdir : resolve(flags.workdir);
    const workdir = given ?? join(instance.governorsDir, name);
    ensureDir(workdir);
    const cpus = flags.cpus ?? config?.cpus ?? "detect";
    const capacity = withGiven(detectCapacity({ cpus }), flags, config);
    const governor = await startGovernor({
      serverUrl: url,
      certPem: access.certPem,
      accessFile,
      key,
      clusterId: access.clusterId,
      workdir,
      name,
      capacity,
      log,
      ...traits(flags, config),
      zero: flags.zero,
      executors: { ...config?.executors, ...executors },
    });
    log(
      "info",
      `governor ${name}: ${capacity.cpus} cpus, work folder ${workdir}, server ${url}, pid ${place.pid}`,
    );
    return runService(governor, {
      log,
      stopping,
      ready: async () => {
        log("info", `registered at ${url} as governor ${await governor.registered()}`);
        return { url };
      },
      ...(flags.readyFile === undefined ? {} : { readyFile: flags.readyFile }),
    });
  });
  leaveSoon(code, log);
  return code;
}

/** The words of each executor's command, split as a shell does; no shell runs. */
async function splitCommands(
  commands: Readonly<Record<string, string>>,
): Promise<Record<string, { readonly command: readonly string[] }>> {
  const executors: Record<string, { readonly command: readonly string[] }> = {};
  if (Object.keys(commands).length === 0) return executors;
  const { splitWords } = await import("@rain/client/words");
  for (const [name, line] of Object.entries(commands)) {
    try {
      executors[name] = { command: splitWords(`--executor ${name}`, line) };
    } catch (error) {
      if (error instanceof TypeError) throw usageError(error.message);
      throw error;
    }
  }
  return executors;
}

/** What a governor is beside its resources, as its configuration and then its flags say. */
function traits(flags: GovernorFlags, config: GovernorConfigFile | undefined): Partial<GovernorOptions> {
  const pinCpus = flags.pinCpus ?? config?.pinCpus;
  const onLost = flags.onLost ?? config?.onLost;
  const memoryLimit = flags.memoryLimit ?? config?.memoryLimit;
  const cacheBytes = flags.cacheSize ?? config?.cacheBytes;
  return {
    labels: { ...config?.labels, ...flags.labels },
    environments: config?.environments ?? {},
    ...(pinCpus === undefined ? {} : { pinCpus }),
    ...(onLost === undefined ? {} : { onLost }),
    ...(memoryLimit === undefined ? {} : { memoryLimit }),
    ...(config?.taskProcesses === undefined ? {} : { taskProcesses: config.taskProcesses }),
    ...(config?.costPerHour === undefined ? {} : { costPerHour: config.costPerHour }),
    ...(config?.killGraceMs === undefined ? {} : { killGraceMs: config.killGraceMs }),
    ...(config?.captureBytes === undefined ? {} : { captureBytes: config.captureBytes }),
    ...(cacheBytes === undefined ? {} : { cacheBytes }),
    ...(config?.transfers === undefined ? {} : { transfers: config.transfers }),
    ...(flags.listen === undefined ? {} : { listenHost: flags.listen }),
    ...(flags.dataPort === undefined ? {} : { dataPort: flags.dataPort }),
    ...(flags.dataUrl === undefined ? {} : { dataUrl: flags.dataUrl }),
    ...(flags.tunnelTo === undefined ? {} : { tunnelTo: formatAddress(flags.tunnelTo) }),
  };
}

/** Keeps the access file that comes on stdin in the instance, for its owner only. */
async function keepAccess(context: Context, instance: Instance): Promise<void> {
  if (context.globals.accessFile !== undefined)
    throw usageError("--access-file and --access-stdin exclude each other: choose one");
  let text = "";
  for await (const part of process.stdin.setEncoding("utf8")) {
    text += String(part);
    if (text.length > ACCESS_BYTES) throw usageError("--access-stdin: this is too long for an access file");
  }
  ensureDir(instance.dir);
  writeWhole(instance.accessFile, text);
  const { loadAccess } = await import("@rain/protocol/access");
  try {
    await loadAccess(instance.accessFile);
  } catch (error) {
    rmSync(instance.accessFile);
    throw error;
  }
}

async function runInBackground(
  context: Context,
  instance: Instance,
  name: string,
  address: Address | undefined,
  flags: GovernorFlags,
  config: GovernorConfigFile | undefined,
): Promise<number> {
  if (flags.readyFile !== undefined)
    throw usageError(
      "--ready-file is for a governor in the foreground; with --background it is ready at the end",
    );
  const accessFile = requireAccessFile(context, instance);
  const given = flags.logdir === undefined ? config?.logdir : resolve(flags.logdir);
  const logDir = given ?? instance.logDir;
  for (const dir of [instance.dir, instance.runDir, logDir]) ensureDir(dir);
  const log = join(logDir, `governor-${name}.log`);
  const launched = await launch(
    instance,
    name,
    log,
    foregroundWords(accessFile, instance, name, address, flags),
  );
  try {
    const deadline = performance.now() + BACKGROUND_MS;
    const waiting = (): void => undefined;
    const { url } = await waitReady(launched, { deadline, signal: new AbortController().signal, waiting });
    const { pid } = launched.identity;
    print(
      context.io,
      context.globals.output,
      { name, pid, url, log },
      () => `governor ${name} runs (pid ${pid}), log ${log}`,
    );
    return exitCodes.ok;
  } catch (error) {
    await undo([launched]);
    throw error;
  }
}

/** The command line of the daemon: what was given to this one, with absolute paths. */
function foregroundWords(
  accessFile: string,
  instance: Instance,
  name: string,
  address: Address | undefined,
  flags: GovernorFlags,
): string[] {
  const option = (key: string, value: string | number | undefined): string[] =>
    value === undefined ? [] : [`--${key}=${value}`];
  const path = (value: string | undefined): string | undefined =>
    value === undefined ? undefined : resolve(value);
  return [
    ...option("instance", instance.name),
    ...option("access-file", accessFile === instance.accessFile ? undefined : accessFile),
    "governor",
    ...(address === undefined ? [] : [formatAddress(address)]),
    ...option("name", name),
    ...option("config", path(flags.config)),
    ...option("cpus", flags.cpus),
    ...option("gpus", flags.gpus),
    ...option("memory", flags.memory),
    ...(flags.pinCpus === true ? ["--pin-cpus"] : []),
    ...(flags.zero ? ["--zero"] : []),
    ...option("on-lost", flags.onLost),
    ...option("memory-limit", flags.memoryLimit),
    ...option("cache-size", flags.cacheSize),
    ...option("workdir", path(flags.workdir)),
    ...option("listen", flags.listen),
    ...option("data-port", flags.dataPort),
    ...option("data-url", flags.dataUrl),
    ...option("tunnel-to", flags.tunnelTo && formatAddress(flags.tunnelTo)),
    ...Object.entries(flags.resources).flatMap(([key, value]) => option("resource", `${key}=${value}`)),
    ...Object.entries(flags.labels).flatMap(([key, value]) => option("label", `${key}=${value}`)),
    ...Object.entries(flags.executors).flatMap(([key, value]) => option("executor", `${key}=${value}`)),
  ];
}

/**
 * Where the server is, and the governor's key, which is read anew for each connection: it may be changed meanwhile.
 * ADDRESS, when given, replaces the address of the access file.
 */
async function readAccess(
  context: Context,
  instance: Instance,
  address: Address | undefined,
): Promise<{
  readonly url: string;
  readonly access: Access;
  readonly accessFile: string;
  readonly key: () => Promise<string>;
}> {
  const { RainError } = await import("@rain/protocol");
  const { loadAccess } = await import("@rain/protocol/access");
  const path = requireAccessFile(context, instance);
  const key = async (): Promise<string> => {
    const known = (await loadAccess(path)).keys.governor;
    if (known !== undefined) return known;
    throw new RainError(
      "not-allowed",
      `${path} holds no governor key: copy the access file from the server's machine`,
      { accessFile: path },
    );
  };
  await key();
  const access = await loadAccess(path);
  if (address !== undefined && !isLoopback(address.host) && access.certPem === undefined)
    throw new CommandError(
      exitCodes.usage,
      `governor address ${formatAddress(address)}: that is another machine, but ${path} is that of a server which ` +
        "listens on its own loopback only: start it with --listen, and copy its access file here",
      { accessFile: path },
    );
  const scheme = access.certPem === undefined ? "http" : "https";
  const url = address === undefined ? access.url : `${scheme}://${formatAddress(address)}`;
  return { url, access, accessFile: path, key };
}

/** The machine's name, made fit for a path. */
const defaultName = (): string =>
  hostname()
    .replaceAll(/[^A-Za-z0-9._-]/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 64) || "governor";

function withGiven(
  detected: Resources,
  flags: GovernorFlags,
  config: GovernorConfigFile | undefined,
): Resources {
  return {
    cpus: detected.cpus,
    gpus: flags.gpus ?? config?.gpus ?? detected.gpus,
    memory: flags.memory ?? config?.memory ?? detected.memory,
    named: { ...detected.named, ...config?.named, ...flags.resources },
  };
}
