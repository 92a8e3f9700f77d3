import { asDigest, asObjectId, asTaskId, type SessionId, type TaskSpec } from "@rain/protocol";
import { DurableState, ServerCore, type ServerEffect, type ServerInput } from "@rain/server/core";
import { beforeEach, describe, expect, it } from "vitest";

/** Where a task goes when its inputs are large: to room, to where the bytes are, or to read while others run. */

const LARGE = 1_000_000_000; // 10 s of reading, before anything is known of the network
const session = 1 as SessionId;

class Bench {
  now = 1_000_000;
  core = new ServerCore(
    {
      version: "0",
      clusterId: "c",
      instance: "i",
      leaseMs: 1e9,
      heartbeatMs: 1e9,
      sessionLeaseMs: 1e9,
      crashLimit: 3,
      aheadMs: 100,
    },
    new DurableState(),
    this.now,
  );
  #keys = 0;

  input(input: ServerInput): ServerEffect[] {
    const step = this.core.handle(input, this.now);
    const made = [...step.effects];
    if (step.wakeAt !== undefined && step.wakeAt <= this.now) made.push(...this.input({ type: "tick" }));
    return made;
  }
  join(connection: number, cpus = 1): ServerEffect[] {
    const hello = { identity: `identity-${connection}`, incarnation: "1", name: `g${connection}` };
    const rest = { dataUrl: `http://g${connection}:1`, labels: {}, attempts: [], ahead: true };
    const capacity = { cpus, gpus: 0, memory: 0, named: {} };
    const register = { type: "register", ...hello, ...rest, capacity } as const;
    this.input({ type: "governor.message", connection, message: register });
    const holding = { type: "holding", objects: [], done: true } as const;
    return this.input({ type: "governor.message", connection, message: holding });
  }
  ask(fields: object): ServerEffect[] {
    return this.input({ type: "client.request", connection: 100, request: { req: 1, ...fields } as never });
  }
  submit(tasks: readonly TaskSpec[]): string[] {
    return assigned(
      this.ask({ type: "submit", session, key: `submit-${this.#keys++}`, tasks, constants: [] }),
    );
  }
  /** It ran for so many seconds until now, and made its output of this size. */
  finish(connection: number, id: number, seconds: number, size = LARGE): ServerEffect[] {
    this.now += seconds * 1_000;
    const { outputs } = this.core.durable.session(session).tasks.get(asTaskId(id))?.spec ?? { outputs: [] };
    const reports = outputs.map(({ object }) => ({
      object,
      size,
      sha256: asDigest(object.toString(16).padStart(64, "0")),
      contentType: "",
    }));
    const ref = { session, task: asTaskId(id), attempt: 1 };
    const message = { type: "finish", ...ref, outputs: reports, info: { durationS: seconds } } as const;
    return this.input({ type: "governor.message", connection, message });
  }
  started(connection: number, id: number): void {
    const ref = { session, task: asTaskId(id), attempt: 1 };
    this.input({ type: "governor.message", connection, message: { type: "started", ...ref, at: 1 } });
  }
}

const task = (id: number, name: string, inputs: readonly number[] = [], cpus = 1): TaskSpec => ({
  id: asTaskId(id),
  name,
  work: { type: "execute", args: ["program"] },
  inputs: inputs.map((object, at) => ({
    object: asObjectId(object),
    label: `in${at}`,
    path: `in${at}`,
    write: false,
  })),
  outputs: [{ object: asObjectId(id), label: "out", kind: "blob", contentType: "", keep: true, path: "out" }],
  request: { cpus, gpus: 0, memory: 0, named: {} },
});
/** `task@governor`, in order. */
const assigned = (effects: readonly ServerEffect[]): string[] =>
  effects.flatMap((each) => (each.type === "assign" ? [`${each.task}@${each.governor}`] : []));
const retracted = (effects: readonly ServerEffect[]): number[] =>
  effects.flatMap((each) =>
    each.type === "send" && each.message.type === "retract" ? [each.message.task] : [],
  );

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
  bench.ask({ type: "session.open", key: "session-key", name: "s", onError: "continue", detached: true });
});

describe("a task with large inputs", () => {
  /** Governor 1 has a large object and runs a task of the kind "use" that takes 2 s; governor 2 has room. */
  function holderIsBusy(useSeconds: number): void {
    bench.join(1);
    expect(bench.submit([task(0, "make-0")])).toEqual(["0@1"]);
    bench.finish(1, 0, 1);
    expect(bench.submit([task(1, "use-1", [0])])).toEqual(["1@1"]);
    bench.finish(1, 1, useSeconds);
    expect(bench.submit([task(2, "use-2", [0])])).toEqual(["2@1"]);
    bench.join(2);
  }

  it("waits for the governor that has them, when that is sooner than to read them", () => {
    holderIsBusy(2);
    expect(bench.submit([task(3, "use-3", [0])])).toEqual(["3@1"]);
    expect(bench.core.kernel.live.governors.get(1 as never)?.ahead.size).toBe(1);
  });

  it("is read elsewhere when the wait would be longer", () => {
    holderIsBusy(60);
    expect(bench.submit([task(3, "use-3", [0])])).toEqual(["3@2"]);
  });

  it("is given to others when it has waited for as long as it would have read", () => {
    holderIsBusy(2);
    bench.submit([task(3, "use-3", [0])]);
    bench.now += 9_000;
    expect(retracted(bench.input({ type: "tick" }))).toEqual([]);
    bench.now += 2_000;
    expect(retracted(bench.input({ type: "tick" }))).toEqual([3]);
    const stopped = { type: "stopped", session, task: asTaskId(3), attempt: 1 } as const;
    expect(assigned(bench.input({ type: "governor.message", connection: 1, message: stopped }))).toEqual([
      "3@2",
    ]);
  });

  it("reads ahead when nobody has room, of one governor that is not reading itself", () => {
    bench.join(1);
    bench.join(2);
    expect(bench.submit([task(0, "make-0"), task(1, "other-1")])).toEqual(["0@1", "1@2"]);
    bench.started(2, 1);
    bench.finish(1, 0, 8, LARGE / 2);
    expect(bench.submit([task(2, "long-2")])).toEqual(["2@1"]);
    bench.started(1, 2);
    // 1 has the bytes and begins 8 s from now, as far as is known; 2 is nearly done, and reads meanwhile.
    expect(bench.submit([task(3, "use-3", [0])])).toEqual(["3@2"]);
    expect(bench.submit([task(4, "use-4", [0])])).toEqual([]);
  });
});

describe("the order of tasks", () => {
  it("follows what is learned of how long each kind runs", () => {
    bench.join(1, 2);
    bench.submit([task(0, "short-0"), task(1, "long-1")]);
    bench.finish(1, 0, 1);
    bench.finish(1, 1, 60);
    const blocker = task(2, "blocker", [], 2);
    expect(bench.submit([blocker])).toEqual(["2@1"]);
    bench.submit([task(3, "short-3"), task(4, "long-4"), task(5, "short-5"), task(6, "long-6")]);
    expect(assigned(bench.finish(1, 2, 5))).toEqual(["4@1", "6@1"]);
  });

  it("counts a path by the time of its tasks, and counts it anew when more is known", () => {
    bench.join(1, 1);
    // By number of tasks 0 is first; by time 4.
    const chain = [task(0, "quick-0"), task(1, "quick-1", [0]), task(2, "quick-2", [1])];
    const slow = [task(4, "quick-4"), task(5, "slow-5", [4])];
    bench.submit([task(9, "slow-9"), task(8, "quick-8")]);
    bench.finish(1, 9, 100, 10);
    bench.submit([...chain, ...slow]);
    expect(assigned(bench.finish(1, 8, 1, 10))).toEqual(["4@1"]);
  });

  it("tells a bounded number of kinds apart", () => {
    const names = Array.from({ length: 500 }, (_, i) =>
      task(i, `${"x".repeat(i % 60)}${"y".repeat(i / 60)}-1`),
    );
    bench.submit(names);
    expect(bench.core.kernel.live.classes.size).toBeLessThanOrEqual(33);
    bench.join(1, 500);
    expect(bench.core.kernel.live.governors.get(1 as never)?.attempts.size).toBe(500);
  });
});
