import {
  asGovernorId,
  asObjectId,
  asTaskId,
  type ClientRequest,
  type GovernorHello,
  type GovernorMessage,
  type SessionId,
  type TaskSpec,
} from "@rain/protocol";
import { DurableState, ServerCore, type ServerEffect, type ServerInput } from "@rain/server/core";
import { beforeEach, describe, expect, it } from "vitest";

/** Which governor a task may go to, and how governors are taken out of the cluster. */

const config = {
  version: "0",
  clusterId: "c",
  instance: "i",
  leaseMs: 15_000,
  heartbeatMs: 2_000,
  sessionLeaseMs: 60_000,
  crashLimit: 3,
  aheadMs: 100,
};

class Bench {
  now = 1_000_000;
  readonly durable = new DurableState();
  core = new ServerCore(config, this.durable, this.now);
  session = 1 as SessionId;

  input(input: ServerInput): ServerEffect[] {
    const step = this.core.handle(input, this.now);
    const made = [...step.effects];
    if (step.wakeAt !== undefined && step.wakeAt <= this.now && input.type !== "tick")
      made.push(...this.input({ type: "tick" }));
    return made;
  }
  tick(): ServerEffect[] {
    this.now += 500;
    return this.input({ type: "tick" });
  }
  request(fields: Record<string, unknown> & { type: string }): ServerEffect[] {
    const request = { req: 7, ...fields } as unknown as Exclude<ClientRequest, { type: "submit" }>;
    return this.input({ type: "client.request", connection: 1, request });
  }
  governor(connection: number, message: GovernorMessage): ServerEffect[] {
    return this.input({ type: "governor.message", connection, message });
  }
  join(connection: number, traits: Partial<GovernorHello> = {}): void {
    const hello = {
      identity: `identity-${connection}`,
      incarnation: "incarnation-1",
      name: `g${connection}`,
      dataUrl: "http://127.0.0.1:1",
      capacity: { cpus: 2, gpus: 0, memory: 0, named: {} },
      labels: {},
      ...traits,
    };
    this.governor(connection, { type: "register", ...hello, attempts: [] });
    this.governor(connection, { type: "holding", objects: [], done: true });
  }
  open(): void {
    this.request({ type: "session.open", key: "session-key-1", name: "s", onError: "fail", detached: false });
  }
  submit(...tasks: TaskSpec[]): ServerEffect[] {
    const key = `submit-key-${tasks[0]?.id}`;
    const { session } = this;
    return this.input({
      type: "client.request",
      connection: 1,
      request: { type: "submit", req: 8, session, key, tasks, constants: [] },
    });
  }
  explain(task: number): readonly string[] {
    const made = this.request({ type: "explain", session: this.session, task });
    return (ok(made) as { lines: readonly string[] }).lines;
  }
  views(): readonly { readonly name: string; readonly draining?: boolean }[] {
    return (ok(this.request({ type: "server.info" })) as { governors: [] }).governors;
  }
}
const ok = (effects: readonly ServerEffect[]): unknown =>
  effects.find((each) => each.type === "reply")?.ok ?? effects.find((each) => each.type === "error");
const assigned = (effects: readonly ServerEffect[]): (readonly [number, number])[] =>
  effects.flatMap((each) => (each.type === "assign" ? [[each.task, each.connection] as const] : []));
const stops = (effects: readonly ServerEffect[]): number[] =>
  effects.flatMap((each) => (each.type === "send" && each.message.type === "stop" ? [each.connection] : []));

const task = (id: number, more: Partial<TaskSpec> = {}, environment?: string): TaskSpec => ({
  id: asTaskId(id),
  work: { type: "execute", args: ["true"], ...(environment === undefined ? {} : { environment }) },
  inputs: [],
  outputs: [],
  request: { cpus: 1, gpus: 0, memory: 0, named: {} },
  ...more,
});

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
  bench.open();
});

describe("labels and environments", () => {
  it("a task goes only to a governor that has its labels and its environment", () => {
    bench.join(100, { labels: { zone: "a", instance_type: "cpu" } });
    bench.join(101, { labels: { zone: "a", instance_type: "4_v100_16gb" }, environments: ["torch"] });
    const made = bench.submit(
      task(0, { labels: { instance_type: "4_v100_16gb" } }),
      task(1, {}, "torch"),
      task(2, { labels: { zone: "a", instance_type: "cpu" } }),
      task(3, { labels: { zone: "a", instance_type: "cpu" } }, "torch"),
    );
    expect(assigned(made).toSorted(([a], [b]) => a - b)).toEqual([
      [0, 101],
      [1, 101],
      [2, 100],
    ]);
  });

  it("a demanding task is not in the way of others, and comes when its governor does", () => {
    bench.join(100);
    expect(assigned(bench.submit(task(0, { priority: 9 }, "torch"), task(1)))).toEqual([[1, 100]]);
    bench.join(101, { environments: ["torch"] });
    expect(assigned(bench.tick())).toEqual([]); // it came with the registration
    expect(bench.core.kernel.durable.session(bench.session).tasks.get(asTaskId(0))?.state).toMatchObject({
      attempt: 1,
    });
  });

  it("explain says what every governor lacks", () => {
    bench.join(100, { environments: ["plain"], labels: { zone: "b" } });
    bench.join(101);
    bench.submit(task(0, { labels: { zone: "a" } }, "torch"));
    expect(bench.explain(0).slice(0, 3)).toEqual([
      "no connected governor has what it asks for:",
      "  g100 lacks environment torch (has plain), label zone=a (has zone=b)",
      "  g101 lacks environment torch (has none), label zone=a (has no zone)",
    ]);
  });

  it("a label of the object's own prototype is no label", () => {
    bench.join(100);
    expect(assigned(bench.submit(task(0, { labels: { toString: "x" } })))).toEqual([]);
  });
});

describe("drain and stop", () => {
  it("a drained governor gets no tasks, ends what it runs, and is told to stop once", () => {
    bench.join(100);
    expect(assigned(bench.submit(task(0)))).toHaveLength(1);
    expect(ok(bench.request({ type: "governor.drain", governor: 1 }))).toEqual({});
    expect(ok(bench.request({ type: "governor.drain", governor: 1 }))).toEqual({}); // may be repeated
    expect(bench.views()).toMatchObject([{ name: "g100", draining: true }]);
    expect(assigned(bench.submit(task(1)))).toEqual([]);
    expect(bench.explain(1)[0]).toContain("drained");
    expect(stops(bench.tick())).toEqual([]);
    const ref = { session: bench.session, task: asTaskId(0), attempt: 1 };
    const made = bench.governor(100, { type: "finish", ...ref, outputs: [], info: {} });
    expect([...stops(made), ...stops(bench.tick())]).toEqual([100]);
    expect(stops(bench.tick())).toEqual([]);
    bench.join(101);
    const at = bench.core.durable.session(bench.session).tasks.get(asTaskId(1))?.state;
    expect(at).toMatchObject({ governor: 2 });
  });

  it("stays drained over a reconnect and a restart of the server, but not as a new process", () => {
    bench.join(100);
    bench.submit(task(0));
    bench.request({ type: "governor.drain", governor: 1 });
    bench.core = new ServerCore(config, bench.durable, bench.now);
    bench.join(102, { identity: "identity-100" });
    expect(bench.views()).toMatchObject([{ draining: true }]);
    bench.input({ type: "governor.gone", connection: 102 });
    bench.join(103, { identity: "identity-100", incarnation: "incarnation-2" });
    expect(bench.views().at(-1)?.draining).toBeUndefined();
  });

  it("an object that its task can make again does not hold it", () => {
    bench.join(100);
    const output = {
      object: asObjectId(0),
      label: "out",
      kind: "blob",
      contentType: "",
      keep: true,
    } as const;
    bench.submit(task(0, { outputs: [{ ...output, capture: "stdout" }] }));
    const ref = { session: bench.session, task: asTaskId(0), attempt: 1 };
    const sha256 = "ab".repeat(32) as never;
    const big = { object: asObjectId(0), size: 100_000, sha256, contentType: "" };
    bench.governor(100, { type: "finish", ...ref, outputs: [big], info: {} });
    expect(stops(bench.request({ type: "governor.drain", governor: 1 }))).toEqual([100]);
  });

  it("a stopped governor is told once, and unknown ones are an error", () => {
    bench.join(100);
    bench.submit(task(0));
    expect(stops(bench.request({ type: "governor.stop", governor: 1 }))).toEqual([100]);
    expect(stops(bench.request({ type: "governor.stop", governor: 1 }))).toEqual([]);
    const unknown = ok(bench.request({ type: "governor.stop", governor: asGovernorId(9) }));
    expect(unknown).toMatchObject({ error: { code: "unknown-governor" } });
    const drain = ok(bench.request({ type: "governor.drain", governor: asGovernorId(9) }));
    expect(drain).toMatchObject({ error: { code: "unknown-governor" } });
    bench.input({ type: "governor.gone", connection: 100 });
    // It is gone: asked again, there is nothing left to do. Its task was given back without a crash.
    expect(ok(bench.request({ type: "governor.stop", governor: 1 }))).toEqual({});
    expect(bench.core.durable.session(bench.session).tasks.get(asTaskId(0))?.crashes).toBe(0);
  });
});
