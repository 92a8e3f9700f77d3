import {
  asGovernorId,
  asObjectId,
  asTaskId,
  type GovernorHello,
  type GovernorMessage,
  type SessionId,
  type TaskSpec,
} from "@rain/protocol";
import type { ServerEffect } from "@rain/server/core";
import { beforeEach, describe, expect, it } from "vitest";
import { CoreKit, cpus, okOf, errorOf, outputSpec, taskSpec } from "./core-kit.ts";

/** Which governor a task may go to, and how governors are taken out of the cluster. */

class Bench extends CoreKit {
  readonly session: SessionId;

  constructor() {
    super({ aheadMs: 100 });
    this.session = this.open({ onError: "fail", detached: false });
  }
  tick(): ServerEffect[] {
    this.now += 500;
    return this.input({ type: "tick" });
  }
  governor(connection: number, message: GovernorMessage): ServerEffect[] {
    return this.says(message, connection);
  }
  join(connection: number, traits: Partial<GovernorHello> = {}): ServerEffect[] {
    return this.register(connection, { ...cpus(2), knows: ["copy"], ...traits });
  }
  add(...tasks: TaskSpec[]): ServerEffect[] {
    return this.submit(this.session, tasks);
  }
  explain(task: number): readonly string[] {
    const made = this.request({ type: "explain", session: this.session, task });
    return (okOf(made) as { lines: readonly string[] }).lines;
  }
  views(): readonly { readonly name: string; readonly draining?: boolean }[] {
    return (okOf(this.request({ type: "server.info" })) as { governors: [] }).governors;
  }
}
const assigned = (effects: readonly ServerEffect[]): (readonly [number, number])[] =>
  effects.flatMap((each) => (each.type === "assign" ? [[each.task, each.connection] as const] : []));
const stops = (effects: readonly ServerEffect[]): number[] =>
  effects.flatMap((each) => (each.type === "send" && each.message.type === "stop" ? [each.connection] : []));

const task = (id: number, more: Partial<TaskSpec> = {}, environment?: string): TaskSpec =>
  taskSpec(id, {
    work: { type: "execute", args: ["true"], ...(environment === undefined ? {} : { environment }) },
    ...more,
  });

let bench: Bench;
beforeEach(() => (bench = new Bench()));

describe("labels and environments", () => {
  it("a task goes only to a governor that has its labels and its environment", () => {
    bench.join(100, { labels: { zone: "a", instance_type: "cpu" } });
    bench.join(101, { labels: { zone: "a", instance_type: "4_v100_16gb" }, environments: ["torch"] });
    const made = bench.add(
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
    expect(assigned(bench.add(task(0, { priority: 9 }, "torch"), task(1)))).toEqual([[1, 100]]);
    bench.join(101, { environments: ["torch"] });
    expect(assigned(bench.tick())).toEqual([]); // it came with the registration
    expect(bench.core.kernel.durable.session(bench.session).tasks.get(asTaskId(0))?.state).toMatchObject({
      attempt: 1,
    });
  });

  it("explain says what every governor lacks", () => {
    bench.join(100, { environments: ["plain"], labels: { zone: "b" } });
    bench.join(101);
    bench.add(task(0, { labels: { zone: "a" } }, "torch"));
    expect(bench.explain(0).slice(0, 3)).toEqual([
      "no connected governor has what it asks for:",
      "  g100 lacks environment torch (has plain), label zone=a (has zone=b)",
      "  g101 lacks environment torch (has none), label zone=a (has no zone)",
    ]);
  });

  it("a label of the object's own prototype is no label", () => {
    bench.join(100);
    expect(assigned(bench.add(task(0, { labels: { toString: "x" } })))).toEqual([]);
  });
});

describe("drain and stop", () => {
  it("a drained governor gets no tasks, ends what it runs, and is told to stop once", () => {
    bench.join(100);
    expect(assigned(bench.add(task(0)))).toHaveLength(1);
    expect(okOf(bench.request({ type: "governor.drain", governor: 1 }))).toEqual({});
    expect(okOf(bench.request({ type: "governor.drain", governor: 1 }))).toEqual({}); // may be repeated
    expect(bench.views()).toMatchObject([{ name: "g100", draining: true }]);
    expect(assigned(bench.add(task(1)))).toEqual([]);
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
    bench.add(task(0));
    bench.request({ type: "governor.drain", governor: 1 });
    bench.restart(bench.core.durable);
    bench.join(102, { identity: "identity-100" });
    expect(bench.views()).toMatchObject([{ draining: true }]);
    bench.input({ type: "governor.gone", connection: 102 });
    bench.join(103, { identity: "identity-100", incarnation: "incarnation-2" });
    expect(bench.views().at(-1)?.draining).toBeUndefined();
  });

  const finishBig = (connection: number): ServerEffect[] => {
    bench.add(task(0, { outputs: [outputSpec(0)] }));
    const ref = { session: bench.session, task: asTaskId(0), attempt: 1 };
    const sha256 = "ab".repeat(32) as never;
    const big = { object: asObjectId(0), size: 100_000, sha256, contentType: "" };
    return bench.governor(connection, { type: "finish", ...ref, outputs: [big], info: {} });
  };
  const copies = (effects: readonly ServerEffect[]) =>
    effects.flatMap((each) => (each.type === "copy" ? [each] : []));
  const held = (): GovernorMessage => ({
    type: "holding",
    objects: [{ session: bench.session, object: asObjectId(0), sha256: "ab".repeat(32) as never }],
    done: true,
  });

  it("case 21: what only a drained governor has is copied to another first, and then it stops", () => {
    bench.join(100, { dataUrl: "http://127.0.0.1:1" });
    finishBig(100);
    bench.join(101, { dataUrl: "http://127.0.0.1:2" });
    const drained = bench.request({ type: "governor.drain", governor: 1 });
    const asked = [...drained, ...bench.tick(), ...bench.tick()];
    expect(stops(asked)).toEqual([]);
    expect(copies(asked)).toMatchObject([
      { connection: 101, objects: [{ session: bench.session, object: 0, size: 100_000, holders: [1] }] },
    ]); // once
    expect(bench.views()[0]).toMatchObject({
      drainStatus: "1 objects (100000 bytes) that are needed are nowhere else, and others are copying them",
    });
    const there = [...bench.governor(101, held()), ...bench.tick()];
    expect(stops(there)).toEqual([100]);
    // It waits for a word when its programs have ended.
    expect(stops([...bench.governor(100, { type: "leaving" }), ...bench.tick()])).toEqual([100]);
    bench.input({ type: "governor.gone", connection: 100 });
    const made = bench.core.durable.session(bench.session).tasks.get(asTaskId(0));
    expect(made).toMatchObject({ state: { kind: "finished" }, crashes: 0 });
  });

  it("case 21: one that was told to stop may go when others have copies, or when there is nobody to copy", () => {
    bench.join(100);
    finishBig(100);
    bench.join(101);
    const left = bench.governor(100, { type: "leaving" });
    expect(copies(left)).toMatchObject([{ connection: 101 }]);
    expect(stops([...left, ...bench.tick()])).toEqual([]);
    expect(stops(bench.governor(101, held()))).toEqual([100]);
    expect(stops(bench.tick())).toEqual([]);
    bench.input({ type: "governor.gone", connection: 100 });
    expect(stops(bench.governor(101, { type: "leaving" }))).toEqual([101]);
  });

  it("without another governor it stays, says why, and goes when there is one", () => {
    bench.join(100);
    finishBig(100);
    bench.request({ type: "governor.drain", governor: 1 });
    const alone = [...bench.tick(), ...bench.tick()];
    expect([...stops(alone), ...copies(alone)]).toEqual([]);
    expect(bench.views()[0]).toMatchObject({
      drainStatus:
        "1 objects (100000 bytes) that are needed are nowhere else, and no other governor takes them: " +
        "start one (rain governor)",
    });
    expect(copies([...bench.join(101), ...bench.tick()])).toMatchObject([{ connection: 101 }]);
    expect(stops(bench.governor(101, held()))).toEqual([100]);
  });

  it("a governor of an older release is not asked to copy", () => {
    bench.join(100);
    finishBig(100);
    bench.join(101, { knows: [] });
    bench.request({ type: "governor.drain", governor: 1 });
    expect(copies([...bench.tick(), ...bench.tick()])).toEqual([]);
    expect(bench.views()[0]).toMatchObject({
      drainStatus: expect.stringContaining("no other governor takes them") as string,
    });
    expect(copies([...bench.join(102), ...bench.tick()])).toMatchObject([{ connection: 102 }]);
  });

  it("a governor that cannot copy an object is asked again after the others, and why is told", () => {
    bench.join(100);
    finishBig(100);
    bench.join(101);
    bench.request({ type: "governor.drain", governor: 1 });
    const why = "ENOSPC: the disk is full";
    const ref = { session: bench.session, object: asObjectId(0) };
    bench.governor(101, { type: "uncopied", objects: [{ ...ref, why }] });
    expect(copies(bench.tick())).toEqual([]);
    expect(bench.views()[0]).toMatchObject({ drainStatus: expect.stringContaining(why) as string });
    expect(copies([...bench.join(102), ...bench.tick()])).toMatchObject([{ connection: 102 }]);
    bench.governor(102, { type: "uncopied", objects: [{ ...ref, why }] });
    const later = Array.from({ length: 25 }, () => {
      for (const connection of [100, 101, 102])
        bench.governor(connection, { type: "heartbeat", loopDelayMs: 0 });
      return copies(bench.tick());
    }).flat();
    expect(later).toMatchObject([{ connection: 101 }]);
  });

  it("an object that nobody needs any more does not hold it", () => {
    bench.join(100);
    finishBig(100);
    bench.request({ type: "governor.drain", governor: 1 });
    const { session } = bench;
    const gone = bench.request({ type: "unkeep", session, objects: [asObjectId(0)] });
    expect([...stops(gone), ...stops(bench.tick())]).toEqual([100]);
  });
});

describe("a report of inputs that could not be brought", () => {
  it("takes away only the copies that were tried", () => {
    const copiesOf = (): number[] => {
      const object = bench.core.durable.session(bench.session).objects.get(asObjectId(0));
      return [...((object && bench.core.kernel.live.replicas.get(object)) ?? [])].map(({ id }) => id);
    };
    const sha256 = "ab".repeat(32) as never;
    bench.join(100, { dataUrl: "http://127.0.0.1:1" });
    bench.add(
      task(0, { outputs: [outputSpec(0)] }),
      task(1, { inputs: [{ object: asObjectId(0) }], environment: "e" } as never, "e"),
    );
    const ref = (id: number): { session: SessionId; task: TaskSpec["id"]; attempt: number } => ({
      session: bench.session,
      task: asTaskId(id),
      attempt: 1,
    });
    const made = { object: asObjectId(0), size: 100_000, sha256, contentType: "" };
    bench.governor(100, { type: "finish", ...ref(0), outputs: [made], info: {} });
    bench.join(101, { dataUrl: "http://127.0.0.1:11" });
    const objects = [{ session: bench.session, object: asObjectId(0), sha256 }];
    bench.governor(101, { type: "holding", objects, done: true });
    expect(copiesOf()).toEqual([1, 2]);
    bench.join(102, { environments: ["e"] });
    const tried = ["http://127.0.0.1:1/rain/v1/blobs/ab", "/rain/v1/objects/1/0"];
    const missing = [{ object: asObjectId(0), why: "not there", tried }];
    bench.governor(102, { type: "starved", ...ref(1), missing });
    expect(copiesOf()).toEqual([2]);
    // An older governor does not tell: then none of them can be trusted, and the task of the object runs again.
    bench.governor(102, {
      type: "starved",
      ...ref(1),
      attempt: 2,
      missing: [{ object: asObjectId(0), why: "not there" }],
    });
    expect(copiesOf()).toEqual([]);
  });
});

describe("stop", () => {
  it("a stopped governor is told once, and unknown ones are an error", () => {
    bench.join(100);
    bench.add(task(0));
    expect(stops(bench.request({ type: "governor.stop", governor: 1 }))).toEqual([100]);
    expect(stops(bench.request({ type: "governor.stop", governor: 1 }))).toEqual([]);
    const unknown = errorOf(bench.request({ type: "governor.stop", governor: asGovernorId(9) }));
    expect(unknown).toMatchObject({ code: "unknown-governor" });
    const drain = errorOf(bench.request({ type: "governor.drain", governor: asGovernorId(9) }));
    expect(drain).toMatchObject({ code: "unknown-governor" });
    bench.input({ type: "governor.gone", connection: 100 });
    // It is gone: asked again, there is nothing left to do. Its task was given back without a crash.
    expect(okOf(bench.request({ type: "governor.stop", governor: 1 }))).toEqual({});
    expect(bench.core.durable.session(bench.session).tasks.get(asTaskId(0))?.crashes).toBe(0);
  });
});
