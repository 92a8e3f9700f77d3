import { rmSync } from "node:fs";
import { resolve } from "node:path";
import { exitCodes } from "./exit-codes.ts";
import { removeDaemon, writeWhole, type Daemon } from "./instance.ts";
import type { Log } from "./logging.ts";

/** A server or governor that runs in this process. */
export interface Service {
  stop(): Promise<void>;
  readonly exited: Promise<{ readonly code: number; readonly reason: string }>;
}

const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs a service to its end: resolves with the exit code. The first SIGINT, SIGTERM or SIGHUP stops it gracefully, a
 * second one ends the process at once. `ready` may take its time; the service may end before.
 */
export async function runService(
  service: Service,
  parts: {
    readonly daemon: Daemon;
    readonly log: Log;
    readonly ready: () => Promise<{ readonly url: string }>;
    readonly readyFile?: string;
  },
): Promise<number> {
  const { daemon, log } = parts;
  let stopping = false;
  let stopFailed: ((reason: unknown) => void) | undefined;
  const stopProblem = new Promise<never>((_, reject) => {
    stopFailed = reject;
  });
  const onSignal = (name: NodeJS.Signals): void => {
    if (stopping) {
      log("warn", `${name} again: ending at once`);
      process.exit(name === "SIGINT" ? 130 : 143);
    }
    stopping = true;
    log("info", `stopping (${name})`);
    service.stop().catch((error: unknown) => stopFailed?.(error));
  };
  for (const name of stopSignals) process.on(name, onSignal);
  const readyFile = parts.readyFile === undefined ? undefined : resolve(parts.readyFile);
  try {
    const readiness = announce(parts.ready, readyFile).catch(async (error: unknown) => {
      if (stopping) return; // not ready any more, and asked not to be
      await service.stop();
      throw error;
    });
    const { code, reason } = await Promise.race([
      stopProblem,
      readiness.then(() => service.exited),
      // What ends before it is ready says why by its readiness: leave that the time to say it.
      service.exited.then(async (end) => {
        await Promise.race([readiness, new Promise((done) => setImmediate(done))]);
        return end;
      }),
    ]);
    log(code === 0 ? "info" : "error", `ended: ${reason}`);
    return code;
  } catch (error) {
    if (daemon.log !== undefined) log("error", error instanceof Error ? error.message : String(error));
    throw error;
  } finally {
    for (const name of stopSignals) process.off(name, onSignal);
    removeDaemon(daemon);
    if (readyFile !== undefined) rmSync(readyFile, { force: true });
  }
}

/** Writes the ready file, `{url, pid}` as JSON, once the service is ready. */
async function announce(
  ready: () => Promise<{ readonly url: string }>,
  file: string | undefined,
): Promise<void> {
  const { url } = await ready();
  if (file !== undefined) writeWhole(file, `${JSON.stringify({ url, pid: process.pid })}\n`);
}

/** In a daemon, an error that nobody caught is logged and ends the process with code 70: what was promised is on disk. */
export function catchStrayErrors(log: Log): void {
  const onStray = (error: unknown): void => {
    log("error", `unexpected: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    process.exit(exitCodes.internal);
  };
  process.on("uncaughtException", onStray);
  process.on("unhandledRejection", onStray);
}

/** After a daemon's end nothing may hold the process: says so and ends it when something does. */
export function leaveSoon(code: number, log: Log): void {
  setTimeout(() => {
    log("warn", `still open after the end: ${process.getActiveResourcesInfo().join(", ")}`);
    process.exit(code);
  }, 5_000).unref();
}
