import { rmSync } from "node:fs";
import { resolve } from "node:path";
import { setFlagsFromString } from "node:v8";
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
 * V8 optimizes a function once it has run through so many bytes of its code: 4,000 instead of 67,584. A daemon at rest runs
 * every function a few times for each task, and would interpret most of them for its first thousands of tasks. Throughput
 * stays what it is (docs/performance.md). From V8 12 on (Node 22) it counts calls instead, and
 * would complain of the flag in the log.
 */
const OPTIMIZE_SOON = Number.parseInt(process.versions.v8, 10) < 12 ? "--interrupt-budget=4000" : undefined;

/**
 * Does the work of a daemon, which takes its place in run/ and gives it back at the end. The first SIGINT, SIGTERM or SIGHUP fires
 * `stopping`, also while the service still starts; a second one ends the process at once. An error goes to the log file
 * too.
 */
export async function runDaemon(
  claim: () => Daemon,
  log: Log,
  work: (place: Daemon, stopping: AbortSignal) => Promise<number>,
): Promise<number> {
  if (OPTIMIZE_SOON !== undefined) setFlagsFromString(OPTIMIZE_SOON);
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    const again = stop.signal.aborted;
    log("info", again ? `${name} while stopping: ending at once` : `stopping (${name})`);
    if (again) process.exit(name === "SIGINT" ? 130 : 143);
    stop.abort();
  };
  for (const name of stopSignals) process.on(name, onSignal);
  let place: Daemon | undefined;
  try {
    place = claim(); // whoever reads of us there may send a signal at once
    return await work(place, stop.signal);
  } catch (error) {
    if (place?.log !== undefined) log("error", error instanceof Error ? error.message : String(error));
    throw error;
  } finally {
    for (const name of stopSignals) process.off(name, onSignal);
    if (place !== undefined) removeDaemon(place);
  }
}

/**
 * Runs a service to its end: resolves with the exit code. `ready` may take its time; the service may end before, and
 * is stopped when it throws.
 */
export async function runService(
  service: Service,
  parts: {
    readonly log: Log;
    readonly stopping: AbortSignal;
    readonly ready: () => Promise<{ readonly url: string }>;
    readonly readyFile?: string;
  },
): Promise<number> {
  const { log, stopping } = parts;
  const readyFile = parts.readyFile === undefined ? undefined : resolve(parts.readyFile);
  let failure: unknown;
  let stopFailed: (reason: unknown) => void = () => undefined;
  const stopFailure = new Promise<never>((_, reject) => {
    stopFailed = reject;
  });
  const stop = (): void => void service.stop().catch(stopFailed);
  if (stopping.aborted) stop();
  else stopping.addEventListener("abort", stop, { once: true });
  try {
    announce(parts.ready, readyFile).catch((error: unknown) => {
      if (stopping.aborted) return; // it will not get ready any more, as was asked
      failure = error;
      stop();
    });
    const { code, reason } = await Promise.race([service.exited, stopFailure]);
    if (failure !== undefined) throw failure;
    log(code === 0 ? "info" : "error", `ended: ${reason}`);
    return code;
  } finally {
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
