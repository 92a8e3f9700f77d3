import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { daemonNode } from "./daemon-node.ts";
import { CommandError } from "./failure.ts";
import { exitCodes } from "./exit-codes.ts";
import type { Instance } from "./instance.ts";
import { identify, isAlive, terminate, type ProcessIdentity } from "./processes.ts";

/** A daemon that `rain start` made, until it is ready. */
export interface Launched {
  readonly name: string;
  /** Settles when it ends. */
  readonly end: Promise<End>;
  /** From now on this process does not wait for its end. */
  readonly letGo: () => void;
  readonly identity: ProcessIdentity;
  readonly log: string;
  /** Length of the log before this start, bytes. */
  readonly logStart: number;
  readonly readyFile: string;
}

interface End {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

const rain = fileURLToPath(new URL("../bin/rain.mjs", import.meta.url));

/**
 * Starts `rain ARGS --ready-file ...` as a daemon: a session of its own, its output in the log, nothing of this
 * process held open, so that neither a terminal nor a program that waits for our output waits for it.
 */
export async function launch(
  instance: Instance,
  name: string,
  log: string,
  args: readonly string[],
): Promise<Launched> {
  const readyFile = join(instance.runDir, `.ready-${name}-${process.pid}.json`);
  rmSync(readyFile, { force: true });
  const node = await daemonNode();
  const fd = openSync(log, "a", 0o600);
  const logStart = statSync(log).size;
  try {
    // Not execa, which takes no file that is open already: the log must not pass through this process.
    const child = spawn(process.execPath, [...node.flags, rain, ...args, "--ready-file", readyFile], {
      cwd: instance.dir,
      detached: true,
      stdio: ["ignore", fd, fd],
      env: { ...node.env, ...process.env },
    });
    const end = new Promise<End>((resolve) => {
      child.once("exit", (exitCode, signal) => resolve({ exitCode, signal }));
    });
    await once(child, "spawn"); // throws when it cannot be started
    const pid = child.pid ?? 0;
    const identity = identify(pid) ?? { pid, startTime: "", bootId: "" };
    return { name, end, letGo: () => child.unref(), identity, log, logStart, readyFile };
  } finally {
    closeSync(fd);
  }
}

/**
 * Waits until the daemon has written its ready file, which is removed. Throws when it ends before, when the time is
 * over (`deadline` by performance.now()) or when `signal` fires; the message ends with what it wrote to its log.
 */
export async function waitReady(
  daemon: Launched,
  options: {
    readonly deadline: number;
    readonly signal: AbortSignal;
    readonly waiting: (seconds: number) => void;
  },
): Promise<{ readonly url: string }> {
  const begin = performance.now();
  for (let told = begin; ;) {
    // Looked at before the file: one that ended just after it was ready has no file, and is not ready.
    const ended = !isAlive(daemon.identity);
    if (existsSync(daemon.readyFile)) break;
    if (ended) throw await endedEarly(daemon);
    options.signal.throwIfAborted();
    const now = performance.now();
    if (now > options.deadline)
      throw new CommandError(
        exitCodes.failed,
        `${daemon.name} is not ready after ${Math.round((now - begin) / 1000)} s (--timeout); its log ${daemon.log} ` +
          `ends with:\n${logTail(daemon)}`,
        { name: daemon.name, log: daemon.log },
      );
    if (now - told > 5_000) {
      told = now;
      options.waiting(Math.round((now - begin) / 1000));
    }
    await sleep(25);
  }
  const { url } = JSON.parse(readFileSync(daemon.readyFile, "utf8")) as { url: string };
  rmSync(daemon.readyFile, { force: true });
  daemon.letGo();
  return { url };
}

async function endedEarly(daemon: Launched): Promise<CommandError> {
  const { exitCode, signal } = await daemon.end; // the kernel knew of it before Node does
  const how = signal === null ? `with exit code ${exitCode}` : `by ${signal}`;
  return new CommandError(
    exitCode === null || exitCode === 0 ? exitCodes.failed : exitCode,
    `${daemon.name} ended ${how} before it was ready; its log ${daemon.log} ends with:\n${logTail(daemon)}`,
    { name: daemon.name, log: daemon.log },
  );
}

const tailLines = 20;
/** Last lines that this start wrote to the log. */
function logTail(daemon: Launched): string {
  const text = readFileSync(daemon.log).subarray(daemon.logStart).toString("utf8").trimEnd();
  if (text === "") return "    (nothing)";
  return text
    .split("\n")
    .slice(-tailLines)
    .map((line) => `    ${line}`)
    .join("\n");
}

/** Ends what was started, governors before the server, after a start that failed. */
export async function undo(launched: readonly Launched[]): Promise<void> {
  for (const daemons of [launched.filter((one) => one.name !== "server"), launched]) {
    await terminate(
      daemons.map((one) => one.identity),
      10_000,
    );
  }
  for (const one of launched) rmSync(one.readyFile, { force: true });
}
