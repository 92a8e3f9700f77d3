import { execFile, spawn, type ChildProcess } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { listDaemons, type Daemon, type Instance } from "../../packages/cli/src/instance.ts";
import { terminate } from "../../packages/cli/src/processes.ts";

/** The built `rain` command in a home of its own. */
const bin = fileURLToPath(new URL("../../packages/cli/bin/rain.mjs", import.meta.url));

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A command that goes on. */
export interface Running {
  readonly child: ChildProcess;
  /** What it wrote so far. */
  readonly out: () => string;
  readonly err: () => string;
  /** Exit code, or the signal that ended it. */
  readonly ended: Promise<number | string | null>;
}

export class Home {
  readonly dir: string;
  readonly #children: ChildProcess[] = [];
  private constructor(dir: string) {
    this.dir = dir;
  }
  static async make(): Promise<Home> {
    return new Home(await mkdtemp(join(tmpdir(), "rain-e2e-")));
  }

  /** Further environment of the commands. */
  extra: NodeJS.ProcessEnv = {};
  get env(): NodeJS.ProcessEnv {
    const { RAIN_ACCESS_FILE: _, ...env } = process.env;
    return { ...env, RAIN_HOME: this.dir, ...this.extra };
  }
  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  /** Runs one command to its end, with no terminal and an empty stdin. */
  rain(...args: string[]): Promise<Ran> {
    return new Promise((resolve, reject) => {
      const options = { env: this.env, cwd: this.dir, timeout: 120_000 };
      const child = execFile(process.execPath, [bin, ...args], options, (error, out, err) => {
        if (error !== null && typeof error.code !== "number") reject(error);
        else resolve({ code: typeof error?.code === "number" ? error.code : 0, out, err });
      });
      child.stdin?.end();
    });
  }

  /** As `rain`, and throws with what it printed when it fails; its JSON output. */
  async json<T>(...args: string[]): Promise<T> {
    const { code, out, err } = await this.rain(...args, "-o", "json");
    if (code !== 0) throw new Error(`rain ${args.join(" ")}: exit code ${code}\n${out}${err}`);
    return JSON.parse(out) as T;
  }

  /** Starts a command that goes on, with no terminal. */
  spawn(...args: string[]): Running {
    const child = spawn(process.execPath, [bin, ...args], {
      env: this.env,
      cwd: this.dir,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#children.push(child);
    const text = { out: "", err: "" };
    child.stdout.setEncoding("utf8").on("data", (part: string) => (text.out += part));
    child.stderr.setEncoding("utf8").on("data", (part: string) => (text.err += part));
    const ended = new Promise<number | string | null>((resolve) =>
      child.once("close", (code, signal) => resolve(code ?? signal)),
    );
    return { child, out: () => text.out, err: () => text.err, ended };
  }

  daemons(name = "default"): Daemon[] {
    return listDaemons({ runDir: this.path(name, "run") } as Instance).alive;
  }

  /** Numbers of the processes that have a path of this home among their arguments. */
  processes(): number[] {
    const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
    return pids.map(Number).filter((pid) => commandLine(pid).includes(this.dir));
  }

  read(...parts: string[]): string | undefined {
    return existsSync(this.path(...parts)) ? readFileSync(this.path(...parts), "utf8") : undefined;
  }

  /** Ends everything of this home and removes it. */
  async remove(instances: readonly string[] = ["default"]): Promise<void> {
    for (const child of this.#children) child.kill("SIGKILL");
    for (const name of instances) await terminate(this.daemons(name), 5_000);
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // it ended since it was listed
  }
}
