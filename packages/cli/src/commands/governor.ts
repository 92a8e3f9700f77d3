import { hostname } from "node:os";
import { join, resolve } from "node:path";
import type { Resources } from "@rain/protocol";
import type { Access } from "@rain/protocol/access";
import { instanceOf, requireAccessFile, type Context } from "../context.ts";
import { catchStrayErrors, leaveSoon, runDaemon, runService } from "../daemon.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import { claimDaemon, ensureDir, type Daemon, type Instance } from "../instance.ts";
import { openLog } from "../logging.ts";
import { formatAddress, isLoopback, type Address, type Cpus } from "../options.ts";

export interface GovernorFlags {
  readonly cpus: Cpus;
  readonly gpus?: number;
  /** Bytes. */
  readonly memory?: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Commands of own executors, by their names. */
  readonly executors: Readonly<Record<string, string>>;
  readonly name?: string;
  readonly workdir?: string;
  readonly logdir?: string;
  readonly readyFile?: string;
}

/** `rain governor [ADDRESS]`: a governor in the foreground. */
export async function run(
  context: Context,
  address: Address | undefined,
  flags: GovernorFlags,
): Promise<number> {
  const instance = await instanceOf(context);
  const { url, key, clusterId } = await readAccess(context, instance, address);
  const executors = await splitCommands(flags.executors);
  const { detectCapacity, startGovernor } = await import("@rain/governor");
  const name = flags.name ?? defaultName();
  const { log, file } = openLog(flags.logdir, `governor-${name}`);
  catchStrayErrors(log);
  const facts = { role: "governor", name, ...(file === undefined ? {} : { log: file }) } as const;
  const claim = (): Daemon => claimDaemon(instance, facts);
  const code = await runDaemon(claim, log, async (place, stopping) => {
    const workdir = flags.workdir === undefined ? join(instance.governorsDir, name) : resolve(flags.workdir);
    ensureDir(workdir);
    const capacity = withFlags(detectCapacity({ cpus: flags.cpus }), flags);
    const { labels } = flags;
    const governor = await startGovernor({
      serverUrl: url,
      key,
      clusterId,
      workdir,
      name,
      capacity,
      labels,
      executors,
      log,
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

/** Where the server is, and the governor's key. ADDRESS, when given, replaces the address of the access file. */
async function readAccess(
  context: Context,
  instance: Instance,
  address: Address | undefined,
): Promise<{ readonly url: string; readonly key: string; readonly clusterId: string }> {
  const { loadAccess } = await import("@rain/protocol/access");
  const path = requireAccessFile(context, instance);
  const access: Access = await loadAccess(path);
  const key = access.keys.governor;
  if (key === undefined)
    throw new CommandError(
      exitCodes.permission,
      `${path} holds no governor key: copy the access file from the server's machine`,
      { accessFile: path },
    );
  if (address !== undefined && !isLoopback(address.host))
    throw new CommandError(
      exitCodes.usage,
      `governor address ${formatAddress(address)}: this release reaches servers on this machine only, since traffic ` +
        "between machines must be encrypted and TLS is not there yet; use 127.0.0.1 (and an ssh tunnel)",
    );
  const url = address === undefined ? access.url : `http://${formatAddress(address)}`;
  return { url, key, clusterId: access.clusterId };
}

/** The machine's name, made fit for a path. */
const defaultName = (): string =>
  hostname()
    .replaceAll(/[^A-Za-z0-9._-]/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 64) || "governor";

function withFlags(detected: Resources, flags: GovernorFlags): Resources {
  return {
    cpus: detected.cpus,
    gpus: flags.gpus ?? detected.gpus,
    memory: flags.memory ?? detected.memory,
    named: { ...detected.named, ...flags.resources },
  };
}
