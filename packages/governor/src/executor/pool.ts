import type { ProcessTable } from "../monitor/processes.ts";
import type { Launcher } from "./launcher.ts";
import { TaskProblem } from "./problem.ts";
import type { Reaper } from "./reaper.ts";

/** A launcher that was started. */
export type LiveLauncher = Launcher & { readonly pid: number };

/** The launchers: as many as tasks ever ran at once; idle ones are used again. */
export class LauncherPool {
  readonly #make: () => Launcher;
  readonly #table: ProcessTable;
  readonly #reaper: Reaper;
  readonly #all = new Set<LiveLauncher>();
  readonly #idle: LiveLauncher[] = [];

  constructor(make: () => Launcher, table: ProcessTable, reaper: Reaper) {
    this.#make = make;
    this.#table = table;
    this.#reaper = reaper;
  }

  /** A launcher for one task, to be given back. Throws a TaskProblem when the system cannot start one. */
  async take(): Promise<LiveLauncher> {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (idle.reusable) return idle;
      this.#retire(idle);
    }
    const launcher = this.#make();
    if (!hasPid(launcher)) {
      await launcher.closed;
      const why = launcher.failure?.message ?? "unknown";
      throw new TaskProblem("launch", `the governor could not start a launcher shell: ${why}`);
    }
    this.#all.add(launcher);
    this.#table.addLauncher(launcher.pid);
    this.#reaper.add(launcher.pid);
    void launcher.closed.then(() => this.#onClosed(launcher));
    return launcher;
  }

  /** To be called when the family of the launcher's task is dead. One that was signalled is not used again. */
  giveBack(launcher: LiveLauncher): void {
    if (launcher.reusable) this.#idle.push(launcher);
    else this.#retire(launcher);
  }

  /** The number of a dead group can be given to strangers: it must not stay registered while nobody uses it. */
  #onClosed(launcher: LiveLauncher): void {
    const at = this.#idle.indexOf(launcher);
    if (at === -1) return;
    this.#idle.splice(at, 1);
    this.#retire(launcher);
  }

  /** Ends a launcher and strikes it off the lists. */
  #retire(launcher: LiveLauncher): void {
    launcher.signal("SIGKILL");
    if (!this.#all.delete(launcher)) return;
    this.#table.removeLauncher(launcher.pid);
    this.#reaper.remove(launcher.pid);
  }

  /** Kills all launchers and waits until they are gone. */
  async stop(): Promise<void> {
    const all = [...this.#all];
    for (const launcher of all) this.#retire(launcher);
    this.#idle.length = 0;
    await Promise.all(all.map((launcher) => launcher.closed));
  }
}

const hasPid = (launcher: Launcher): launcher is LiveLauncher => launcher.pid !== undefined;
