import { randomInt } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { loadAccess, splitAccess } from "@rain/protocol/access";
import { z } from "zod";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import { writeWhole, type Instance } from "../instance.ts";
import type { Host } from "./hosts.ts";
import {
  closeConnection,
  forwardBack,
  freePort,
  openConnection,
  quote,
  remoteShell,
  type Answer,
  type Target,
} from "./ssh.ts";

/** Governors on other machines: started and stopped over ssh, with everything on loopback at both ends. */

export interface RemoteOptions {
  /** Options for `ssh -o`. */
  readonly sshOptions: readonly string[];
  /** How `rain` is started there: a beginning of a shell line. */
  readonly runPrefix: string;
  /** A line of shell that comes before it. */
  readonly init?: string;
}

/** What is written down of a remote governor, in run/remote-NAME.json, so that it can be ended. */
export interface Remote extends RemoteOptions {
  readonly name: string;
  readonly address: string;
  readonly port?: number | undefined;
  /** Socket of the ssh connection. */
  readonly control: string;
  /** Name of its instance over there. */
  readonly instance: string;
}
const remoteSchema = z.object({
  name: z.string(),
  address: z.string(),
  port: z.int().optional(),
  sshOptions: z.array(z.string()),
  runPrefix: z.string(),
  init: z.string().optional(),
  control: z.string(),
  instance: z.string(),
});

export interface StartedRemote {
  readonly name: string;
  readonly address: string;
  /** Process number and log over there. */
  readonly pid: number;
  readonly log: string;
}
const startedSchema = z.object({ pid: z.int(), log: z.string() });

/** A path of a socket may have 108 bytes, of which ssh needs some itself. */
const MAX_CONTROL = 85;
const TRIES = 3;
/** Below the range from which systems take ports for outgoing connections. */
const DATA_PORTS = [20_000, 32_000] as const;

const recordFile = (instance: Instance, name: string): string => join(instance.runDir, `remote-${name}.json`);
const targetOf = ({ address, port, sshOptions }: Remote): Target => ({
  address,
  options: sshOptions,
  ...(port === undefined ? {} : { port }),
});

/** Remote governors of this instance. */
export function listRemotes(instance: Instance): readonly Remote[] {
  if (!existsSync(instance.runDir)) return [];
  const names = readdirSync(instance.runDir).filter((name) => /^remote-.+\.json$/.test(name));
  return names.toSorted().map((name) => {
    const file = join(instance.runDir, name);
    const parsed = remoteSchema.safeParse(JSON.parse(readFileSync(file, "utf8")));
    if (parsed.success) return parsed.data as Remote;
    throw new CommandError(
      exitCodes.data,
      `${file} is damaged: remove it, and end that governor on its machine`,
    );
  });
}

/**
 * Starts a governor on a host and waits until it is registered. It is written down before anything is started there.
 * Throws (exit code 1) with what was said there.
 */
export async function startRemote(
  parts: { readonly instance: Instance; readonly serverUrl: string; readonly logDir: string },
  host: Host,
  options: RemoteOptions,
  signal: AbortSignal,
): Promise<StartedRemote> {
  const { instance } = parts;
  const access = splitAccess(await loadAccess(instance.accessFile), ["governor"]);
  const remote: Remote = {
    ...options,
    name: host.name,
    address: host.address,
    ...(host.port === undefined ? {} : { port: host.port }),
    control: controlPath(instance, host.name),
    instance: `${access.clusterId.replaceAll(/[^A-Za-z0-9]/g, "").slice(0, 12)}.${host.name}`.slice(0, 64),
  };
  writeWhole(recordFile(instance, host.name), `${JSON.stringify(remote)}\n`);
  const target = targetOf(remote);
  const server = new URL(parts.serverUrl).host;
  for (let attempt = 1; ; attempt += 1) {
    signal.throwIfAborted();
    const tunnel = { local: await freePort(), remote: randomInt(...DATA_PORTS) };
    try {
      await openConnection(
        target,
        remote.control,
        join(parts.logDir, `ssh-${host.name}.log`),
        tunnel,
        signal,
      );
    } catch (error) {
      rmSync(recordFile(instance, host.name), { force: true }); // nothing of ours is there
      throw error;
    }
    signal.throwIfAborted();
    const back = await forwardBack(target, remote.control, server);
    const line = shellLine(remote, governorWords(host, server, tunnel));
    const text = JSON.stringify({
      ...access,
      url: `${new URL(parts.serverUrl).protocol}//127.0.0.1:${back}`,
    });
    const answer = await remoteShell(target, remote.control, line, { input: text, signal });
    if (answer.code === 0) return { name: host.name, address: host.address, ...readStarted(host, answer) };
    await closeConnection(target, remote.control);
    // Somebody over there has the port that was chosen for the governor's data.
    if (attempt < TRIES && answer.err.includes("EADDRINUSE")) continue;
    throw failed(host, answer);
  }
}

function controlPath(instance: Instance, name: string): string {
  const usual = join(instance.runDir, `ssh-${name}`);
  return usual.length <= MAX_CONTROL ? usual : join(mkdtempSync(join(tmpdir(), "rain-ssh-")), "control");
}

function governorWords(
  host: Host,
  server: string,
  tunnel: { readonly local: number; readonly remote: number },
): string[] {
  const option = (name: string, value: string | number | undefined): string[] =>
    value === undefined ? [] : [`--${name}=${value}`];
  return [
    "governor",
    "--background",
    "--access-stdin",
    ...option("name", host.name),
    ...option("tunnel-to", server),
    ...option("data-port", tunnel.remote),
    ...option("data-url", `http://127.0.0.1:${tunnel.local}`),
    ...option("config", host.config),
    ...option("cpus", host.cpus),
    ...option("gpus", host.gpus),
    ...option("memory", host.memory),
    ...option("on-lost", host.onLost),
    ...option("workdir", host.workdir),
    ...Object.entries(host.labels).flatMap(([key, value]) => option("label", `${key}=${value}`)),
    ...Object.entries(host.resources).flatMap(([key, value]) => option("resource", `${key}=${value}`)),
  ];
}

/** `--remote-init`, then `rain` as the user starts it there. Every word of ours is quoted. */
function shellLine({ init, runPrefix, instance }: Remote, words: readonly string[]): string {
  const command = `${runPrefix} --instance=${quote(instance)} -o json ${words.map(quote).join(" ")}`;
  return init === undefined ? command : `{ ${init}\n} >&2 && ${command}`;
}

function readStarted(host: Host, answer: Answer): z.infer<typeof startedSchema> {
  const parsed = startedSchema.safeParse(parseJson(answer.out));
  if (parsed.success) return parsed.data;
  throw failed(host, answer);
}

/** What was written before the JSON is a greeting of the login shell. */
function parseJson(text: string): unknown {
  const from = text.startsWith("{") ? 0 : text.indexOf("\n{") + 1;
  try {
    return JSON.parse(text.slice(from));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function failed(host: Host, { code, out, err }: Answer): CommandError {
  const said =
    messageOf(err) ?? ([err.trim(), out.trim()].filter((text) => text !== "").join("\n") || "(nothing)");
  const hint = code === 127 ? " Is rain installed there? See --runprefix and --remote-init." : "";
  return new CommandError(
    exitCodes.failed,
    `governor ${host.name} on ${host.address} did not start (code ${code}):${hint}\n${said}`,
    { host: host.address, name: host.name },
  );
}

/** The message of a `rain` that was asked for JSON, with what else it wrote. */
function messageOf(err: string): string | undefined {
  const at = err.lastIndexOf('{"error":');
  if (at < 0) return undefined;
  const parsed = z.object({ error: z.object({ message: z.string() }) }).safeParse(parseJson(err.slice(at)));
  return parsed.success ? parsed.data.error.message : undefined;
}

export interface StoppedRemote {
  readonly name: string;
  readonly address: string;
  /** Why it is not certain that the governor ended; undefined when it did. */
  readonly problem: string | undefined;
}

/**
 * Ends a remote governor, its key's copy and the connection. `asked`: the server told it to stop, so it has the grace
 * before it gets a signal.
 */
export async function stopRemote(
  instance: Instance,
  remote: Remote,
  graceS: number,
  asked: boolean,
): Promise<StoppedRemote> {
  const target = targetOf(remote);
  const words = ["stop", "--forget-access", `--grace=${graceS}`, ...(asked ? ["--asked"] : [])];
  const line = shellLine(remote, words);
  const answer = await answerWithin(3 * graceS + STOP_EXTRA_S, (signal) =>
    remoteShell(target, remote.control, line, { signal }),
  );
  await closeConnection(target, remote.control);
  const { name, address } = remote;
  if (answer === undefined) return { name, address, problem: "it did not answer in time" };
  if (answer.code !== 0) {
    const said = messageOf(answer.err) ?? (answer.err.trim() || `code ${answer.code}`);
    return { name, address, problem: said };
  }
  rmSync(recordFile(instance, name), { force: true });
  if (!remote.control.startsWith(instance.runDir))
    rmSync(dirname(remote.control), { recursive: true, force: true });
  return { name, address, problem: undefined };
}

/** Time for a `rain stop` over there beside its graces: for the connection, `--remote-init` and its start. */
const STOP_EXTRA_S = 45;

/** Undefined when there is no answer in time. */
async function answerWithin(
  seconds: number,
  ask: (signal: AbortSignal) => Promise<Answer>,
): Promise<Answer | undefined> {
  const signal = AbortSignal.timeout(seconds * 1_000);
  try {
    return await ask(signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    return undefined;
  }
}
