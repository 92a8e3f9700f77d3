import type { Client, GovernorInfo } from "@rain/client";
import { nearMisses, oneOf } from "@rain/sweep";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { instanceOf, type Context, type Globals } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import { openInstance, runningServer } from "../instance.ts";
import { formatBytes } from "../output.ts";
import type { RunSettings } from "./flags.ts";

/** The server that a run goes to, and whether its governors can run it. */

/** `--credential NAME`: an instance of this machine, or an access file. */
export async function withCredential(context: Context, credential: string | undefined): Promise<Context> {
  if (credential === undefined) return context;
  const { instance, accessFile } = context.globals;
  // What is named on this command line is meant, whatever a file says.
  if (instance !== undefined || accessFile !== undefined) return context;
  const globals = (more: Partial<Globals>): Context => ({
    ...context,
    globals: { ...context.globals, ...more },
  });
  if (credential.includes("/") || credential.endsWith(".json")) {
    if (existsSync(credential)) return globals({ accessFile: resolve(credential) });
    throw usageError(`--credential: there is no access file ${credential}`);
  }
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(credential)) {
    const { accessFile: path } = await openInstance(credential);
    if (existsSync(path)) return globals({ instance: credential });
    throw usageError(
      `--credential ${JSON.stringify(credential)}: there is no ${path}: name an instance of this machine that has one, or an ` +
        "access file by its path",
    );
  }
  throw usageError(`--credential ${JSON.stringify(credential)}: write the name of an instance, or a path`);
}

const isTold = ({ globals, env }: Context): boolean =>
  globals.accessFile !== undefined ||
  (globals.instance === undefined && (env["RAIN_ACCESS_FILE"] ?? "") !== "");

/**
 * Sees to a server. When this machine's instance has none, `--local` starts one with a governor, and on a terminal the
 * user is asked.
 */
export async function ensureServer(context: Context, local: boolean): Promise<void> {
  if (isTold(context)) {
    if (local) throw usageError("--local starts a server of this machine; an access file names another one");
    return;
  }
  const instance = await instanceOf(context);
  if (runningServer(instance) !== undefined) return;
  // The access file of a server elsewhere was copied here: that one is meant.
  if (!local && existsSync(instance.accessFile) && !(await isOfThisMachine(instance.accessFile))) return;
  if (
    !local &&
    (await context.io.ask?.("No server is running. Start one here (rain start --simple)?")) !== true
  )
    throw new CommandError(
      exitCodes.unavailable,
      `no server is running (instance ${instance.name}): start one with "rain start --simple", or let "rain run --local" do ` +
        "it; --access-file names the access file of a server elsewhere",
      { instance: instance.name, accessFile: instance.accessFile },
    );
  const { run } = await import("../commands/start.ts");
  const { io } = context;
  await run(
    // Its report is no result of this command.
    { ...context, io: { ...io, stdout: io.stderr }, globals: { ...context.globals, output: "plain" } },
    {
      simple: true,
      runprefix: "rain",
      sshOption: [],
      hostName: [],
      reserveCpu: false,
      listen: { host: "127.0.0.1", port: local ? 0 : 7210 },
      timeout: 120,
    },
  );
}

async function isOfThisMachine(accessFile: string): Promise<boolean> {
  const { loadAccess } = await import("@rain/protocol/access");
  const { url } = await loadAccess(accessFile);
  return ["localhost", "127.0.0.1", "[::1]"].includes(new URL(url).hostname);
}

/** What the governors of the server cannot give. None of it is an error: governors come and go. */
export async function clusterWarnings(client: Client, settings: RunSettings): Promise<ClusterView> {
  const governors = (await client.serverInfo()).governors.filter(
    ({ state, draining }) => state === "connected" && draining !== true,
  );
  const hasDisk = governors.some(({ resources }) => resources.named["disk"] !== undefined);
  const wait = "the trials wait for one that has";
  const warnings: string[] = [];
  if (governors.length === 0)
    return { warnings: ["no governor is connected: the trials wait for one"], hasDisk };
  const { cpus = 1, gpus = 0, memory = 0, diskSize, instanceType, framework } = settings;
  const can = (is: (governor: GovernorInfo) => boolean): boolean => governors.some(is);
  const lacks = (what: string): void => void warnings.push(`no governor has ${what}: ${wait}`);
  if (!can(({ resources }) => resources.cpus >= cpus)) lacks(`${cpus} cpus`);
  if (!can(({ resources }) => resources.gpus >= gpus)) lacks(`${gpus} gpus`);
  if (!can(({ resources }) => resources.memory >= memory)) lacks(`${formatBytes(memory)} of memory`);
  if (instanceType !== undefined && !can(({ labels }) => labels["instance_type"] === instanceType))
    lacks(`the label instance_type=${instanceType}`);
  if (framework !== undefined && !can(({ environments = [] }) => environments.includes(framework)))
    lacks(`the environment ${framework}${others(framework, governors)}`);
  if (diskSize !== undefined && !hasDisk)
    warnings.push(
      `--disk_size ${diskSize}: no governor says how much disk it has (rain governor --resource disk=N, in gigabytes), so ` +
        "nothing is held to it",
    );
  return { warnings, hasDisk };
}

export interface ClusterView {
  readonly warnings: readonly string[];
  /** Some governor declares the resource `disk`. */
  readonly hasDisk: boolean;
}

function others(name: string, governors: readonly GovernorInfo[]): string {
  const names = [...new Set(governors.flatMap(({ environments = [] }) => environments))];
  const near = nearMisses(name, names);
  if (near.length > 0) return ` (did you mean ${oneOf(near)}?)`;
  return names.length > 0 ? ` (there are ${names.join(", ")})` : "";
}
