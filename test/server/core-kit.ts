import {
  asDigest,
  asObjectId,
  asTaskId,
  type ConstantSpec,
  type Digest,
  type GovernorHello,
  type GovernorMessage,
  type GovernorMessageOf,
  type OutputSpec,
  type RequestOf,
  type SessionId,
  type TaskSpec,
} from "@rain/protocol";
import {
  DurableState,
  ServerCore,
  type CoreRequest,
  type ServerConfig,
  type ServerEffect,
  type ServerInput,
  type ServerRecord,
} from "@rain/server/core";

/** What tests of the server's core have in common. */

export const coreConfig: ServerConfig = {
  version: "0",
  clusterId: "c",
  instance: "i",
  leaseMs: 15_000,
  heartbeatMs: 2_000,
  sessionLeaseMs: 60_000,
  crashLimit: 3,
  aheadMs: 0,
};

/** A core with its time, and what it said: a bench for single steps. Histories are the simulator's business. */
export class CoreKit {
  now = 1_000_000;
  readonly records: ServerRecord[] = [];
  readonly effects: ServerEffect[] = [];
  core: ServerCore;
  readonly #config: ServerConfig;
  #keys = 0;

  constructor(config: Partial<ServerConfig> = {}, durable: DurableState = new DurableState()) {
    this.#config = { ...coreConfig, ...config };
    this.core = new ServerCore(this.#config, durable, this.now);
  }

  /** With the ticks that the core asks for at once. */
  input(input: ServerInput): ServerEffect[] {
    const step = this.core.handle(input, this.now);
    this.records.push(...step.records);
    this.effects.push(...step.effects);
    const made = [...step.effects];
    if (step.wakeAt !== undefined && step.wakeAt <= this.now) made.push(...this.input({ type: "tick" }));
    return made;
  }
  request(fields: Record<string, unknown> & { type: string }, connection = 1): ServerEffect[] {
    const request = { req: 7, ...fields } as unknown as CoreRequest;
    return this.input({ type: "client.request", connection, request });
  }
  says(message: GovernorMessage, connection = 100): ServerEffect[] {
    return this.input({ type: "governor.message", connection, message });
  }

  /** A governor registers, and tells what it holds. */
  register(
    connection: number,
    traits: Partial<GovernorHello> = {},
    attempts: GovernorMessageOf<"register">["attempts"] = [],
    objects: GovernorMessageOf<"holding">["objects"] = [],
  ): ServerEffect[] {
    const hello = { ...helloOf(connection), ...traits };
    return [
      ...this.says({ type: "register", ...hello, attempts }, connection),
      ...this.says({ type: "holding", objects, done: true }, connection),
    ];
  }
  open(fields: Partial<RequestOf<"session.open">> = {}): SessionId {
    const key = `session-${this.#keys++}`;
    const asked = { type: "session.open", key, name: "s", onError: "continue", detached: true } as const;
    return (okOf(this.request({ ...asked, ...fields })) as { session: SessionId }).session;
  }
  submit(
    session: SessionId,
    tasks: readonly TaskSpec[],
    constants: readonly ConstantSpec[] = [],
  ): ServerEffect[] {
    return this.request({ type: "submit", session, key: `submit-${this.#keys++}`, tasks, constants });
  }

  /** A new process of the server: over what the journal has, or over this. */
  restart(durable: DurableState = applied(this.records)): void {
    this.core = new ServerCore(this.#config, durable, this.now);
  }
}

export const helloOf = (connection: number): GovernorHello => ({
  identity: `identity-${connection}`,
  incarnation: "incarnation-1",
  name: `g${connection}`,
  dataUrl: "http://127.0.0.1:1",
  capacity: { cpus: 4, gpus: 0, memory: 0, named: {} },
  labels: {},
});
/** A capacity of so many cpus. */
export const cpus = (count: number): Pick<GovernorHello, "capacity"> => ({
  capacity: { cpus: count, gpus: 0, memory: 0, named: {} },
});

export function applied(records: readonly ServerRecord[]): DurableState {
  const durable = new DurableState();
  for (const record of records) durable.apply(record);
  return durable;
}
/** The same state, read from a snapshot. */
export function reloaded(state: DurableState): DurableState {
  const durable = new DurableState();
  for (const item of [...state.dump()]) durable.load(item);
  return durable;
}

export const digestOf = (n: number): Digest => asDigest(n.toString(16).padStart(64, "0"));
export const okOf = (effects: readonly ServerEffect[]): unknown =>
  effects.find((each) => each.type === "reply")?.ok;
export const errorOf = (effects: readonly ServerEffect[]): { code: string; message: string } | undefined => {
  const found = effects.find((each) => each.type === "error");
  return found?.type === "error" ? found.error : undefined;
};

/** A kept output of this number. */
export const outputSpec = (id: number, more: Partial<OutputSpec> = {}): OutputSpec => ({
  object: asObjectId(id),
  label: "out",
  kind: "blob",
  contentType: "",
  keep: true,
  capture: "stdout",
  ...more,
});
/** A task of one cpu, without inputs and outputs. */
export const taskSpec = (id: number, more: Partial<TaskSpec> = {}): TaskSpec => ({
  id: asTaskId(id),
  work: { type: "execute", args: ["true"] },
  inputs: [],
  outputs: [],
  ...requestOf(1),
  ...more,
});
/** A request of so many cpus. */
export const requestOf = (count: number): Pick<TaskSpec, "request"> => ({
  request: { cpus: count, gpus: 0, memory: 0, named: {} },
});
