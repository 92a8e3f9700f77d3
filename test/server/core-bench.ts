import {
  asTaskId,
  RainError,
  replySchemas,
  taskStates,
  type GovernorMessage,
  type MetricPoint,
  type MetricsBatch,
  type ReplyOf,
  type RequestOf,
  type RequestType,
  type ServerToClient,
  type SessionId,
  type TaskInfo,
  type TaskSpec,
  type TaskState,
} from "@rain/protocol";
import { decode, encode, parse } from "@rain/protocol/codec";
import {
  DurableState,
  ServerCore,
  type CoreRequest,
  type ServerEffect,
  type ServerInput,
  type ServerRecord,
} from "@rain/server/core";
import { expect } from "vitest";
import { taskState } from "../../packages/server/src/core/views.ts";
import { pack, unpack } from "../../packages/server/src/journal/records.ts";
import { coreConfig, cpus as capacityOf, digestOf, helloOf, outputSpec, taskSpec } from "./core-kit.ts";

/** The server's core for tests of single steps: requests are answered at once, and replies are checked as a client does. */
export class Bench {
  now = 1_000_000;
  readonly records: ServerRecord[] = [];
  core: ServerCore = newCore("instance-1", new DurableState(), this.now);
  #keys = 0;
  #instances = 1;

  input(input: ServerInput): ServerEffect[] {
    const step = this.core.handle(input, this.now);
    this.records.push(...step.records);
    checkCounts(this.core);
    const made = [...step.effects];
    if (step.wakeAt !== undefined && step.wakeAt <= this.now) made.push(...this.input({ type: "tick" }));
    return made;
  }

  /** What a request is answered; throws what it is refused with. */
  ask<T extends RequestType>(type: T, fields: Omit<RequestOf<T>, "type" | "req">): ReplyOf<T> {
    const request = { type, req: 7, ...fields } as unknown as CoreRequest;
    const effects = this.input({ type: "client.request", connection: 1, request });
    const answer = effects.find((each) => each.type === "reply" || each.type === "error");
    if (answer?.type === "error") throw new RainError(answer.error.code, answer.error.message);
    if (answer === undefined) throw new Error(`no answer to ${type}`);
    const { req, ok } = answer;
    const message: ServerToClient = { type: "reply", req, ok };
    const { ok: heard } = decode(encode(message)) as { ok: unknown };
    return parse(replySchemas[type], heard, type);
  }
  /** The code and message that a request is refused with. */
  refusal<T extends RequestType>(type: T, fields: Omit<RequestOf<T>, "type" | "req">): string {
    try {
      this.ask(type, fields);
    } catch (error) {
      if (error instanceof RainError) return `${error.code}: ${error.message}`;
      throw error;
    }
    throw new Error(`${type} was not refused`);
  }

  open(fields: Partial<RequestOf<"session.open">> = {}): SessionId {
    const key = `session-${this.#keys++}`;
    const asked = { key, name: "s", onError: "continue", detached: true, ...fields } as const;
    return this.ask("session.open", asked).session;
  }
  submit(
    session: SessionId,
    tasks: readonly TaskSpec[],
    constants: RequestOf<"submit">["constants"] = [],
  ): void {
    const key = `submit-${this.#keys++}`;
    this.ask("submit", { session, key, part: 0, last: true, tasks, constants });
  }

  join(connection = 100, cpus = 4): void {
    const hello = { ...helloOf(connection), ...capacityOf(cpus) };
    this.says({ type: "register", ...hello, attempts: [] }, connection);
    this.says({ type: "holding", objects: [], done: true }, connection);
  }
  says(message: GovernorMessage, connection = 100): ServerEffect[] {
    return this.input({ type: "governor.message", connection, message });
  }
  started(session: SessionId, id: number, attempt = 1): void {
    this.says({ type: "started", session, task: asTaskId(id), attempt, at: 1 });
  }
  finish(
    session: SessionId,
    id: number,
    more: { attempt?: number; info?: TaskInfo; metrics?: MetricsBatch } = {},
  ): void {
    const { attempt = 1, info = {}, metrics } = more;
    const spec = this.core.durable.session(session).tasks.get(asTaskId(id))?.spec;
    const data = Uint8Array.of(1, 2, 3);
    const outputs = (spec?.outputs ?? []).map(({ object }) => {
      return { object, size: 3, sha256: digestOf(1), contentType: "", data };
    });
    const rest = metrics === undefined ? { info } : { info, metrics };
    this.says({ type: "finish", session, task: asTaskId(id), attempt, outputs, ...rest });
  }
  fail(
    session: SessionId,
    id: number,
    more: { attempt?: number; stderr?: string; metrics?: MetricsBatch } = {},
  ): void {
    const { attempt = 1, stderr = "", metrics } = more;
    const failure = { reason: "exit", message: "exit code 1", exitCode: 1, stderr } as const;
    const rest = metrics === undefined ? { info: {} } : { info: {}, metrics };
    this.says({ type: "fail", session, task: asTaskId(id), attempt, failure, ...rest });
  }

  /** `running 1, waiting 2`: without the states that no task is in. */
  counts(session: SessionId): string {
    const { counts } = this.ask("session.get", { session }).view;
    const there = taskStates.filter((state) => counts[state] > 0);
    return there.map((state) => `${state} ${counts[state]}`).join(", ");
  }
  state(session: SessionId, id: number): TaskState {
    return this.ask("task.get", { session, tasks: [asTaskId(id)] }).tasks[0]?.state ?? "waiting";
  }

  /** A new process of the server: over the records alone, or over a snapshot of the state before. */
  restart(over: "records" | "snapshot"): void {
    const durable = new DurableState();
    if (over === "records") for (const record of this.records) durable.apply(packed(record) as ServerRecord);
    else for (const item of this.core.durable.dump()) durable.load(packed(item));
    expect([...durable.dump()].map(packed)).toEqual([...this.core.durable.dump()].map(packed));
    this.#instances++;
    this.core = newCore(`instance-${this.#instances}`, durable, this.now);
    checkCounts(this.core);
  }
}

const packed = (value: unknown): unknown => unpack(pack(value));
const newCore = (instance: string, durable: DurableState, now: number): ServerCore =>
  new ServerCore({ ...coreConfig, instance }, durable, now);

/** What is counted along is what a walk counts. */
function checkCounts({ kernel }: ServerCore): void {
  for (const session of kernel.durable.sessions.values()) {
    const walked = Object.fromEntries(taskStates.map((state) => [state, 0])) as Record<TaskState, number>;
    for (const task of session.tasks.values()) {
      if (task.replacedBy === undefined) walked[taskState(kernel, task)]++;
    }
    expect(kernel.live.sessions.get(session)?.rows.counts).toEqual(walked);
  }
}

export const points = (name: string, ...values: number[]): MetricPoint[] =>
  values.map((value, step) => ({ name, value, step, at: 1_000 + step }));

/** A task with the kept output of its number. */
export const task = (id: number, more: Partial<TaskSpec> = {}): TaskSpec =>
  taskSpec(id, { work: { type: "execute", args: ["train"] }, outputs: [outputSpec(id)], ...more });
export const tasks = (count: number, from = 0, more: Partial<TaskSpec> = {}): TaskSpec[] =>
  Array.from({ length: count }, (_, at) => task(from + at, more));
