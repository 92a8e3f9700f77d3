import { join } from "node:path";
import { limits } from "@rain/protocol";
import type { Sweeper } from "../../monitor/sweep.ts";
import { tailText } from "../logs.ts";
import { TaskProblem } from "../problem.ts";
import type { Reaper } from "../reaper.ts";
import type { Stop } from "../stop.ts";
import type { Log } from "../types.ts";
import { ExecutorProcess, type Death } from "./process.ts";

/** An executor of the governor's owner: a program that is kept running and called again and again. */
export interface OwnExecutor {
  /** Program and arguments. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Calls at once, one a process; default: no limit. */
  readonly concurrency?: number;
  /** A process that had nothing to do for so long is ended, seconds; default 60. */
  readonly idleS?: number;
}

export interface ExecutorsOptions {
  readonly executors: ReadonlyMap<string, OwnExecutor>;
  /** Folder of the processes' logs. */
  readonly folder: string;
  readonly instance: string;
  readonly baseEnv: Readonly<Record<string, string>>;
  readonly sweeper: Sweeper;
  readonly reaper: Reaper;
  readonly log: Log;
}

const IDLE_S = 60;
const READY_MS = 30_000;
/** From the end of its stdin to KILL. */
const GRACE_MS = 2_000;

/** All own executors of a governor, by their names. */
export class Executors {
  readonly #pools: ReadonlyMap<string, ExecutorPool>;

  constructor(options: ExecutorsOptions) {
    this.#pools = new Map(
      [...options.executors].map(([name, own]) => [name, new ExecutorPool(name, own, options)]),
    );
  }

  /** Throws a TaskProblem when the governor has none of this name. */
  pool(name: string): ExecutorPool {
    const pool = this.#pools.get(name);
    if (pool !== undefined) return pool;
    const known = [...this.#pools.keys()].join(", ");
    throw new TaskProblem(
      "launch",
      `this governor has no executor ${JSON.stringify(name)}; it has ${known === "" ? "none" : known}`,
    );
  }

  /** Kills all processes and waits until they are gone. */
  async stop(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.stop()));
  }
}

/** The processes of one executor: as many as calls ever ran at once, less those that became idle. */
export class ExecutorPool {
  readonly name: string;
  readonly #own: OwnExecutor;
  readonly #options: ExecutorsOptions;
  readonly #idle = new Map<ExecutorProcess, NodeJS.Timeout>();
  readonly #all = new Set<ExecutorProcess>();
  /** For each process: that it is dead and cleared away. */
  readonly #clearing = new Set<Promise<void>>();
  /** Calls that wait for their turn. */
  readonly #waiting = new Set<() => void>();
  #busy = 0;
  #started = 0;

  constructor(name: string, own: OwnExecutor, options: ExecutorsOptions) {
    this.name = name;
    this.#own = own;
    this.#options = options;
  }

  /** A process for one call, to be given back. Throws a TaskProblem: it cannot be started, or the task was stopped. */
  async take(stop: Stop): Promise<ExecutorProcess> {
    await this.#turn(stop);
    try {
      // The last one that became idle: the others may end.
      const idle = [...this.#idle.keys()].findLast((process) => process.usable);
      if (idle === undefined) return await this.#start(stop);
      clearTimeout(this.#idle.get(idle));
      this.#idle.delete(idle);
      return idle;
    } catch (error) {
      this.#endTurn();
      throw error;
    }
  }

  /** A process that is not usable any more must be dead by now. */
  giveBack(process: ExecutorProcess): void {
    if (process.usable) {
      const idleMs = (this.#own.idleS ?? IDLE_S) * 1_000;
      this.#idle.set(process, setTimeout(() => this.#dismiss(process), idleMs).unref());
    } else this.#clear(process);
    this.#endTurn();
  }

  async stop(): Promise<void> {
    for (const timer of this.#idle.values()) clearTimeout(timer);
    const idle = [...this.#idle.keys()];
    this.#idle.clear();
    for (const process of this.#all) process.kill();
    for (const process of idle) this.#clear(process);
    await Promise.all(this.#clearing);
  }

  /** Waits until one more call may run. */
  async #turn(stop: Stop): Promise<void> {
    stop.check();
    if (this.#busy < (this.#own.concurrency ?? Number.POSITIVE_INFINITY)) {
      this.#busy += 1;
      return;
    }
    const granted = await new Promise<boolean>((resolve) => {
      const grant = (): void => resolve(true);
      this.#waiting.add(grant);
      stop.listen(() => this.#waiting.delete(grant) && resolve(false));
    });
    stop.listen(undefined);
    if (!granted) stop.check();
  }

  /** Hands the turn over to the call that waits longest. */
  #endTurn(): void {
    const [grant] = this.#waiting;
    if (grant === undefined) this.#busy -= 1;
    else {
      this.#waiting.delete(grant);
      grant();
    }
  }

  async #start(stop: Stop): Promise<ExecutorProcess> {
    const { folder, instance, baseEnv, sweeper, reaper, log } = this.#options;
    this.#started += 1;
    const key = `executor/${this.name}/${this.#started}`;
    const env = { ...baseEnv, ...this.#own.env, RAIN_EXECUTOR: this.name, RAIN_TASK: `${instance}:${key}` };
    const logPath = join(folder, `executor-${this.name}-${this.#started}.stderr`);
    const place = { name: this.name, command: this.#own.command, env, key, logPath, sweeper, reaper, log };
    const process = await ExecutorProcess.start(place);
    this.#all.add(process);
    stop.listen(() => process.kill());
    if (stop.signal !== undefined) process.kill();
    const ready = await process.greet(READY_MS);
    stop.listen(undefined);
    if (!ready) {
      const death = await process.ended;
      const stderr = await tailText(logPath, limits.stderrTailBytes);
      this.#clear(process);
      stop.check();
      throw launchProblem(this.name, death, stderr);
    }
    log("info", `executor ${this.name}: process ${process.pid} started`);
    void process.ended.then((death) => this.#noteDeath(process, death));
    return process;
  }

  /** One that dies under a call is told of by the call. */
  #noteDeath(process: ExecutorProcess, death: Death): void {
    if (!this.#idle.has(process)) return;
    clearTimeout(this.#idle.get(process));
    this.#idle.delete(process);
    this.#options.log(
      "warn",
      `executor ${this.name}: process ${process.pid} ${describeDeath(death)} while idle`,
    );
    this.#clear(process);
  }

  #dismiss(process: ExecutorProcess): void {
    this.#idle.delete(process);
    process.dismiss();
    const timer = setTimeout(() => process.kill(), GRACE_MS).unref();
    void process.ended.then(() => clearTimeout(timer));
    this.#clear(process);
  }

  /** Waits for the death of a process that is not used any more, and clears away what is left of it. */
  #clear(process: ExecutorProcess): void {
    const cleared = process.ended
      .then(() => process.dispose())
      .catch((error: unknown) => this.#options.log("warn", `removing a log: ${String(error)}`))
      .finally(() => {
        this.#all.delete(process);
        this.#clearing.delete(cleared);
      });
    this.#clearing.add(cleared);
  }
}

/** `exited with code 3`, `was ended by SIGKILL`, `wrote ... and was killed`. */
export function describeDeath({ exitCode, signal, why }: Death): string {
  if (why !== undefined) return why;
  if (signal !== undefined) return `was ended by ${signal}`;
  return exitCode === undefined ? "ended" : `exited with code ${exitCode}`;
}

/** Facts of a death for a failure. */
export const deathFacts = ({ exitCode, signal }: Death): { exitCode?: number; signal?: string } => ({
  ...(exitCode === undefined ? {} : { exitCode }),
  ...(signal === undefined ? {} : { signal }),
});

function launchProblem(name: string, death: Death, stderr: string): TaskProblem {
  const message = `executor ${name} could not be started: it ${describeDeath(death)}`;
  return new TaskProblem("launch", message, { ...deathFacts(death), ...(stderr === "" ? {} : { stderr }) });
}
