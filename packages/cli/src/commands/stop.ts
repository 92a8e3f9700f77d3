import { rmSync } from "node:fs";
import { resolve } from "node:path";
import { listRemotes, stopRemote, type StoppedRemote } from "../cluster/remote.ts";
import { instanceOf, type Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import { listDaemons, removeDaemon, removeStale, type Daemon } from "../instance.ts";
import { print } from "../output.ts";
import { terminate, waitGone, type Ending } from "../processes.ts";

export interface StopFlags {
  /** Seconds for each of: the request to the server, and SIGTERM. */
  readonly grace: number;
  /** The server told the governors to stop already: they have the grace before they get a signal. */
  readonly asked?: boolean;
  /** Remove the access file too: it is a copy for governors. */
  readonly forgetAccess?: boolean;
}

interface Stopped {
  readonly role: Daemon["role"];
  readonly name: string;
  readonly pid: number;
  readonly how: Ending;
}
interface StoppedHost {
  readonly role: "governor";
  readonly name: string;
  readonly host: string;
}

/** `rain stop`: ends the server and every governor of the instance on this machine. */
export async function run(context: Context, flags: StopFlags): Promise<number> {
  if (context.globals.accessFile !== undefined)
    return stopByRequest(context, resolve(context.globals.accessFile), flags);
  const instance = await instanceOf(context);
  const { alive } = listDaemons(instance);
  const graceMs = flags.grace * 1_000;
  const asked = flags.asked === true || (await ask(context, alive, instance.accessFile, graceMs));
  const remotes = Promise.all(
    listRemotes(instance).map((remote) => stopRemote(instance, remote, flags.grace, asked)),
  );
  const rest = asked ? await waitGone(alive, graceMs) : alive;
  const { terminated, killed, left } = await terminate(rest, graceMs);

  const how = (one: Daemon): Ending =>
    killed.includes(one) ? "killed" : terminated.includes(one) ? "terminated" : "asked";
  const gone = alive.filter((one) => !left.includes(one));
  for (const one of gone) removeDaemon(one);
  removeStale(instance);
  const stopped = gone.map((one): Stopped => ({
    role: one.role,
    name: one.name,
    pid: one.pid,
    how: how(one),
  }));
  const ended = await remotes;
  const hosts = ended
    .filter(({ problem }) => problem === undefined)
    .map(({ name, address }): StoppedHost => ({ role: "governor", name, host: address }));
  if (flags.forgetAccess === true) rmSync(instance.accessFile, { force: true });
  print(
    context.io,
    context.globals.output,
    { instance: instance.name, stopped: [...stopped, ...hosts] },
    () => {
      const lines = [
        ...stopped.map(line),
        ...hosts.map(({ name, host }) => `stopped governor ${name} (on ${host})`),
      ];
      return lines.length === 0 ? `nothing of instance ${instance.name} is running` : lines.join("\n");
    },
  );
  refuseUnreached(ended);
  if (left.length > 0)
    throw new CommandError(
      exitCodes.failed,
      `${left.map((one) => `${one.name} (pid ${one.pid})`).join(", ")} did not end, not even by SIGKILL: the system ` +
        "holds it, often in an access to a disk or network drive that does not answer",
    );
  return exitCodes.ok;
}

function refuseUnreached(ended: readonly StoppedRemote[]): void {
  const lost = ended.filter(({ problem }) => problem !== undefined);
  if (lost.length === 0) return;
  const lines = lost.map(({ name, address, problem }) => `governor ${name} on ${address}: ${problem}`);
  throw new CommandError(
    exitCodes.failed,
    `not known to have ended: ${lines.join("; ")}. Run rain stop again when its machine can be reached`,
  );
}

const line = ({ role, name, pid, how }: Stopped): string => {
  const note = how === "killed" ? ", killed: it did not end in time" : "";
  return `stopped ${role === "server" ? "server" : `governor ${name}`} (pid ${pid}${note})`;
};

/** Asks the server to stop with its governors. False when none answers: the signals follow then. */
async function ask(
  context: Context,
  alive: readonly Daemon[],
  accessFile: string,
  timeoutMs: number,
): Promise<boolean> {
  if (!alive.some((one) => one.url !== undefined)) return false; // none, or one that does not listen yet
  try {
    await requestStop(accessFile, timeoutMs);
    return true;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    context.io.stderr(`rain: the server does not take the request to stop (${why}); it gets a signal\n`);
    return false;
  }
}

async function requestStop(accessFile: string, timeoutMs: number): Promise<void> {
  const { Client } = await import("@rain/client");
  const client = await Client.connect({ accessFile, timeoutS: timeoutMs / 1_000, reconnectS: 0 });
  try {
    await withLimit(client.stopServer({ governors: true }), timeoutMs, "the request");
  } finally {
    // A server that hangs does not answer the goodbye either.
    await withLimit(client.close(), 2_000, "closing the connection");
  }
}

async function withLimit<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new CommandError(exitCodes.unavailable, `${what} took more than ${timeoutMs / 1_000} s`));
    }, timeoutMs);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

/** With --access-file the server may be anywhere: only the request can reach it. */
async function stopByRequest(context: Context, accessFile: string, flags: StopFlags): Promise<number> {
  await requestStop(accessFile, flags.grace * 1_000);
  print(
    context.io,
    context.globals.output,
    { accessFile, stopped: [] },
    () => `the server of ${accessFile} is stopping`,
  );
  return exitCodes.ok;
}
