import {
  asGovernorId,
  asObjectId,
  asSessionId,
  asTaskId,
  type GovernorHello,
  type RequestOf,
  type SessionId,
  type TaskSpec,
} from "@rain/protocol";
import type { ServerEffect } from "@rain/server/core";
import { beforeEach, describe, expect, it } from "vitest";
import {
  applied,
  CoreKit,
  cpus,
  digestOf,
  errorOf,
  okOf,
  outputSpec,
  reloaded,
  requestOf,
  taskSpec,
} from "./core-kit.ts";

class Bench extends CoreKit {
  /** Time passes in ticks, as it does in a server that runs; `alive` governors are heard of. */
  pass(ms: number, alive: readonly number[] = []): ServerEffect[] {
    const made: ServerEffect[] = [];
    for (let gone = 0; gone < ms; gone += 500) {
      this.now += 500;
      for (const connection of alive)
        made.push(...this.says({ type: "heartbeat", loopDelayMs: 0 }, connection));
      made.push(...this.input({ type: "tick" }));
    }
    return made;
  }
  join(connection = 100, count = 4, who: Partial<GovernorHello> = {}): void {
    this.register(connection, { ...cpus(count), ...who });
  }
  override open(fields: Partial<RequestOf<"session.open">> = {}): SessionId {
    return super.open({ onError: "fail", detached: false, ...fields });
  }
  finish(session: SessionId, task: number, attempt = 1, connection = 100, size = 3): ServerEffect[] {
    const spec = this.core.durable.sessions.get(session)?.tasks.get(asTaskId(task))?.spec;
    const outputs = (spec?.outputs ?? []).map((output) => ({
      object: output.object,
      size,
      sha256: digestOf(task),
      contentType: "",
      ...(size <= 65_536 ? { data: new Uint8Array(size) } : {}),
    }));
    return this.says(
      { type: "finish", session, task: asTaskId(task), attempt, outputs, info: {} },
      connection,
    );
  }
}
const codeOf = (effects: readonly ServerEffect[]): string | undefined => errorOf(effects)?.code;
const assigned = (effects: ServerEffect[]): string[] =>
  effects.flatMap((each) =>
    each.type === "assign" ? [`${each.task}#${each.attempt}@${each.connection}`] : [],
  );

/** A task with the output of the same number. */
const task = (id: number, inputs: number[] = [], more: Partial<TaskSpec> = {}, keep = false): TaskSpec =>
  taskSpec(id, {
    inputs: inputs.map((object) => ({ object: asObjectId(object) })),
    outputs: [outputSpec(id, { keep })],
    ...more,
  });

let bench: Bench;
beforeEach(() => (bench = new Bench()));

describe("tasks and objects", () => {
  it("starts a task only when its inputs exist, and answers next and fetch", () => {
    bench.join();
    const session = bench.open();
    expect(assigned(bench.submit(session, [task(0), task(1, [0], {}, true)]))).toEqual(["0#1@100"]);
    bench.request({ type: "next", req: 20, session, from: 0 });
    bench.request({ type: "fetch", req: 21, session, object: 1 });
    const first = bench.finish(session, 0);
    expect(assigned(first)).toEqual(["1#1@100"]);
    expect(okOf(first)).toMatchObject({ from: 0, items: [{ task: 0, state: "finished" }], outstanding: 1 });
    const second = bench.finish(session, 1);
    expect(okOf(second)).toMatchObject({ kind: "blob", info: { size: 3 } });
    // The first output has no consumer left and is not kept: it goes.
    expect(second.filter((each) => each.type === "send" && each.message.type === "drop")).toHaveLength(1);
    expect(codeOf(bench.request({ type: "fetch", session, object: 0 }))).toBe("object-removed");
  });

  it("cases 2 and 3: does a repeated submit and a repeated report once", () => {
    bench.join();
    const session = bench.open();
    const submit = (): ServerEffect[] => {
      const tasks = [task(0, [], {}, true)];
      return bench.request({ type: "submit", session, key: "submit-again", tasks, constants: [] });
    };
    submit();
    expect(okOf(submit())).toEqual({});
    bench.finish(session, 0);
    const again = bench.finish(session, 0);
    expect(again).toEqual([
      {
        type: "send",
        connection: 100,
        message: { type: "ack", attempts: [{ session, task: 0, attempt: 1 }] },
      },
    ]);
    expect(bench.records.filter((each) => each.type === "finished")).toHaveLength(1);
    expect(bench.records.filter((each) => each.type === "submitted")).toHaveLength(1);
  });

  it("fails the session with its first task, or only what depends on it", () => {
    bench.join();
    const fail = (session: SessionId): ServerEffect[] =>
      bench.says({
        type: "fail",
        session,
        task: asTaskId(0),
        attempt: 1,
        failure: { reason: "exit", message: "the program exited with code 3", exitCode: 3 },
        info: {},
      });
    const session = bench.open({ onError: "continue" });
    bench.submit(session, [task(0), task(1, [0]), task(2)]);
    fail(session);
    expect(
      [...(bench.core.durable.sessions.get(session)?.tasks.values() ?? [])].map((each) => each.state.kind),
    ).toEqual(["failed", "aborted", "open"]);
    const strict = bench.open();
    bench.submit(strict, [task(0), task(1, [0]), task(2)]);
    const made = fail(strict);
    expect(bench.core.durable.sessions.get(strict)?.failure?.task).toBe(0);
    expect(made.some((each) => each.type === "send" && each.message.type === "cancel")).toBe(true);
    expect(codeOf(bench.submit(strict, [task(9)]))).toBe("session-failed");
  });

  it("refuses a bad submit as a whole, with the place", () => {
    const session = bench.open();
    expect(codeOf(bench.submit(session, [task(0), task(1, [7])]))).toBe("unknown-object");
    expect(codeOf(bench.submit(session, [task(0, [1]), task(1, [0])]))).toBe("cycle");
    expect(codeOf(bench.submit(session, [task(0, [0])]))).toBe("cycle");
    expect(codeOf(bench.submit(session, [task(0), task(0)]))).toBe("duplicate-id");
    expect(bench.core.durable.sessions.get(session)?.tasks.size).toBe(0);
    bench.submit(session, [task(0)]);
    expect(codeOf(bench.submit(session, [task(1, [0])]))).toBe("not-kept");
  });
});

describe("scheduling", () => {
  it("takes the critical path first, within equal user priority", () => {
    const session = bench.open();
    bench.submit(session, [task(0), task(1), task(2, [1]), task(3, [2]), task(4, [], { priority: 5 })]);
    bench.join(100, 1);
    const order: string[] = [];
    for (const expected of [4, 1, 2, 0, 3]) {
      const last = assigned(bench.effects).at(-1) ?? "";
      order.push(last.split("#")[0] ?? "");
      expect(order.at(-1)).toBe(String(expected));
      bench.finish(session, expected);
    }
  });

  it("moves a ready task up when a later submit makes it critical", () => {
    const session = bench.open();
    bench.submit(session, [task(0, [], {}, true), task(1, [], {}, true), task(2, [], {}, true)]);
    bench.submit(session, [task(3, [2]), task(4, [3])]);
    bench.join(100, 1);
    const order = [2, 3, 0].map((expected) => {
      const last = Number(assigned(bench.effects).at(-1)?.split("#")[0]);
      bench.finish(session, expected);
      return last;
    });
    expect(order).toEqual([2, 3, 0]);
  });

  it("never gives more than there is, and gives it back once", () => {
    bench.join(100, 2);
    const session = bench.open();
    bench.submit(
      session,
      [0, 1, 2, 3].map((id) => task(id)),
    );
    expect(assigned(bench.effects)).toHaveLength(2);
    bench.finish(session, 0);
    bench.finish(session, 0);
    expect(assigned(bench.effects)).toHaveLength(3);
    expect(bench.core.kernel.live.governors.get(asGovernorId(1))?.free.cpus).toBe(0);
  });

  it("runs a task where its bytes are", () => {
    bench.join(100, 4);
    const session = bench.open();
    bench.submit(session, [task(0, [], {}, true)]);
    bench.finish(session, 0, 1, 100, 1_000_000);
    bench.join(101, 16);
    expect(assigned(bench.submit(session, [task(1, [0])]))).toEqual(["1#1@100"]);
  });

  it("keeps a governor free for a large task that small ones would starve", () => {
    bench.join(100, 2);
    const session = bench.open();
    const small = Array.from({ length: 40 }, (_, id) => task(id));
    const large = task(99, [], { ...requestOf(2) });
    bench.submit(session, small.slice(0, 2));
    // The large one is first in the queue, but one cpu at a time becomes free.
    bench.submit(session, [large, ...small.slice(2)]);
    bench.pass(1_000, [100]);
    for (let id = 0; id < 40 && !assigned(bench.effects).includes("99#1@100"); id++) {
      bench.pass(1_000, [100]);
      if (assigned(bench.effects).includes(`${id}#1@100`)) bench.finish(session, id);
    }
    expect(assigned(bench.effects)).toContain("99#1@100");
    expect(assigned(bench.effects).length).toBeLessThan(30);
  });

  it("explains", () => {
    const session = bench.open();
    bench.submit(session, [
      task(0, [], { request: { cpus: 1, gpus: 4, memory: 0, named: {} } }),
      task(1, [0]),
    ]);
    const lines = (id: number): string =>
      (okOf(bench.request({ type: "explain", session, task: id })) as { lines: string[] }).lines.join("\n");
    expect(lines(0)).toContain("no governor is connected");
    bench.join();
    expect(lines(0)).toContain("lacks 4 gpus (has 0)");
    expect(lines(1)).toContain("of task 1/0, which is ready");
  });
});

describe("losing a governor", () => {
  it("case 14: runs again what ran there, not what finished, and drops a late report", () => {
    bench.join(100, 2);
    const session = bench.open();
    bench.submit(session, [task(0, [], {}, true), task(1, [], {}, true), task(2, [], {}, true)]);
    bench.finish(session, 0);
    bench.input({ type: "governor.gone", connection: 100 });
    bench.join(101, 4);
    bench.pass(10_000, [101]);
    expect(assigned(bench.effects).filter((each) => each.endsWith("@101"))).toEqual([]);
    bench.pass(10_000, [101]);
    expect(
      assigned(bench.effects)
        .filter((each) => each.endsWith("@101"))
        .toSorted(),
    ).toEqual(["1#2@101", "2#2@101"]);
    // The old one comes back: its attempts are fenced off by their number.
    const old = { identity: "identity-100", name: "g100", ...cpus(2) };
    bench.register(102, old, [{ session, task: asTaskId(1), attempt: 1, running: true }]);
    expect(bench.effects.at(-1)).toMatchObject({
      type: "send",
      connection: 102,
      message: { type: "cancel", task: 1, attempt: 1 },
    });
    bench.finish(session, 1, 1, 102);
    expect(bench.records.filter((each) => each.type === "finished").map((each) => each.task)).toEqual([0]);
    bench.finish(session, 1, 2, 101);
    expect(bench.records.filter((each) => each.type === "finished").map((each) => each.task)).toEqual([0, 1]);
  });

  it("rebuilds a lost object and what it needs, and nothing else", () => {
    bench.join(100, 8);
    const session = bench.open();
    bench.submit(session, [task(0), task(1, [0]), task(2, [1], {}, true), task(3, [], {}, true)]);
    const big = 1_000_000;
    for (const id of [0, 1, 2]) bench.finish(session, id, 1, 100, big);
    bench.finish(session, 3, 1, 100, 3);
    bench.join(101, 8);
    bench.input({ type: "governor.gone", connection: 100 });
    bench.pass(16_000, [101]);
    expect(
      bench.records
        .filter((each) => each.type === "reopened")
        .map((each) => each.task)
        .toSorted((a, b) => a - b),
    ).toEqual([0, 1, 2]);
    for (const id of [0, 1, 2]) bench.finish(session, id, 2, 101, big);
    expect(okOf(bench.request({ type: "fetch", session, object: 2 }))).toMatchObject({ info: { size: big } });
    // A client that reads the log sees each task settle once.
    expect(okOf(bench.request({ type: "next", session, from: 0 }))).toMatchObject({
      outstanding: 0,
      items: { length: 4 },
    });
  });

  it("case 13: fails a task that kills its governors", () => {
    const session = bench.open();
    bench.submit(session, [task(0)]);
    for (const n of [1, 2, 3]) {
      bench.join(100 + n, 1, { identity: "identity-x", incarnation: `incarnation-${n}` });
      bench.input({ type: "governor.gone", connection: 100 + n });
    }
    bench.join(110, 1, { identity: "identity-x", incarnation: "incarnation-4" });
    const failed = bench.records.find((each) => each.type === "failed");
    expect(failed?.type === "failed" && failed.failure.reason).toBe("crash-limit");
  });

  it("is noticed however many inputs come meanwhile", () => {
    const first = bench.core.handle({ type: "tick" }, bench.now).wakeAt ?? 0;
    for (let n = 1; n < 100; n++) {
      const step = bench.core.handle({ type: "client.gone", connection: n }, bench.now + n);
      expect(step.wakeAt).toBe(first);
    }
  });

  it("case 19: is not held against anybody when the server itself stood still", () => {
    bench.join();
    const session = bench.open();
    bench.submit(session, [task(0)]);
    bench.now += 60_000;
    bench.input({ type: "tick" });
    expect(bench.records.some((each) => each.type === "released")).toBe(false);
  });
});

describe("restart", () => {
  it("has everything again, and waits for governors that have its tasks", () => {
    bench.join(100, 2);
    const session = bench.open();
    bench.submit(session, [task(0, [], {}, true), task(1, [0], {}, true), task(2, [], {}, true), task(3)]);
    bench.finish(session, 0);
    const state = applied(bench.records);
    expect(JSON.stringify([...state.dump()])).toBe(JSON.stringify([...bench.core.durable.dump()]));
    const loaded = reloaded(state);
    expect(JSON.stringify([...loaded.dump()])).toBe(JSON.stringify([...state.dump()]));

    const restarted = new Bench({}, loaded);
    expect(assigned(restarted.pass(5_000))).toEqual([]);
    restarted.register(100, cpus(2), [
      { session, task: asTaskId(1), attempt: 1, running: true },
      { session, task: asTaskId(2), attempt: 1, running: true },
    ]);
    expect(assigned(restarted.effects)).toEqual([]);
    restarted.finish(session, 1);
    restarted.finish(session, 2);
    expect(assigned(restarted.effects)).toEqual(["3#1@100"]);
  });
});

describe("sessions", () => {
  it("case 44: closes one whose client stays away, and forgets everything of it", () => {
    bench.join();
    const session = bench.open();
    bench.submit(session, [task(0)]);
    bench.input({ type: "client.gone", connection: 1 });
    const made = bench.pass(61_000, [100]);
    expect(made.some((each) => each.type === "send" && each.message.type === "cancel")).toBe(true);
    expect(bench.core.durable.sessions.size).toBe(0);
    bench.says({ type: "stopped", session, task: asTaskId(0), attempt: 1 });
    expect(bench.core.kernel.live.governors.get(asGovernorId(1))?.free.cpus).toBe(4_000);
    expect(codeOf(bench.request({ type: "next", session, from: 0 }))).toBe("session-closed");
    expect(codeOf(bench.request({ type: "next", session: asSessionId(99), from: 0 }))).toBe(
      "unknown-session",
    );
  });
});

describe("a detached session", () => {
  const closedAfter = (fields: Partial<RequestOf<"session.open">>, ms: number): boolean => {
    bench.open({ detached: true, ...fields });
    bench.input({ type: "client.gone", connection: 1 });
    bench.pass(ms);
    return bench.core.durable.sessions.size === 0;
  };
  it("is closed as others are when its client went before it submitted anything", () => {
    expect(closedAfter({}, 59_000)).toBe(false);
    bench.pass(2_000);
    expect(bench.core.durable.sessions.size).toBe(0);
  });
  it("stays for its time to live, or when it has something", () => {
    expect(closedAfter({ ttlS: 100 }, 99_000)).toBe(false);
    bench.pass(2_000);
    expect(bench.core.durable.sessions.size).toBe(0);
    const session = bench.open({ detached: true });
    bench.submit(session, [task(0)]);
    bench.input({ type: "client.gone", connection: 1 });
    bench.pass(600_000);
    expect(bench.core.durable.sessions.size).toBe(1);
  });
});

describe("content types", () => {
  it("a measured type must be a subtype of the declared one, or the task fails", () => {
    bench.join();
    const session = bench.open({ onError: "continue" });
    const declared = (id: number, contentType: string): TaskSpec =>
      taskSpec(id, { outputs: [outputSpec(id, { contentType })] });
    bench.submit(session, [declared(1, "text"), declared(2, "text"), declared(3, "")]);
    for (const [task, contentType] of [
      [1, "text-latin1"],
      [2, "json"],
      [3, "json"],
    ] as const) {
      const outputs = [{ object: asObjectId(task), size: 1, sha256: digestOf(task), contentType }];
      bench.says({ type: "finish", session, task: asTaskId(task), attempt: 1, outputs, info: {} });
    }
    const kinds = bench.records.flatMap((record) =>
      record.type === "finished" || record.type === "failed" ? [record] : [],
    );
    expect(kinds.map(({ type }) => type)).toEqual(["finished", "failed", "finished"]);
    expect(kinds[1]).toMatchObject({ failure: { reason: "content-type", governor: "g100" } });
  });
});
