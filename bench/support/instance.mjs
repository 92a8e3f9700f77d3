import { spawn } from "node:child_process";
import { existsSync, mkdirSync, openSync, closeSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const rain = fileURLToPath(new URL("../../packages/cli/bin/rain.mjs", import.meta.url));
const ballast = new URL("./ballast.mjs", import.meta.url).href;
const memoryProbe = new URL("./memory-probe.mjs", import.meta.url).href;

/**
 * A process of an instance under test.
 * @typedef {object} Daemon
 * @property {import("node:child_process").ChildProcess} child
 * @property {number} pid
 * @property {(signal?: NodeJS.Signals) => Promise<void>} stop ends it and waits for its end
 */

/** A private instance: real server and governor processes, all they write in a folder of their own. */
export class Instance {
  /**
   * @param {string} home an empty folder
   * @param {(error: Error) => void} onDeath told when a daemon ends that nobody stopped
   */
  constructor(home, onDeath) {
    this.home = home;
    this.onDeath = onDeath;
    this.accessFile = join(home, "bench", "access.json");
    /** @type {Daemon[]} */
    this.daemons = [];
    this.started = 0;
  }

  /**
   * Starts a server on a free port, or starts it again. With `probe` it answers `readHeap`.
   * @param {{ probe?: boolean }} [options]
   */
  startServer({ probe = false } = {}) {
    const node = probe ? ["--expose-gc", "--import", memoryProbe] : [];
    return this.#start("server", node, ["server", "--listen", "127.0.0.1:0"], probe);
  }

  /**
   * Starts a governor of this instance's server; it is registered when this resolves.
   * @param {{ cpus?: number, labels?: Record<string, string>, heap?: number, zero?: boolean }} [options] default:
   *   the cpus of this machine; `heap` bytes are in use in its heap from the start; `zero` runs nothing
   */
  startGovernor({ cpus, labels = {}, heap = 0, zero = false } = {}) {
    const name = `g${this.started}`;
    const offer = cpus === undefined ? [] : ["--cpus", String(cpus)];
    for (const [label, value] of Object.entries(labels)) offer.push("--label", `${label}=${value}`);
    if (zero) offer.push("--zero");
    const node = heap > 0 ? [`--max-old-space-size=${2 * (heap / 2 ** 20) + 1024}`, "--import", ballast] : [];
    return this.#start(name, node, ["governor", "--name", name, ...offer], false, {
      BENCH_HEAP: String(heap),
    });
  }

  /** A client of this instance. */
  async connect() {
    const { Client } = await import("@rain/client");
    return await Client.connect({ accessFile: this.accessFile });
  }

  /** Governors first: they report to the server that they leave. */
  async stop() {
    for (const daemon of this.daemons.toReversed()) await daemon.stop();
  }

  /**
   * @param {string} name
   * @param {readonly string[]} node
   * @param {readonly string[]} args
   * @param {boolean} channel
   * @param {Readonly<Record<string, string>>} [env]
   * @returns {Promise<Daemon>}
   */
  async #start(name, node, args, channel, env = {}) {
    this.started += 1;
    mkdirSync(this.home, { recursive: true, mode: 0o700 });
    const readyFile = join(this.home, `ready-${this.started}`);
    const logFile = join(this.home, `${name}.txt`);
    // As `rain start` has it for its daemons.
    const { daemonNode } = await import("@rain/cli/daemon-node");
    const daemons = await daemonNode();
    const log = openSync(logFile, "a", 0o600);
    const child = spawn(
      process.execPath,
      [...daemons.flags, ...node, rain, "--instance", "bench", ...args, "--ready-file", readyFile],
      {
        cwd: this.home,
        env: { ...process.env, ...daemons.env, ...env, RAIN_HOME: this.home },
        stdio: ["ignore", log, log, channel ? "ipc" : "ignore"],
      },
    );
    closeSync(log);
    await new Promise((resolve, reject) => {
      child.once("spawn", () => resolve(undefined));
      child.once("error", reject);
    });
    /** @type {Daemon} */
    const daemon = {
      child,
      pid: child.pid ?? 0,
      stop: async (signal = "SIGTERM") => {
        this.daemons = this.daemons.filter((other) => other !== daemon);
        await end(child, signal);
      },
    };
    this.daemons.push(daemon);
    const lastWords = () => readFileSync(logFile, "utf8").slice(-2000);
    child.once("exit", (code, signal) => {
      if (!this.daemons.includes(daemon)) return;
      this.onDeath(new Error(`${name} ended (${signal ?? code}) and nobody stopped it:\n${lastWords()}`));
    });
    while (!existsSync(readyFile)) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`${name} ended before it was ready:\n${lastWords()}`);
      await sleep(2);
    }
    rmSync(readyFile, { force: true });
    return daemon;
  }
}

/**
 * @param {import("node:child_process").ChildProcess} child
 * @param {NodeJS.Signals} signal
 */
async function end(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
  child.kill(signal);
  await ended;
  clearTimeout(late);
}

/**
 * The heap of a server that was started with `probe`, after a collection of garbage.
 * @param {Daemon} server
 * @returns {Promise<NodeJS.MemoryUsage>}
 */
export const readHeap = async (server) => /** @type {NodeJS.MemoryUsage} */ (await ask(server, "memory"));

/**
 * Of a server that was started with `probe`, since it was asked last: the longest pause of its event loop, and the time
 * that it waited for a cpu which others had; milliseconds.
 * @param {Daemon} server
 */
export const askDelay = async (server) =>
  /** @type {{ worstMs: number, waitedMs: number }} */ (await ask(server, "delay"));

/**
 * @param {Daemon} server
 * @param {string} what
 */
async function ask({ child }, what) {
  return await new Promise((resolve, reject) => {
    const onExit = () => reject(new Error("the server ended while it was asked"));
    child.once("message", (answer) => {
      child.off("exit", onExit);
      resolve(answer);
    });
    child.once("exit", onExit);
    child.send(what);
  });
}
