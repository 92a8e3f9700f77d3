import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Client, type ConnectOptions } from "@rain/client";
import { execa } from "execa";

const RAIN = resolve(import.meta.dirname, "../../packages/cli/bin/rain.mjs");

/** Starts a `rain` daemon; resolves when it ends, however it ends. */
export const launchRain = (args: readonly string[], env: Record<string, string>) =>
  execa("node", [RAIN, ...args], { env, reject: false, all: true });
type Daemon = ReturnType<typeof launchRain>;

/** Waits until `is` gives something; the test's own limit ends it otherwise. */
export async function until<T>(is: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  for (;;) {
    const value = await is();
    if (value !== undefined && value !== false) return value;
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** A real server and real governors, as processes of the built `rain` command, in a folder of their own. */
export class Cluster {
  readonly home: string;
  readonly #daemons = new Map<string, Daemon>();
  #port = 0;
  readonly #leaseS: number;
  /** What the server's journal may be limited to: see `ulimit -f`. */
  readonly #env: Record<string, string>;

  private constructor(home: string, leaseS: number) {
    this.home = home;
    this.#leaseS = leaseS;
    this.#env = { RAIN_HOME: home };
  }

  /** Starts a server and a governor for each number of cpus. */
  static async start(cpus: readonly number[], options: { leaseS?: number } = {}): Promise<Cluster> {
    const home = await mkdtemp(join(tmpdir(), "rain-e2e-"));
    const cluster = new Cluster(home, options.leaseS ?? 15);
    try {
      await cluster.startServer();
      await Promise.all(cpus.map((count, at) => cluster.startGovernor(`g${at}`, count)));
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** Port of the server. */
  get port(): number {
    return this.#port;
  }
  get accessFile(): string {
    return join(this.home, "default", "access.json");
  }
  get journalDir(): string {
    return join(this.home, "default", "journal");
  }

  /** Runs a `rain` command to its end. */
  async rain(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
    const { exitCode, stdout, stderr } = await execa("node", [RAIN, ...args], {
      env: this.#env,
      reject: false,
    });
    return { exitCode: exitCode ?? -1, stdout, stderr };
  }

  async startServer(): Promise<void> {
    const ready = join(this.home, "server.ready");
    await rm(ready, { force: true });
    await this.#launch("server", ready, [
      "server",
      "--listen",
      `127.0.0.1:${this.#port}`,
      "--lease",
      String(this.#leaseS),
      "--ready-file",
      ready,
    ]);
    const { url } = JSON.parse(await readFile(ready, "utf8")) as { url: string };
    this.#port = Number(new URL(url).port);
  }

  async startGovernor(name: string, cpus: number, more: readonly string[] = []): Promise<void> {
    const ready = join(this.home, `${name}.ready`);
    await rm(ready, { force: true });
    await this.#launch(name, ready, [
      "governor",
      "--name",
      name,
      "--cpus",
      String(cpus),
      "--workdir",
      join(this.home, "work", name),
      "--ready-file",
      ready,
      ...more,
    ]);
  }

  async #launch(name: string, ready: string, args: string[]): Promise<void> {
    const daemon = launchRain(args, this.#env);
    this.#daemons.set(name, daemon);
    let ended: string | undefined;
    void daemon.then((result) => (ended = `${name} ended with ${result.exitCode}:\n${result.all}`));
    await until(() => {
      if (ended !== undefined) throw new Error(ended);
      return existsSync(ready);
    });
  }

  /** `kill -9` of one process, and nothing else. */
  async kill(name: string): Promise<void> {
    const daemon = this.#daemons.get(name);
    daemon?.kill("SIGKILL");
    await daemon;
    this.#daemons.delete(name);
  }

  /** STOP, CONT, TERM: sent, and nothing awaited. */
  signal(name: string, signal: NodeJS.Signals): void {
    this.#daemons.get(name)?.kill(signal);
  }

  /** What a daemon that ended printed, and how it ended. */
  async ended(name: string): Promise<{ exitCode: number | undefined; output: string }> {
    const result = await this.#daemons.get(name);
    return { exitCode: result?.exitCode, output: result?.all ?? "" };
  }

  connect(options: Pick<ConnectOptions, "reconnectS"> = {}): Promise<Client> {
    return Client.connect({ accessFile: this.accessFile, ...options });
  }

  /** Ends everything and removes the folder. */
  async stop(): Promise<void> {
    // Governors first, so that they end their programs themselves.
    for (const [name, daemon] of [...this.#daemons].toReversed()) {
      daemon.kill("SIGCONT");
      daemon.kill("SIGTERM", new Error(`stopping ${name}`));
      await daemon;
    }
    await rm(this.home, { recursive: true, force: true });
  }
}
