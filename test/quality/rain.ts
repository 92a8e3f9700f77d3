import {
  asDigest,
  asObjectId,
  asTaskId,
  limits,
  type GovernorMessage,
  type ServerToGovernor,
  type SessionId,
  type TaskSpec,
} from "@rain/protocol";
import { DurableState, ServerCore, type ServerEffect, type ServerInput } from "@rain/server/core";
import type { Cluster, Scheduler } from "./cluster.ts";
import type { Graph, GraphObject, GraphTask } from "./graph.ts";

/** Messages take so long each way, seconds. */
const LATENCY = 0.0005;
const CLIENT = 1;
const FIRST = 2;
const SESSION = 1 as SessionId;

const config = {
  version: "quality",
  clusterId: "quality",
  instance: "quality",
  leaseMs: 1e12,
  heartbeatMs: 1e12,
  sessionLeaseMs: 1e12,
  crashLimit: 3,
  aheadMs: 100,
};

/** The production server's core, which hears of everything by messages. */
export class RainScheduler implements Scheduler {
  readonly core: ServerCore = new ServerCore(config, new DurableState(), 0);
  decisions = 0;
  /** What the cluster does not tell: the numbers of attempts and the order of assignments. */
  readonly #attempts: number[] = [];
  #order = 0;
  #cluster: Cluster | undefined;
  #tickAt = Infinity;

  begin(cluster: Cluster): void {
    this.#cluster = cluster;
    for (const [id, cpus] of cluster.cpus.entries()) {
      const hello = {
        identity: `identity-${id}`,
        incarnation: "1",
        name: `g${id}`,
        dataUrl: `http://g${id}:1`,
        capacity: { cpus, gpus: 0, memory: 0, named: {} },
        labels: {},
        ahead: true,
      };
      this.#hear(id, { type: "register", ...hello, attempts: [] });
      this.#hear(id, { type: "holding", objects: [], done: true });
    }
    const open = { type: "session.open", key: "session-key", name: "q", onError: "fail", detached: true };
    this.#ask(open);
    const tasks = cluster.graph.tasks.map(specOf);
    this.#ask({ type: "submit", session: SESSION, key: "submit-key", tasks, constants: [] });
    if (this.core.durable.sessions.get(SESSION)?.tasks.size !== tasks.length)
      throw new Error(`the server did not take ${cluster.graph.name}`);
  }

  started(task: GraphTask, governor: number): void {
    this.#tell(governor, { type: "started", ...this.#ref(task), at: 0 });
  }
  finished(task: GraphTask, governor: number): void {
    const outputs = task.outputs.map((object) => {
      const report = {
        object: asObjectId(object.id),
        size: object.size,
        sha256: digestOf(object),
        contentType: "",
      };
      return object.size > limits.inlineBytes ? report : { ...report, data: new Uint8Array(object.size) };
    });
    const info = { durationS: task.durationS };
    this.#tell(governor, { type: "finish", ...this.#ref(task), outputs, info });
  }
  copied(object: GraphObject, governor: number): void {
    const held = { session: SESSION, object: asObjectId(object.id), sha256: digestOf(object) };
    this.#tell(governor, { type: "holding", objects: [held], done: true });
  }

  #ref(task: GraphTask): { session: SessionId; task: TaskSpec["id"]; attempt: number } {
    return { session: SESSION, task: asTaskId(task.id), attempt: this.#attempts[task.id] ?? 1 };
  }
  #tell(governor: number, message: GovernorMessage): void {
    this.#cluster?.after(LATENCY, () => this.#hear(governor, message));
  }
  #hear(governor: number, message: GovernorMessage): void {
    this.#input({ type: "governor.message", connection: FIRST + governor, message });
  }
  #ask(request: object): void {
    this.#input({ type: "client.request", connection: CLIENT, request: { req: 1, ...request } as never });
  }

  #input(input: ServerInput): void {
    const cluster = this.#cluster;
    if (!cluster) return;
    const { effects, wakeAt } = this.core.handle(input, cluster.now * 1_000);
    for (const effect of effects) this.#perform(cluster, effect);
    const at = (wakeAt ?? Infinity) / 1_000;
    if (at === Infinity || at >= this.#tickAt) return;
    this.#tickAt = at;
    cluster.after(Math.max(0, at - cluster.now), () => {
      if (this.#tickAt !== at) return;
      this.#tickAt = Infinity;
      this.#input({ type: "tick" });
    });
  }

  #perform(cluster: Cluster, effect: ServerEffect): void {
    if (effect.type === "error") throw new Error(effect.error.message);
    if (effect.type === "send") {
      const { message, connection } = effect;
      if (message.type === "retract")
        cluster.after(LATENCY, () => this.#retract(cluster, connection - FIRST, message));
      return;
    }
    if (effect.type !== "assign") return;
    const { connection, task: id, attempt, inputs } = effect;
    const task = taskOf(cluster.graph, id);
    this.decisions++;
    this.#attempts[id] = attempt;
    const order = this.#order++;
    const carried = inputs.filter(({ data }) => data !== undefined).map(({ object }) => Number(object));
    const here = task.inputs.filter((object) => carried.includes(object.id));
    cluster.after(LATENCY, () => cluster.assign(task, connection - FIRST, order, here));
  }

  #retract(
    cluster: Cluster,
    governor: number,
    { session, task, attempt }: Extract<ServerToGovernor, { type: "retract" }>,
  ): void {
    if (this.#attempts[task] !== attempt || !cluster.retract(taskOf(cluster.graph, task), governor)) return;
    this.#tell(governor, { type: "stopped", session, task, attempt });
  }
}

function taskOf(graph: Graph, id: number): GraphTask {
  const task = graph.tasks[id];
  if (!task) throw new Error(`there is no task ${id}`);
  return task;
}

const digestOf = ({ id }: GraphObject): ReturnType<typeof asDigest> =>
  asDigest(id.toString(16).padStart(64, "0"));

function specOf(task: GraphTask): TaskSpec {
  return {
    id: asTaskId(task.id),
    name: `${task.kind}-${task.id}`,
    work: { type: "execute", args: [task.kind, String(task.id)] },
    inputs: task.inputs.map(({ id }, at) => ({
      object: asObjectId(id),
      label: `in${at}`,
      path: `in${at}`,
      write: false,
    })),
    outputs: task.outputs.map(({ id }, at) => {
      const what = { object: asObjectId(id), label: `out${at}`, kind: "blob", contentType: "" } as const;
      return { ...what, keep: false, path: `out${at}` };
    }),
    request: { cpus: task.cpus, gpus: 0, memory: 0, named: {} },
  };
}
