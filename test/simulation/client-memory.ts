import type { ObjectId, SettledItem, TaskId, TaskSpec } from "@rain/protocol";
import type { SubmitPlan } from "./plan.ts";
import { behaviourOf, produce } from "./programs.ts";
import type { World } from "./world.ts";

/** What a client was told, and judges what it is told later by it: nothing that it saw may be taken back. */
export class ClientMemory {
  readonly #world: World;
  readonly #name: string;
  /** Was this task opened again for a lost output? Then it may settle in another way. */
  readonly #wasReopened: (task: TaskId) => boolean;
  readonly acknowledged: SubmitPlan[] = [];
  /** The settled log as it was read. */
  readonly log: SettledItem[] = [];
  readonly #settled: Map<TaskId, SettledItem> = new Map();
  readonly #producers: Map<ObjectId, TaskSpec> = new Map();
  readonly #expected: Map<ObjectId, string> = new Map();
  readonly #fetched: Map<ObjectId, string> = new Map();

  constructor(world: World, name: string, wasReopened: (task: TaskId) => boolean) {
    this.#world = world;
    this.#name = name;
    this.#wasReopened = wasReopened;
  }

  #check(holds: boolean, rule: string, text: string): void {
    this.#world.check(holds, rule, () => `${this.#name}: ${text}`);
  }

  acknowledge(plan: SubmitPlan): void {
    this.acknowledged.push(plan);
    for (const { id, sha256 } of plan.constants) this.#expected.set(id, sha256);
    for (const task of plan.tasks) {
      for (const { object } of task.outputs) this.#producers.set(object, task);
      const inputs = task.inputs.map(({ object }) => ({ sha256: this.#expected.get(object) ?? "" }));
      // What a random program makes, or what comes from it, cannot be foretold.
      if (behaviourOf(task).random || inputs.some(({ sha256 }) => sha256 === "")) continue;
      for (const output of produce(task, inputs, "")) this.#expected.set(output.object, output.sha256);
    }
  }
  get tasks(): TaskSpec[] {
    return this.acknowledged.flatMap((plan) => plan.tasks);
  }
  stateOf(id: TaskId): string | undefined {
    return this.#settled.get(id)?.state;
  }
  get hasSettled(): boolean {
    return this.tasks.every(({ id }) => this.#settled.has(id));
  }

  settles(item: SettledItem): void {
    this.log.push(item);
    const before = this.#settled.get(item.task);
    const mayChange = before?.state === "finished" && this.#wasReopened(item.task);
    this.#check(
      !before || before.state === item.state || mayChange,
      "settled-changed",
      `task ${item.task} was ${before?.state} and is ${item.state}`,
    );
    const task = this.tasks.find(({ id }) => id === item.task);
    this.#check(
      item.state !== "finished" || !task || behaviourOf(task).exit === 0,
      "settled-wrong",
      `task ${item.task} finished, and its program always fails`,
    );
    this.#settled.set(item.task, item);
  }
  /** The log was read again from its beginning. */
  readAgain(items: readonly SettledItem[], seen: number): void {
    const [before, now] = [this.log.slice(0, seen), items.slice(0, seen)].map((list) =>
      list.map(({ task }) => task).join(),
    );
    this.#check(before === now, "settled-changed", `the log was ${before} and is ${now}`);
  }

  /** May this object never come, for all that is known? */
  mayFail(object: ObjectId): boolean {
    const producer = this.#producers.get(object);
    if (!producer) return false;
    const isSure = this.#settled.get(producer.id)?.state === "finished" && !this.#wasReopened(producer.id);
    return !isSure;
  }
  got(object: ObjectId, sha256: string): void {
    const before = this.#fetched.get(object);
    const expected = this.#expected.get(object);
    const producer = this.#producers.get(object);
    const mayChange = expected === undefined && producer !== undefined && this.#wasReopened(producer.id);
    const isSame = before === undefined || before === sha256 || mayChange;
    this.#check(isSame, "fetched-changed", `o${object} had other bytes before`);
    this.#check((expected ?? sha256) === sha256, "fetched-wrong", `o${object} is not what its task makes`);
    this.#fetched.set(object, sha256);
  }
}
