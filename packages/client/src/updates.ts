import type { ObjectId, ReplyOf, Requests, SessionId, TaskId } from "@rain/protocol";
import type { Graph } from "./graph.ts";

type Ask = <T extends "task.get" | "object.get">(type: T, fields: Requests[T]) => Promise<ReplyOf<T>>;

/** Views are asked in portions: a reply has the whole description of each task. */
const PORTION = 100;

/** Asks the server where tasks and objects are; those asked for in the same moment share requests. */
export class Updates {
  readonly #session: SessionId;
  readonly #graph: Graph;
  readonly #ask: Ask;
  #tasks = new Set<TaskId>();
  #objects = new Set<ObjectId>();
  #flushed: Promise<void> | undefined;

  constructor(session: SessionId, graph: Graph, ask: Ask) {
    this.#session = session;
    this.#graph = graph;
    this.#ask = ask;
  }

  async update(tasks: readonly TaskId[], objects: readonly ObjectId[]): Promise<void> {
    for (const task of tasks) this.#tasks.add(task);
    for (const object of objects) this.#objects.add(object);
    this.#flushed ??= Promise.resolve().then(() => this.#flush());
    await this.#flushed;
  }

  async #flush(): Promise<void> {
    const [tasks, objects] = [[...this.#tasks], [...this.#objects]];
    this.#tasks = new Set();
    this.#objects = new Set();
    this.#flushed = undefined;
    await Promise.all([
      ...portions(tasks).map(async (portion) => {
        const reply = await this.#ask("task.get", { session: this.#session, tasks: portion });
        for (const view of reply.tasks) this.#graph.updateTask(view);
      }),
      ...portions(objects).map(async (portion) => {
        const reply = await this.#ask("object.get", { session: this.#session, objects: portion });
        for (const view of reply.objects) this.#graph.updateObject(view);
      }),
    ]);
  }
}

function portions<T>(all: readonly T[]): T[][] {
  const parts: T[][] = [];
  for (let at = 0; at < all.length; at += PORTION) parts.push(all.slice(at, at + PORTION));
  return parts;
}
