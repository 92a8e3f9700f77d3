import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { errorCode } from "./errno.ts";

/** Groups of tasks, and of the governor itself: in a group with limits for its children there may be no process. */
const TASK = "rain-task-";
const SELF = "rain-governor";
/** How long a group of killed processes may take to be empty. */
const EMPTY_MS = 5_000;

/** What became of a task's group. */
export interface GroupEnd {
  /** Most memory that the group ever had, bytes; undefined where the kernel does not tell (before 5.19). */
  readonly peak: number | undefined;
  /** The kernel ended processes of it for want of memory. */
  readonly outOfMemory: boolean;
  /** Processes were refused to it. */
  readonly outOfProcesses: boolean;
}

/** Control groups (version 2) of tasks, below the governor's own group. Only where that was delegated to its user. */
export class ControlGroups {
  readonly #own: string;

  private constructor(own: string) {
    this.#own = own;
  }

  /** Takes the governor's own group; answers why that cannot be. `root`: `/`, unless a test says otherwise. */
  static async open(root: string = "/"): Promise<ControlGroups | string> {
    const own = ownGroup(root);
    if (own === undefined) return "this machine has no control groups of version 2 here";
    const groups = new ControlGroups(own);
    try {
      accessSync(own, constants.W_OK);
      const there = (await readFile(join(own, "cgroup.controllers"), "utf8")).trim().split(" ");
      const missing = ["memory", "pids"].filter((name) => !there.includes(name));
      if (missing.length > 0) return `${own} lacks the controllers ${missing.join(", ")}`;
      await groups.#takeOver();
      return groups;
    } catch (error) {
      return `${own} is not delegated to this user (${errorCode(error) ?? String(error)})`;
    }
  }

  /** The governor's processes move into a group of their own, so that tasks may have limits beside it. */
  async #takeOver(): Promise<void> {
    const self = join(this.#own, SELF);
    await mkdir(self, { recursive: true });
    for (const pid of (await readFile(join(this.#own, "cgroup.procs"), "utf8")).split("\n"))
      if (Number(pid) === process.pid) await writeFile(join(self, "cgroup.procs"), pid);
    await writeFile(join(this.#own, "cgroup.subtree_control"), "+memory +pids");
    for (const name of await readdir(this.#own))
      if (name.startsWith(TASK)) await this.#remove(join(this.#own, name)); // of an earlier governor
  }

  /** A group with these limits for one attempt, to be ended. */
  async make(
    attempt: string,
    limit: { readonly memory: number; readonly processes: number },
  ): Promise<TaskGroup> {
    const path = join(this.#own, `${TASK}${attempt.replaceAll("/", "-")}`);
    await mkdir(path, { recursive: true });
    await writeFile(join(path, "memory.max"), String(limit.memory));
    await writeFile(join(path, "pids.max"), String(limit.processes));
    // All of them or none: what is left of a program of which one process is gone is of no use.
    await writeFile(join(path, "memory.oom.group"), "1");
    if (existsSync(join(path, "memory.swap.max"))) await writeFile(join(path, "memory.swap.max"), "0");
    return { procs: join(path, "cgroup.procs"), end: () => this.#end(path) };
  }

  async #end(path: string): Promise<GroupEnd> {
    const read = async (file: string): Promise<string> => await readFile(join(path, file), "utf8");
    const count = (events: string, name: string): number =>
      Number(new RegExp(`^${name} (\\d+)$`, "m").exec(events)?.[1] ?? 0);
    const events = await read("memory.events");
    const peak = existsSync(join(path, "memory.peak")) ? Number(await read("memory.peak")) : undefined;
    const outOfMemory = count(events, "oom_kill") > 0;
    const outOfProcesses = count(await read("pids.events"), "max") > 0;
    await this.#remove(path);
    return { peak, outOfMemory, outOfProcesses };
  }

  async #remove(path: string): Promise<void> {
    await writeFile(join(path, "cgroup.kill"), "1");
    for (let since = performance.now(); ; await delay(5)) {
      try {
        return await rmdir(path);
      } catch (error) {
        if (errorCode(error) === "ENOENT") return;
        if (errorCode(error) !== "EBUSY" || performance.now() - since > EMPTY_MS) throw error;
      }
    }
  }
}

export interface TaskGroup {
  /** A process that writes its number to this file is in the group. */
  readonly procs: string;
  readonly end: () => Promise<GroupEnd>;
}

/** Folder of this process's group in the mounted hierarchy of version 2. */
function ownGroup(root: string): string | undefined {
  const lines = (file: string): string[] => readFileSync(join(root, file), "latin1").split("\n");
  try {
    const path = lines("proc/self/cgroup")
      .find((line) => line.startsWith("0::"))
      ?.slice(3);
    const mount = lines("proc/self/mountinfo")
      .find((line) => line.includes(" - cgroup2 "))
      ?.split(" ");
    const [at, below] = [mount?.[4], mount?.[3]];
    if (path === undefined || at === undefined || below === undefined) return undefined;
    // In a container the mount may show a part of the hierarchy only.
    const shown = below !== "/" && path.startsWith(below) ? path.slice(below.length) : path;
    return join(root, at, shown);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
