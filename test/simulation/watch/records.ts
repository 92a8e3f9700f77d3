import { timing, type GovernorId, type OutputReport } from "@rain/protocol";
import type { ServerCore, ServerInput, ServerRecord, ServerStep } from "@rain/server/core";
import { attemptKey } from "@rain/server/core";
import type { Task } from "../../../packages/server/src/core/state.ts";
import type { GovernorNode } from "../governor-node.ts";
import { behaviourOf, produce } from "../programs.ts";
import type { World } from "../world.ts";

interface Seen {
  open: boolean;
  attempt: number;
  governor: GovernorId | undefined;
}

/** Judges every record by what was recorded before, and by what governors really did. */
export class RecordWatch {
  readonly #world: World;
  readonly #governors: ReadonlyMap<string, GovernorNode>;
  #tasks: Map<string, Seen> = new Map();
  /** When the server's process heard each governor last, by its clock. */
  readonly #heard: Map<string, number> = new Map();
  #started = 0;
  /** The process of each governor, as the last record says. */
  /** Governors that had the attempts which this step releases. */
  readonly #lostWith: Map<string, GovernorId> = new Map();
  readonly #incarnations: Map<GovernorId, string> = new Map();
  /** Tasks that were opened again for a lost output: `session/task`. */
  readonly reopened: Set<string> = new Set();
  /** Those of them whose record this process made, or read at its start: they really run. */
  readonly #mustRun: Set<string> = new Set();
  /** Digests of objects (`session/object`) that are finished or were. */
  readonly #bytes: Map<string, string> = new Map();

  constructor(world: World, governors: ReadonlyMap<string, GovernorNode>) {
    this.#world = world;
    this.#governors = governors;
  }

  heard(governor: string, now: number): void {
    this.#heard.set(governor, now);
  }

  /** A new process of the server: what it read is what was recorded. */
  restarted(core: ServerCore): void {
    this.#heard.clear();
    for (const { id, incarnation } of core.durable.governors.values())
      this.#incarnations.set(id, incarnation);
    this.#started = core.kernel.now;
    this.#tasks = new Map();
    this.#bytes.clear();
    // What opened a task again may have been lost with the process, before it was written.
    this.#mustRun.clear();
    for (const [session, { tasks }] of core.durable.sessions)
      for (const [task, { mustRun }] of tasks) if (mustRun) this.#mustRun.add(`${session}/${task}`);
    for (const [id, { objects }] of core.durable.sessions) {
      for (const [object, { state }] of objects)
        if (state.kind === "finished") this.#bytes.set(`${id}/${object}`, state.sha256);
    }
    for (const { tasks } of core.durable.sessions.values())
      for (const task of tasks.values()) this.#note(task);
  }
  #note({ session, spec, state }: Task): void {
    const governor = state.kind === "open" ? state.governor : undefined;
    const { attempt } = state;
    this.#tasks.set(`${session.id}/${spec.id}`, { open: state.kind === "open", attempt, governor });
  }
  /** As it is after a step. Tasks of arrays are left in the form that they have. */
  #read(core: ServerCore, id: number): void {
    for (const session of core.durable.sessions.values()) {
      if (session.id !== id) continue;
      for (const task of session.tasks.expandedOnes()) this.#note(task);
      for (const array of session.tasks.arrays) {
        for (const { from, count, kind } of array.folded()) {
          for (let task = array.first + from; task < array.first + from + count; task++) {
            const seen = this.#tasks.get(`${id}/${task}`);
            if (!seen) continue;
            seen.open = kind === "open";
            if (!seen.open) seen.governor = undefined;
          }
        }
      }
    }
  }

  check(core: ServerCore, input: ServerInput, step: ServerStep, now: number): void {
    const sessions = new Set<number>();
    for (const record of step.records) {
      if (record.type === "cached") this.#world.log(`record cached ${record.session}/${record.task}`);
      else if (record.type !== "finished") this.#world.log(`record ${short(record)}`);
      else this.#world.log(`record finished ${attemptKey(record)} on governor ${record.governor}`);
      this.#one(core, input, record, now);
      if ("session" in record) sessions.add(record.session);
    }
    for (const session of sessions) this.#read(core, session);
    this.#checkCrashes(core, step);
  }

  /**
   * What a lost governor only had ahead did not run. The server cannot know of all others what ran: those that had
   * their room are counted, but no more than there is room for.
   */
  #checkCrashes(core: ServerCore, step: ServerStep): void {
    const cpus = new Map<GovernorId, number>();
    for (const record of step.records) {
      if (record.type !== "released" || record.counts !== "crash") continue;
      const governor = this.#lostWith.get(attemptKey(record));
      const task = core.durable.sessions.get(record.session)?.tasks.get(record.task);
      if (governor === undefined || !task || this.#hasRun(core, governor, attemptKey(record))) continue;
      cpus.set(governor, (cpus.get(governor) ?? 0) + task.spec.request.cpus);
    }
    this.#lostWith.clear();
    for (const [id, used] of cpus) {
      const has = Math.max(...this.#nodes(core, id).map(({ capacity }) => capacity.cpus));
      const name = core.durable.governors.get(id)?.name ?? "";
      this.#world.check(
        used <= has + 1e-9,
        "crash-within-capacity",
        () => `${name} has ${has} cpus, and tasks that ask for ${used} and never ran are counted as crashed`,
      );
    }
  }

  /** A governor, and its twin that may have come in its place. */
  #nodes(core: ServerCore, id: GovernorId): GovernorNode[] {
    const known = core.durable.governors.get(id);
    return [...this.#governors.values()].filter(({ identity }) => identity === known?.identity);
  }
  #hasRun(core: ServerCore, id: GovernorId, attempt: string): boolean {
    return this.#nodes(core, id).some(({ ran }) => ran.has(attempt));
  }

  #one(core: ServerCore, input: ServerInput, record: ServerRecord, now: number): void {
    switch (record.type) {
      case "submitted":
        for (const id of submittedTasks(record))
          this.#tasks.set(`${record.session}/${id}`, { open: true, attempt: 0, governor: undefined });
        for (const { id, sha256 } of record.constants) this.#bytes.set(`${record.session}/${id}`, sha256);
        break;
      case "assigned":
        this.#assigned(record);
        break;
      case "finished":
        this.#finished(core, record);
        this.#made(record);
        break;
      case "cached":
        this.#cached(core, record);
        this.#made(record);
        break;
      case "failed": {
        const seen = this.#seen(record);
        this.#world.check(seen.open, "one-finish", () => `${short(record)} of a task that is settled`);
        seen.open = false;
        break;
      }
      case "released":
        this.#released(core, input, record, now);
        break;
      case "reopened": {
        const seen = this.#seen(record);
        this.reopened.add(`${record.session}/${record.task}`);
        this.#mustRun.add(`${record.session}/${record.task}`);
        for (const object of record.objects) this.#bytes.delete(`${record.session}/${object}`);
        if (!seen.open) seen.governor = undefined;
        seen.open = true;
        break;
      }
      case "governor.registered":
        this.#incarnations.set(record.governor, record.incarnation);
        break;
      case "session.opened":
      case "governor.draining":
      case "lost":
      case "cancelled":
      case "unkept":
      case "session.closed":
      case "cache.cleared":
      case "datastore.created":
      case "datastore.deleted":
        break;
      case "metrics":
        this.#measured(record);
        break;
    }
  }

  #measured(record: Extract<ServerRecord, { type: "metrics" }>): void {
    const seen = this.#seen(record);
    this.#world.check(
      seen.open && seen.governor !== undefined && seen.attempt === record.attempt,
      "current-attempt",
      () => `metrics of attempt ${attemptKey(record)}, and the task is ${JSON.stringify(seen)}`,
    );
  }

  /** A task that ran again for one lost output does not replace the others. */
  #made({ session, outputs }: Extract<ServerRecord, { type: "finished" | "cached" }>): void {
    for (const { object, sha256 } of outputs) {
      const key = `${session}/${object}`;
      if (!this.#bytes.has(key)) this.#bytes.set(key, sha256);
    }
  }

  /** A task may be taken from the cache when it waits for its first attempt or another one, and what comes is right. */
  #cached(core: ServerCore, record: Extract<ServerRecord, { type: "cached" }>): void {
    const seen = this.#seen(record);
    const key = `${record.session}/${record.task}`;
    this.#world.check(
      seen.open && seen.governor === undefined,
      "one-finish",
      () => `task ${key} is taken from the cache and is ${JSON.stringify(seen)}`,
    );
    this.#world.check(
      !this.#mustRun.has(key),
      "cached-again",
      () => `task ${key} was opened again for a lost output, and is taken from the cache`,
    );
    seen.open = false;
    this.#world.cached++;
    const spec = core.durable.sessions.get(record.session)?.tasks.get(record.task)?.spec;
    if (!spec || behaviourOf(spec).random) return;
    const inputs = spec.inputs.map(({ object }) => ({
      sha256:
        this.#bytes.get(`${record.session}/${object}`) ??
        this.#world.violate("cached-wrong", `task ${key} is taken from the cache without o${object}`),
    }));
    const right = digests(produce(spec, inputs, ""));
    this.#world.check(
      digests(record.outputs) === right,
      "cached-wrong",
      () => `task ${key}: ${digests(record.outputs)} is taken from the cache, it makes ${right}`,
    );
  }

  #seen(ref: { readonly session: number; readonly task: number }): Seen {
    const key = `${ref.session}/${ref.task}`;
    return (
      this.#tasks.get(key) ?? this.#world.violate("one-finish", `a record of task ${key}, which is not known`)
    );
  }

  #assigned(record: Extract<ServerRecord, { type: "assigned" }>): void {
    const seen = this.#seen(record);
    this.#world.check(
      seen.open && seen.governor === undefined && record.attempt > seen.attempt,
      "one-attempt",
      () => `${short(record)}: task is ${JSON.stringify(seen)}`,
    );
    seen.attempt = record.attempt;
    seen.governor = record.governor;
  }

  #finished(core: ServerCore, record: Extract<ServerRecord, { type: "finished" }>): void {
    const seen = this.#seen(record);
    const where = `attempt ${attemptKey(record)} on governor ${record.governor}`;
    this.#world.check(seen.open, "one-finish", () => `${where} finished, and the task is settled`);
    this.#world.check(
      seen.attempt === record.attempt && seen.governor === record.governor,
      "current-attempt",
      () => `${where} finished, and the current one is ${seen.attempt} on ${seen.governor}`,
    );
    seen.open = false;
    const process = this.#process(core, record.governor);
    // A governor that died since its report cannot be asked any more.
    const outcome = process?.executor.ended.get(attemptKey(record));
    if (!process || !outcome) return;
    this.#world.check(outcome.ok, "finish-without-run", () => `${where} finished, and its run failed`);
    const real = outcome.ok ? digests(outcome.outputs) : "";
    this.#world.check(
      digests(record.outputs) === real,
      "finish-without-run",
      () => `${where}: other outputs`,
    );
  }

  /** An attempt may only be given up when its governor did, or was silent for its lease. */
  #released(
    core: ServerCore,
    input: ServerInput,
    record: Extract<ServerRecord, { type: "released" }>,
    now: number,
  ): void {
    const seen = this.#seen(record);
    this.#world.check(
      seen.open && seen.governor !== undefined && seen.attempt === record.attempt,
      "one-attempt",
      () => `${short(record)}: task is ${JSON.stringify(seen)}`,
    );
    const governor = seen.governor;
    if (governor !== undefined) this.#lostWith.set(attemptKey(record), governor);
    seen.governor = undefined;
    if (record.counts === "failure" || record.counts === "starved" || governor === undefined) return;
    if (input.type === "governor.message" && input.message.type === "stopped") return;
    const process = this.#process(core, governor);
    if (!process?.core.attempts().some(({ ref }) => attemptKey(ref) === attemptKey(record))) return;
    if (process.leaving) return;
    const silent = now - Math.max(this.#started, this.#heard.get(process.name) ?? -Infinity);
    this.#world.check(
      silent >= timing.leaseMs,
      "attempt-wasted",
      () =>
        `${short(record)}: it is alive on ${process.name}, which was silent for ${Math.round(silent)} ms only`,
    );
  }

  /** The process that the server knows under this number, if it lives. */
  #process(core: ServerCore, id: GovernorId): GovernorNode["process"] {
    const known = core.durable.governors.get(id);
    const process = known && this.#governors.get(known.name)?.process;
    return process?.incarnation === this.#incarnations.get(id) ? process : undefined;
  }
}

/** Numbers of all tasks, of arrays too. */
function* submittedTasks({
  tasks,
  arrays = [],
}: Extract<ServerRecord, { type: "submitted" }>): Generator<number> {
  for (const { id } of tasks) yield id;
  for (const { first, count } of arrays) for (let id = first as number; id < first + count; id++) yield id;
}

const digests = (outputs: readonly OutputReport[]): string =>
  outputs.map(({ object, sha256, size }) => `${object} ${sha256} ${size}`).join();

function short(record: ServerRecord): string {
  if (record.type === "submitted")
    return `submitted ${record.session} ${record.key} ${record.tasks.length} tasks`;
  return JSON.stringify(record);
}
