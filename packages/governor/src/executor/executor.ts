import { mkdir, readdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import { type AttemptRef, type SessionId, type TaskId } from "@rain/protocol";
import { attemptKey } from "../core/types.ts";
import { ProcessTable } from "../monitor/processes.ts";
import { Sweeper } from "../monitor/sweep.ts";
import { UsageMonitor } from "../monitor/usage.ts";
import { openLimits, type Limits } from "./bounds.ts";
import { runBuiltIn } from "./builtin.ts";
import { instanceOf } from "./cookie.ts";
import { baseEnvironment } from "./environment.ts";
import { execute } from "./execute.ts";
import { Executors, runCustom } from "./custom/index.ts";
import { removeTree } from "./folder.ts";
import { Folders } from "./folders.ts";
import type { House } from "./house.ts";
import { Launcher } from "./launcher.ts";
import { Logs, type LogView } from "./logs.ts";
import { MetricsMonitor } from "./metrics/index.ts";
import { LauncherPool } from "./pool.ts";
import { Trees } from "../store/index.ts";
import { failureOf, TaskProblem } from "./problem.ts";
import { Programs } from "./program.ts";
import { Reaper } from "./reaper.ts";
import { Stop } from "./stop.ts";
import type { ExecutorOptions, Log, LogStream, RunEffect, Runner, RunOutcome, Store } from "./types.ts";

interface Running {
  readonly stop: Stop;
  readonly ended: Promise<void>;
}

/** The runner that runs programs. */
export class Executor implements Runner {
  readonly #options: ExecutorOptions;
  readonly #logs: Logs;
  readonly #running = new Map<string, Running>();
  readonly #forgetting = new Set<Promise<void>>();
  #house: House | undefined;
  #reaper: Reaper | undefined;

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#logs = new Logs(options.workdir);
  }

  /** Clears away what an earlier governor left in this work folder, processes included. To be awaited before `run`. */
  async start(): Promise<void> {
    const { workdir, log } = this.#options;
    await mkdir(workdir, { recursive: true, mode: 0o700 });
    const instance = await instanceOf(workdir);
    const table = new ProcessTable(instance);
    const sweeper = new Sweeper(table);
    const killed = await sweeper.sweepLeftovers();
    if (killed > 0) log("warn", `killed ${killed} processes that an earlier governor had left`);
    const place = await realpath(workdir);
    const tasks = await emptyFolder(join(place, "tasks"));
    const spares = await emptyFolder(join(place, "spare"));
    await this.#logs.start();
    const shell = this.#options.shell ?? ["/bin/sh"];
    const { memoryLimit, taskProcesses, captureBytes, systemRoot: root } = this.#options;
    const allLimits = await openLimits({ memoryLimit, taskProcesses, captureBytes, root, log });
    const baseEnv = baseEnvironment(this.#options.baseEnv ?? process.env);
    const reaper = new Reaper(shell, log);
    reaper.start();
    this.#reaper = reaper;
    this.#house = {
      tasks,
      folders: new Folders(tasks, spares, log),
      instance,
      store: this.#options.store,
      trees: this.#options.trees ?? (await openTrees(workdir, log)),
      baseEnv,
      gpus: this.#options.gpus ?? 0,
      environments: this.#options.environments ?? new Map(),
      limits: allLimits,
      launchers: new LauncherPool({
        folder: tasks,
        make: (scratch) => new Launcher(shell, scratch, baseEnv, tasks),
        table,
        reaper,
        log,
      }),
      executors: new Executors({
        executors: this.#options.executors ?? new Map(),
        folder: this.#logs.folder,
        instance,
        baseEnv,
        sweeper,
        reaper,
        log,
      }),
      sweeper,
      usage: new UsageMonitor(table, (error) => log("warn", `sampling of tasks: ${String(error)}`)),
      metrics: new MetricsMonitor((ref, news) => this.#options.onMetrics?.(ref, news), log),
      programs: new Programs(),
      logs: this.#logs,
      log,
    };
  }

  run(effect: RunEffect, openStore?: () => Store): void {
    const store = openStore?.() ?? this.#options.store;
    const key = attemptKey(effect.ref);
    if (this.#running.has(key)) throw new Error(`attempt ${key} is running already`);
    const stop = new Stop();
    this.#running.set(key, { stop, ended: this.#track(key, effect, stop, store) });
  }

  /** What programs are held to. To be asked after `start`. */
  get limits(): Pick<Limits, "memory" | "processes"> {
    if (this.#house === undefined) throw new Error("the executor was not started");
    return this.#house.limits;
  }

  /** TERM, or KILL with `force`, to a run's processes. A run that is still being prepared never starts. */
  terminate(ref: AttemptRef, force: boolean): void {
    this.#running.get(attemptKey(ref))?.stop.request(force);
  }

  /**
   * Where stdout or stderr of the task's last attempt is. The file of a running task may not be there yet; that of an
   * ended one (`complete`) keeps the first and last 512 KiB. A short one is `data`, without a file.
   */
  logFile(session: SessionId, task: TaskId, stream: LogStream): LogView | undefined {
    return this.#logs.file(session, task, stream);
  }

  /** Removes the log files of an attempt. */
  forget(ref: AttemptRef): void {
    const forgetting = this.#logs
      .forget(ref)
      .catch((error: unknown) => this.#options.log("warn", `removing logs: ${String(error)}`))
      .finally(() => this.#forgetting.delete(forgetting));
    this.#forgetting.add(forgetting);
  }

  /** Kills everything; every run still reports its end. Resolves when no process is left. Nothing may run after it. */
  async stop(): Promise<void> {
    const house = this.#house;
    this.#house = undefined;
    const running = [...this.#running.values()];
    for (const { stop } of running) stop.request(true);
    await Promise.all(running.map(({ ended }) => ended));
    await Promise.all(this.#forgetting);
    await house?.folders.stop();
    await house?.launchers.stop();
    await house?.executors.stop();
    await this.#reaper?.stop();
  }

  async #track(key: string, effect: RunEffect, stop: Stop, store: Store): Promise<void> {
    await Promise.resolve(); // nothing is reported while the caller is still in `run`
    const outcome = await this.#perform(effect, stop, store);
    this.#running.delete(key);
    this.#options.onEnded(effect.ref, outcome);
  }

  async #perform(effect: RunEffect, stop: Stop, store: Store): Promise<RunOutcome> {
    const house = this.#house && { ...this.#house, store };
    const onStarted = (at: number): void => this.#options.onStarted(effect.ref, at);
    const onOver = (): void => this.#options.onOver?.(effect.ref);
    try {
      if (house === undefined)
        throw new TaskProblem("internal", "the executor of this governor does not run");
      const { work } = effect.spec;
      if (work.type === "execute") return await execute(house, effect, work, stop, { onStarted, onOver });
      if (work.type === "custom") return await runCustom(house, effect, work, stop, onStarted);
      return await runBuiltIn(house, effect, work, stop, onStarted);
    } catch (error) {
      return { ok: false, failure: failureOf(error), info: {} };
    }
  }
}

/** Trees that stay until the governor ends. */
const openTrees = (workdir: string, log: Log): Promise<Trees> =>
  Trees.open(workdir, (error) => log("warn", `removing an unpacked directory: ${String(error)}`));

/** Makes a folder, or clears out the one that is there. */
async function emptyFolder(path: string): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  for (const name of await readdir(path)) await removeTree(join(path, name));
  return path;
}
