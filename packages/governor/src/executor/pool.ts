import type { ProcessTable } from "../monitor/processes.ts";
import type { Launcher } from "./launcher.ts";
import { TaskProblem } from "./problem.ts";
import type { Reaper } from "./reaper.ts";
import { closeScratch, openScratch, type Scratch } from "./scratch.ts";
import type { Log } from "./types.ts";

/** A launcher that was started. */
export type LiveLauncher = Launcher & { readonly pid: number };

export interface PoolOptions {
  /** Folder of the launchers' files, where there is no memory for them. */
  readonly folder: string;
  readonly make: (scratch: Scratch) => Launcher;
  readonly table: ProcessTable;
  readonly reaper: Reaper;
  readonly log: Log;
}

/** The launchers: as many as tasks ever ran at once; idle ones are used again. */
export class LauncherPool {
  readonly #options: PoolOptions;
  readonly #all = new Set<LiveLauncher>();
  /** For each launcher that was made: that it is dead and cleared away. */
  readonly #clearing = new Set<Promise<void>>();
  #idle: LiveLauncher[] = [];

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** A launcher for one task, to be given back. Throws a TaskProblem when the system cannot start one. */
  async take(): Promise<LiveLauncher> {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (idle.reusable) return idle;
      this.#retire(idle);
    }
    const scratch = await openScratch(this.#options.folder);
    const launcher = this.#options.make(scratch);
    const cleared = this.#clear(launcher, scratch).finally(() => this.#clearing.delete(cleared));
    this.#clearing.add(cleared);
    if (!hasPid(launcher)) {
      await cleared;
      const why = launcher.failure?.message ?? "unknown";
      throw new TaskProblem("launch", `the governor could not start a launcher shell: ${why}`);
    }
    this.#all.add(launcher);
    this.#options.table.addLauncher(launcher.pid);
    this.#options.reaper.add(launcher.pid);
    return launcher;
  }

  /** To be called when the family of the launcher's task is dead. One that was signalled is not used again. */
  giveBack(launcher: LiveLauncher): void {
    if (launcher.reusable) this.#idle.push(launcher);
    else this.#retire(launcher);
  }

  /** Kills all launchers and waits until they are gone. */
  async stop(): Promise<void> {
    for (const launcher of this.#all) this.#retire(launcher);
    this.#idle = [];
    await Promise.all(this.#clearing);
  }

  /** Ends a launcher and strikes it off the lists. */
  #retire(launcher: LiveLauncher): void {
    launcher.signal("SIGKILL");
    this.#all.delete(launcher);
    this.#options.table.removeLauncher(launcher.pid);
    this.#options.reaper.remove(launcher.pid);
  }

  /** Waits for the death of a launcher and clears away what is left of it. Never rejects. */
  async #clear(launcher: Launcher, scratch: Scratch): Promise<void> {
    await launcher.closed;
    // The number of a dead group can be given to strangers: it must not stay registered while nobody uses it.
    for (const idle of this.#idle.filter((one) => one === launcher)) this.#retire(idle);
    this.#idle = this.#idle.filter((one) => one !== launcher);
    launcher.dispose();
    try {
      await closeScratch(scratch);
    } catch (error) {
      this.#options.log("warn", `the files of a launcher could not be closed: ${String(error)}`);
    }
  }
}

const hasPid = (launcher: Launcher): launcher is LiveLauncher => launcher.pid !== undefined;
