import {
  settledStates,
  taskStates,
  type DatastoreVersion,
  type ReplyOf,
  type ResultRow,
  type TaskId,
  type TaskSpec,
  type TaskState,
} from "@rain/protocol";
import { behaviourOf } from "./programs.ts";
import type { DatastorePlan } from "./run-plan.ts";
import type { World } from "./world.ts";

const isSettled = (state: TaskState): boolean => settledStates.some((each) => each === state);

/** What a client saw of its run: the table of results, curves, datastores. It judges what it is told by that. */
export class RunMemory {
  readonly #world: World;
  readonly #name: string;
  /** Was this task opened again for a lost output? */
  readonly #wasReopened: (task: TaskId) => boolean;
  readonly rows: Map<TaskId, ResultRow> = new Map();
  cursor = 0;
  instance: string | undefined;
  /** Points seen of each task's attempt, and after how many losses of the server's power. */
  readonly #seen: Map<TaskId, { readonly attempt: number; readonly count: number; readonly losses: number }> =
    new Map();
  readonly #versions: Map<DatastorePlan, number> = new Map();
  readonly #deleted: Set<DatastorePlan> = new Set();

  constructor(world: World, name: string, wasReopened: (task: TaskId) => boolean) {
    this.#world = world;
    this.#name = name;
    this.#wasReopened = wasReopened;
  }
  #check(holds: boolean, rule: string, text: () => string): void {
    this.#world.check(holds, rule, () => `${this.#name}: ${text()}`);
  }

  // -------------------------------------------------------------------------------------------------- the table

  /** A page of the table. Once there are no more, all pages together are what the session's counts say. */
  page(page: ReplyOf<"results">): void {
    if (page.instance !== this.instance) this.rows.clear();
    this.instance = page.instance;
    this.#check(page.cursor >= this.cursor || this.rows.size === 0, "table", () => "the cursor went back");
    this.cursor = page.cursor;
    for (const row of page.rows) this.#take(row);
    if (page.more) return;
    const counts = new Map(taskStates.map((state) => [state, 0]));
    for (const { state, replacedBy } of this.rows.values())
      if (replacedBy === undefined) counts.set(state, (counts.get(state) ?? 0) + 1);
    for (const [state, count] of counts) {
      this.#check(
        count === page.counts[state],
        "table",
        () => `${count} rows are ${state}, the session counts ${page.counts[state]}`,
      );
    }
  }
  #take(row: ResultRow): void {
    const before = this.rows.get(row.task);
    const mayChange = before === undefined || !isSettled(before.state) || this.#wasReopened(row.task);
    this.#check(
      mayChange || before.state === row.state,
      "settled-changed",
      () => `the row of task ${row.task} was ${before?.state} and is ${row.state}`,
    );
    this.rows.set(row.task, row);
  }

  // ----------------------------------------------------------------------------------------------------- curves

  /** The points of an attempt are numbered: the first ones are there, each once and in order. */
  curve(task: TaskSpec, { attempt, points }: ReplyOf<"metrics">, losses: number): void {
    const values = points.map(({ value }) => value);
    this.#check(
      values.every((value, at) => value === at),
      "metrics-once",
      () => `attempt ${attempt} of task ${task.id} has the points ${values.join()}`,
    );
    const before = this.#seen.get(task.id);
    // What the cache gives has no attempt of its own; a loss of power takes hints that were not synced.
    const isComparable = before?.attempt === attempt && before.losses === losses && task.cache !== true;
    this.#check(
      !isComparable || points.length >= before.count,
      "metrics-back",
      () => `attempt ${attempt} of task ${task.id} had ${before?.count} points, and has ${points.length}`,
    );
    this.#seen.set(task.id, { attempt, count: points.length, losses });
  }
  /** The whole curve of a task that has finished: no point of it is ever lost. */
  wholeCurve(task: TaskSpec, reply: ReplyOf<"metrics">): void {
    const row = this.rows.get(task.id);
    const isSure = row?.state === "finished" && row.info?.cached !== true && !this.#wasReopened(task.id);
    const { points = 0 } = behaviourOf(task);
    this.#check(
      !isSure || reply.points.length === points,
      "metrics-lost",
      () => `task ${task.id} finished and told ${points} points, ${reply.points.length} are there`,
    );
  }

  // ------------------------------------------------------------------------------------------------- datastores

  made(plan: DatastorePlan, version: number): void {
    const before = this.#versions.get(plan);
    this.#check(
      before === undefined || before === version,
      "datastore-changed",
      () => `${plan.name} was version ${before} and is ${version}`,
    );
    this.#versions.set(plan, version);
    const holder = this.#world.datastores.get(`${plan.name} ${version}`) ?? plan.key;
    this.#check(
      holder === plan.key,
      "datastore-changed",
      () => `version ${version} of ${plan.name} was given twice`,
    );
    this.#world.datastores.set(`${plan.name} ${version}`, plan.key);
  }
  deleting(plan: DatastorePlan): number | undefined {
    this.#deleted.add(plan);
    return this.#versions.get(plan);
  }
  listed(list: readonly DatastoreVersion[]): void {
    for (const [plan, version] of this.#versions) {
      const found = list.find((each) => each.name === plan.name && each.version === version);
      this.#check(
        this.#deleted.has(plan) || found?.sha256 === plan.sha256,
        "datastore-lost",
        () => `version ${version} of ${plan.name} is ${found?.sha256 ?? "not there"}`,
      );
    }
  }
  /** Its deletion was acknowledged. */
  gone(plan: DatastorePlan, list: readonly DatastoreVersion[]): void {
    const version = this.#versions.get(plan);
    this.#check(
      !list.some((each) => each.name === plan.name && each.version === version),
      "datastore-lost",
      () => `version ${version} of ${plan.name} is there again`,
    );
  }
}
