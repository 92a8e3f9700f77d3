import type { ReplyOf, RequestOf, RequestType, SessionId, TaskSpec } from "@rain/protocol";
import type { SubmitPlan } from "./plan.ts";
import { RunMemory } from "./run-memory.ts";
import { planAgain, type DatastorePlan, type RunPlan } from "./run-plan.ts";
import type { World } from "./world.ts";

/** What the run needs of its client. */
export interface RunHost {
  readonly name: string;
  readonly session: SessionId | undefined;
  /** It wants nothing more. */
  isOver(): boolean;
  call<T extends RequestType>(
    type: T,
    body: Omit<RequestOf<T>, "req">,
    onReply: (ok: ReplyOf<T>) => void,
  ): void;
  upload(sha256: string, size: number, done: () => void): void;
  /** Tasks that were submitted, and how each settled. */
  tasks(): readonly TaskSpec[];
  stateOf(task: TaskSpec): string | undefined;
  wasReopened(task: TaskSpec): boolean;
  losses(): number;
}

/** A client of a run: it makes datastores, reads the table and curves while tasks run, and tries some once more. */
export class RunClient {
  readonly memory: RunMemory;
  readonly #world: World;
  readonly #plan: RunPlan;
  readonly #host: RunHost;
  #reading = false;
  #triedAgain = false;

  constructor(world: World, plan: RunPlan, host: RunHost) {
    this.#world = world;
    this.#plan = plan;
    this.#host = host;
    const wasReopened = (task: TaskSpec["id"]): boolean =>
      host.tasks().some((each) => each.id === task && host.wasReopened(each));
    this.memory = new RunMemory(world, host.name, wasReopened);
  }

  // ------------------------------------------------------------------------------------------------- datastores

  /** Its datastores are there before its first submit, which may name their bytes. */
  start(done: () => void): void {
    this.#poll();
    this.#create(this.#plan.datastores, done);
  }
  has(sha256: string): boolean {
    return this.#plan.datastores.some((each) => each.sha256 === sha256);
  }
  #create(plans: readonly DatastorePlan[], done: () => void): void {
    const [first, ...rest] = plans;
    if (!first) return done();
    this.#host.upload(first.sha256, first.size, () => this.#make(first, () => this.#create(rest, done)));
  }
  #make(plan: DatastorePlan, done: () => void): void {
    const { key, name, size, sha256 } = plan;
    const body = { type: "datastore.create", key, name, kind: "blob", size, sha256 } as const;
    this.#host.call("datastore.create", body, ({ version }) => {
      this.memory.made(plan, version);
      done();
    });
  }
  #list(plans: readonly DatastorePlan[], done: () => void): void {
    this.#host.call("datastore.list", { type: "datastore.list" }, ({ datastores }) => {
      this.memory.listed(datastores);
      const [first, ...rest] = plans;
      if (!first) return done();
      // Asked for once more, it is not made again.
      this.#make(first, () => this.#delete(first, () => this.#list(rest, done)));
    });
  }
  #delete(plan: DatastorePlan, done: () => void): void {
    const { name } = plan;
    const version = this.#world.random.chance(0.5) ? this.memory.deleting(plan) : undefined;
    if (version === undefined) return done();
    this.#host.call("datastore.delete", { type: "datastore.delete", name, version }, () => {
      this.#host.call("datastore.list", { type: "datastore.list" }, ({ datastores }) => {
        this.memory.gone(plan, datastores);
        this.#make(plan, done);
      });
    });
  }

  // ---------------------------------------------------------------------------------------------------- reading

  /** Reads while tasks run, now and then. */
  #poll(): void {
    const { loop, random } = this.#world;
    loop.after(random.skewed(100, 8_000), () => {
      if (this.#host.isOver()) return;
      const measured = this.#host.tasks().filter(({ metrics }) => metrics === true);
      if (!this.#reading) this.#page(random.int(1, 10), () => undefined);
      if (measured.length > 0) this.#curve(random.pick(measured), () => undefined);
      this.#poll();
    });
  }
  #page(max: number, done: () => void): void {
    const { session } = this.#host;
    if (session === undefined || this.#host.isOver()) return;
    this.#reading = true;
    const { cursor: since, instance } = this.memory;
    this.#host.call("results", { type: "results", session, since, instance, max }, (page) => {
      this.#reading = false;
      this.memory.page(page);
      if (page.more) this.#page(max, done);
      else done();
    });
  }
  #curve(task: TaskSpec, done: (reply: ReplyOf<"metrics">) => void): void {
    const { session } = this.#host;
    if (session === undefined) return;
    const losses = this.#host.losses();
    this.#host.call("metrics", { type: "metrics", session, task: task.id }, (reply) => {
      // A loss of power between the question and its answer: nothing can be said.
      if (losses === this.#host.losses()) this.memory.curve(task, reply, losses);
      done(reply);
    });
  }

  // ------------------------------------------------------------------------------------------------------- end

  /** All tasks have settled. Answers what to submit next, or nothing: then it is done. */
  settled(done: (again: SubmitPlan | undefined) => void): void {
    const { loop } = this.#world;
    // A page that is being read is of before.
    if (this.#reading) {
      loop.after(10, () => !this.#host.isOver() && this.settled(done));
      return;
    }
    this.#page(5, () => this.#curves(this.#measured(), () => this.#again(done)));
  }
  #measured(): TaskSpec[] {
    return this.#host.tasks().filter(({ metrics }) => metrics === true);
  }
  #curves(tasks: readonly TaskSpec[], done: () => void): void {
    const [first, ...rest] = tasks;
    if (!first) return done();
    this.#curve(first, (reply) => {
      this.memory.wholeCurve(first, reply);
      this.#curves(rest, done);
    });
  }
  #again(done: (again: SubmitPlan | undefined) => void): void {
    const { random } = this.#world;
    const { again, datastores } = this.#plan;
    const isFailed = (task: TaskSpec): boolean => {
      const state = this.#host.stateOf(task);
      return (state === "failed" || state === "cancelled") && !this.#host.wasReopened(task);
    };
    const tasks = this.#triedAgain
      ? []
      : this.#host.tasks().filter((task) => isFailed(task) && random.chance(again));
    this.#triedAgain = true;
    if (tasks.length > 0) return done(planAgain(random, tasks));
    this.#list(datastores, () => done(undefined));
  }
}
