import {
  asGovernorId,
  asObjectId,
  asSessionId,
  asTaskId,
  limits,
  type ConstantSpec,
  type GovernorMessageOf,
  type SessionId,
  type TaskInfo,
  type TaskSpec,
} from "@rain/protocol";
import type { ServerEffect } from "@rain/server/core";
import { beforeEach, describe, expect, it } from "vitest";
import { Cache, type CacheEntry } from "../../packages/server/src/core/cache.ts";
import { snapshotItems } from "../../packages/server/src/core/snapshot.ts";
import {
  applied,
  CoreKit,
  digestOf,
  errorOf,
  helloOf,
  okOf,
  outputSpec as output,
  reloaded,
  taskSpec,
} from "./core-kit.ts";

/** Tasks that are not run, because the same task finished before. Histories with faults are the simulator's business. */

const LARGE = limits.inlineBytes + 1;

class Bench extends CoreKit {
  join(connection = 100, holding: GovernorMessageOf<"holding">["objects"] = []): ServerEffect[] {
    return this.register(connection, { knows: ["adopt"] }, [], holding);
  }
  finish(
    session: SessionId,
    id: number,
    size = 3,
    sha = 1,
    info: TaskInfo = {},
    attempt = 1,
  ): ServerEffect[] {
    const spec = this.core.durable.session(session).tasks.get(asTaskId(id))?.spec;
    const outputs = (spec?.outputs ?? []).map(({ object }) => ({
      object,
      size,
      sha256: digestOf(sha),
      contentType: "",
      ...(size <= limits.inlineBytes ? { data: new Uint8Array(size).fill(sha) } : {}),
    }));
    return this.says({ type: "finish", session, task: asTaskId(id), attempt, outputs, info });
  }
  state(session: SessionId, id: number): string | undefined {
    return this.core.durable.session(session).tasks.get(asTaskId(id))?.state.kind;
  }
  ran(session: SessionId, id: number): boolean {
    return this.records.some(
      (each) => each.type === "assigned" && each.session === session && each.task === asTaskId(id),
    );
  }
  list(): {
    entries: { session: number; task: number; hits: number; size: number }[];
    count: number;
    bytes: number;
  } {
    return okOf(this.request({ type: "cache.list", max: 10 })) as ReturnType<Bench["list"]>;
  }
}
const said = (effects: ServerEffect[], type: "adopt" | "drop"): unknown[] =>
  effects.flatMap((each) =>
    each.type === "send" && each.message.type === type ? [each.message.objects] : [],
  );
/** A task with the output of its number. */
const task = (id: number, more: Partial<TaskSpec> = {}, args: string[] = ["train"]): TaskSpec =>
  taskSpec(id, { work: { type: "execute", args }, outputs: [output(id)], cache: true, ...more });
const constant = (id: number, sha: number): ConstantSpec => ({
  id: asObjectId(id),
  kind: "blob",
  label: "c",
  contentType: "",
  keep: true,
  size: 1,
  sha256: digestOf(sha),
  data: Uint8Array.of(sha),
});

let bench: Bench;
let first: SessionId;
beforeEach(() => {
  bench = new Bench();
  bench.join();
  first = bench.open();
});

describe("a task that finished before", () => {
  it("is not run again: its outputs and figures are taken over, and clients see it as any other", () => {
    bench.submit(first, [task(0, { name: "source" })]);
    bench.finish(first, 0, 3, 1, { durationS: 9, exitCode: 0, cost: 0.5 });
    const second = bench.open();
    bench.request({ type: "next", req: 20, session: second, from: 0 });
    const made = bench.submit(second, [task(5), task(6, { inputs: [{ object: asObjectId(5) }] }, ["score"])]);
    expect(bench.ran(second, 5)).toBe(false);
    expect(bench.ran(second, 6)).toBe(true);
    const next = made.find((each) => each.type === "reply" && each.req === 20);
    expect(next).toMatchObject({ ok: { items: [{ task: 5, state: "finished" }], outstanding: 1 } });
    expect(okOf(bench.request({ type: "task.get", session: second, tasks: [5] }))).toMatchObject({
      tasks: [{ state: "finished", attempt: 0, info: { durationS: 9, exitCode: 0, cost: 0, cached: true } }],
    });
    expect(okOf(bench.request({ type: "fetch", session: second, object: 5 }))).toMatchObject({
      info: { size: 3, sha256: digestOf(1) },
      data: Uint8Array.of(1, 1, 1),
    });
    const { lines } = okOf(bench.request({ type: "explain", session: second, task: 5 })) as {
      lines: string[];
    };
    expect(lines).toEqual([
      `it was not run: task ${first}/0 (source) did the same before in another session`,
    ]);
    expect(bench.list()).toMatchObject({
      count: 1,
      bytes: 3,
      entries: [{ session: first, task: 0, hits: 1, size: 3 }],
    });
  });

  it("is taken over with no governor at all, also after its session is closed and the server started again", () => {
    bench.submit(first, [task(0)]);
    bench.finish(first, 0);
    bench.request({ type: "session.close", session: first });
    bench.input({ type: "governor.gone", connection: 100 });
    bench.restart();
    const second = bench.open();
    bench.submit(second, [task(0)]);
    expect(bench.state(second, 0)).toBe("finished");
    const { lines } = okOf(bench.request({ type: "explain", session: second, task: 0 })) as {
      lines: string[];
    };
    expect(lines[0]).toContain(`task ${first}/0 did the same before`);
  });

  it("serves equal tasks that wait for their turn, and all of a chain", () => {
    // Four run at once; the fifth waits, and is not run when the first of them is done.
    bench.submit(
      first,
      [0, 1, 2, 3, 4].map((id) => task(id)),
    );
    bench.finish(first, 0);
    expect([0, 1, 2, 3, 4].map((id) => bench.ran(first, id))).toEqual([true, true, true, true, false]);
    expect(bench.state(first, 4)).toBe("finished");
    const chain = [task(10), task(11, { inputs: [{ object: asObjectId(10) }] }, ["next"])];
    bench.submit(first, chain);
    bench.finish(first, 11, 3, 2);
    const second = bench.open();
    bench.submit(second, chain);
    expect([bench.state(second, 10), bench.state(second, 11)]).toEqual(["finished", "finished"]);
  });

  it("leaves no entry when it did not finish", () => {
    bench.submit(first, [task(0), task(1, {}, ["other"])]);
    const ref = { session: first, task: asTaskId(0), attempt: 1 };
    bench.says({ type: "fail", ...ref, failure: { reason: "exit", message: "exit code 1" }, info: {} });
    bench.request({ type: "cancel", session: first, tasks: [1] });
    bench.finish(first, 1);
    expect(bench.list().count).toBe(0);
  });
});

describe("the same task", () => {
  const variants: [what: string, same: boolean, change: Partial<TaskSpec>][] = [
    ["its name, priority and limits", true, { name: "n", priority: 3, timeoutS: 9, retries: 2 }],
    ["its resources", true, { request: { cpus: 2, gpus: 0, memory: 5, named: {} } }],
    ["its attributes and where it was written", true, { user: { a: 1 }, origin: "x.mjs:1:1" }],
    ["that its output is kept", true, { outputs: [output(9, { keep: false }), output(8)].slice(0, 1) }],
    ["a switch that is off", true, { work: { type: "execute", args: ["train"], shell: false } }],
    ["who asks", true, { work: env({ RAIN_RUN: "a", RAIN_EXPERIMENT: "7" }) }],
    ["its seed", false, { work: env({ RAIN_SEED: "1" }) }],
    ["its number among completions, by which it picks", false, { work: env({ RAIN_COMPLETION_INDEX: "1" }) }],
    ["an argument", false, { work: { type: "execute", args: ["train", ""] } }],
    ["its environment", false, { work: { type: "execute", args: ["train"], environment: "torch" } }],
    ["a label that it asks for", false, { labels: { zone: "a" } }],
    ["that its metrics are read", false, { metrics: true }],
    ["the label of its output", false, { outputs: [output(9, { label: "other" })] }],
    ["the declared type of its output", false, { outputs: [output(9, { contentType: "json" })] }],
    ["an input", false, { inputs: [{ object: asObjectId(50) }] }],
  ];
  function env(variables: Record<string, string>): TaskSpec["work"] {
    return { type: "execute", args: ["train"], env: variables };
  }
  it.each(variants)("differs in %s: %s", (_what, same, change) => {
    bench.submit(first, [task(0)], [constant(50, 1)]);
    bench.finish(first, 0);
    bench.submit(first, [task(9, change)]);
    // One that is not the same is given to a governor, or waits for one.
    expect(bench.state(first, 9)).toBe(same ? "finished" : "open");
  });

  it("has inputs with the same bytes, whatever their numbers are", () => {
    const over = (id: number, object: number, more = {}) =>
      task(id, { inputs: [{ object: asObjectId(object), path: "x", ...more }] });
    bench.submit(first, [over(0, 50)], [constant(50, 1), constant(51, 1), constant(52, 2)]);
    bench.finish(first, 0);
    bench.submit(first, [
      over(1, 51),
      over(2, 52),
      over(3, 51, { write: true }),
      over(4, 51, { write: false }),
    ]);
    expect([1, 2, 3, 4].map((id) => bench.ran(first, id))).toEqual([false, true, true, false]);
  });

  it("is as the order of its variables may be, and values do not run into names", () => {
    bench.submit(first, [task(0, { work: env({ A: "1", B: "2" }) })]);
    bench.finish(first, 0);
    bench.submit(first, [
      task(1, { work: env({ B: "2", A: "1" }) }),
      task(2, { work: env({ A: '1","B","2' }) }),
    ]);
    expect([1, 2].map((id) => bench.ran(first, id))).toEqual([false, true]);
  });

  it.each([
    [{ work: { type: "load", path: "/x" } }, /load reads or writes files of a machine/],
    [{ outputs: [] }, /it has no output/],
  ] as [Partial<TaskSpec>, RegExp][])("is refused for %j", (change, message) => {
    expect(errorOf(bench.submit(first, [task(0, change)]))?.message).toMatch(message);
  });
});

describe("large outputs", () => {
  it("stay where they are: their holders adopt them under the new name, and keep them when the old one goes", () => {
    bench.submit(first, [task(0)]);
    bench.finish(first, 0, LARGE);
    const second = bench.open();
    const made = bench.submit(second, [task(5)]);
    expect(said(made, "adopt")).toEqual([[{ session: second, object: asObjectId(5), sha256: digestOf(1) }]]);
    expect(okOf(bench.request({ type: "fetch", session: second, object: 5 }))).toMatchObject({
      info: { size: LARGE },
    });
    expect(bench.core.locate(second, asObjectId(5))).toMatchObject({ kind: "governors", holders: [1] });
    const closed = bench.request({ type: "session.close", session: first });
    expect(said(closed, "drop")).toEqual([[{ session: first, object: asObjectId(0) }]]);
    // The second session has the bytes, so that the entry lives on.
    const third = bench.open();
    bench.submit(third, [task(0)]);
    expect(bench.state(third, 0)).toBe("finished");
    bench.request({ type: "session.close", session: second });
    bench.request({ type: "session.close", session: third });
    expect(bench.list().count).toBe(0);
  });

  it("are no reason to run when nobody needs them; they are one when somebody does", () => {
    const two = (id: number, keep: boolean) =>
      task(id, {
        outputs: [
          output(id, { keep, path: "big", capture: undefined }),
          output(id + 1, { capture: "stderr", label: "s" }),
        ],
      });
    bench.submit(first, [two(0, false)]);
    const report = { sha256: digestOf(1), contentType: "" };
    const outputs = [
      { object: asObjectId(0), size: LARGE, ...report },
      { object: asObjectId(1), size: 1, data: Uint8Array.of(1), ...report },
    ];
    bench.says({ type: "finish", session: first, task: asTaskId(0), attempt: 1, outputs, info: {} });
    bench.submit(first, [two(10, false), two(20, true)]);
    expect([bench.ran(first, 10), bench.ran(first, 20)]).toEqual([false, true]);
  });

  it("whose holder is away make the task run, and so does a copy that is lost later", () => {
    bench.submit(first, [task(0)]);
    bench.finish(first, 0, LARGE);
    const second = bench.open();
    bench.submit(second, [task(5)]);
    bench.input({ type: "governor.gone", connection: 100 });
    bench.submit(second, [task(6)]);
    expect([bench.state(second, 5), bench.state(second, 6)]).toEqual(["finished", "open"]);
    bench.join(200);
    // The only holder is given up after its lease: both tasks run, the one that was taken over too.
    for (let passed = 0; passed < 16_000; passed += 500) {
      bench.now += 500;
      bench.says({ type: "heartbeat", loopDelayMs: 0 }, 200);
      bench.input({ type: "tick" });
    }
    expect([bench.ran(first, 0), bench.ran(second, 5), bench.ran(second, 6)]).toEqual([true, true, true]);
  });

  it("that were told to a governor in vain are told again when it comes back", () => {
    bench.submit(first, [task(0)]);
    bench.finish(first, 0, LARGE);
    const second = bench.open();
    bench.submit(second, [task(5)]);
    const ref = { session: second, object: asObjectId(5), sha256: digestOf(1) };
    const old = { session: first, object: asObjectId(0), sha256: digestOf(1) };
    // The connection broke, or the server was killed, before the word arrived.
    bench.input({ type: "governor.gone", connection: 100 });
    expect(said(bench.join(100, [old]), "adopt")).toEqual([[ref]]);
    bench.restart();
    expect(said(bench.join(100, [old]), "adopt")).toEqual([[ref]]);
    expect(bench.state(second, 5)).toBe("finished");
    bench.restart();
    expect(said(bench.join(100, [old, ref]), "adopt")).toEqual([]);
    bench.restart();
    // The bytes are not there under any name: it runs.
    bench.join(100, []);
    expect(bench.state(second, 5)).toBe("open");
    expect(bench.ran(second, 5)).toBe(true);
  });

  it("that were told to a governor in vain stay when the old name is not needed any more", () => {
    bench.submit(first, [task(0)]);
    bench.finish(first, 0, LARGE);
    const second = bench.open();
    bench.submit(second, [task(5)]);
    bench.input({ type: "governor.gone", connection: 100 });
    bench.request({ type: "session.close", session: first });
    const old = { session: first, object: asObjectId(0), sha256: digestOf(1) };
    const back = bench.join(100, [old]);
    expect(said(back, "adopt")).toEqual([[{ ...old, session: second, object: asObjectId(5) }]]);
    expect(said(back, "drop")).toEqual([[old]]);
    const order = back.flatMap((each) => (each.type === "send" ? [each.message.type] : []));
    expect(order.indexOf("adopt")).toBeLessThan(order.indexOf("drop"));
    expect([bench.state(second, 5), bench.ran(second, 5)]).toEqual(["finished", false]);
    expect(bench.core.locate(second, asObjectId(5))).toMatchObject({ kind: "governors", holders: [1] });
  });

  it("are dropped once the governor has told all that it has, whatever it reports before", () => {
    bench.submit(first, [task(0)]);
    bench.input({ type: "governor.gone", connection: 100 });
    bench.request({ type: "session.close", session: first });
    const ref = { session: first, task: asTaskId(0), attempt: 1 };
    bench.says({ type: "register", ...helloOf(100), attempts: [{ ...ref, running: true }] });
    const bytes = { object: asObjectId(0), sha256: digestOf(1) };
    const outputs = [{ ...bytes, size: LARGE, contentType: "" }];
    expect(said(bench.says({ type: "finish", ...ref, outputs, info: {} }), "drop")).toEqual([]);
    const told = bench.says({ type: "holding", objects: [], done: true });
    expect(said(told, "drop")).toEqual([[{ session: first, ...bytes }]]);
  });

  it("on governors of an older release, which could not be told, make the task run", () => {
    bench.input({ type: "governor.gone", connection: 100 });
    bench.register(100, { incarnation: "older" });
    bench.submit(first, [task(0)]);
    bench.finish(first, 0, LARGE);
    const second = bench.open();
    expect(said(bench.submit(second, [task(5)]), "adopt")).toEqual([]);
    expect([bench.state(second, 5), bench.ran(second, 5)]).toEqual(["open", true]);
    // Small ones are at the server.
    bench.submit(first, [task(1, {}, ["small"])]);
    bench.finish(first, 1);
    bench.submit(second, [task(6, {}, ["small"])]);
    expect(bench.ran(second, 6)).toBe(false);
  });

  it("that were not there after all make the task run, whatever the entry still promises", () => {
    bench.submit(first, [task(0)]);
    bench.finish(first, 0, LARGE);
    const second = bench.open();
    bench.submit(second, [task(5)]);
    const ref = { session: second, object: asObjectId(5) };
    bench.input({ type: "replica.missing", ref, governor: asGovernorId(1) });
    expect(bench.list().count).toBe(1);
    expect(bench.ran(second, 5)).toBe(true);
  });

  it("that nobody keeps any more end the entry", () => {
    bench.submit(first, [task(0), task(1, {}, ["small"])]);
    bench.finish(first, 0, LARGE);
    bench.finish(first, 1);
    bench.request({ type: "unkeep", session: first, objects: [0, 1] });
    expect(bench.list().entries.map(({ task: id }) => id)).toEqual([1]);
  });

  it("of a task that ran again over other inputs are those of that run, not of the one before", () => {
    const outputs = [output(5, { label: "small" }), output(6, { capture: undefined, path: "big" })];
    const later = (id: number, own = outputs): TaskSpec =>
      task(id, { inputs: [{ object: asObjectId(0) }], outputs: own });
    const ran = (attempt: number, sha: number): void => {
      const report = { sha256: digestOf(sha), contentType: "" };
      const reports = [
        { object: asObjectId(5), size: 1, data: Uint8Array.of(sha), ...report },
        { object: asObjectId(6), size: LARGE, ...report },
      ];
      const ref = { session: first, task: asTaskId(1), attempt };
      bench.says({ type: "finish", ...ref, outputs: reports, info: {} });
    };
    const lose = (id: number): ServerEffect[] => {
      const ref = { session: first, object: asObjectId(id) };
      return bench.input({ type: "replica.missing", ref, governor: asGovernorId(1) });
    };
    // What it reads is another one in every run.
    const source = task(0, { cache: false, work: { type: "execute", args: ["random"] } });
    bench.submit(first, [source, later(1)]);
    bench.finish(first, 0, LARGE, 1);
    ran(1, 11);
    lose(0);
    bench.finish(first, 0, LARGE, 2, {}, 2);
    lose(6);
    ran(2, 12);
    expect(bench.core.locate(first, asObjectId(5))).toMatchObject({ sha256: digestOf(11) });
    const again = outputs.map((each, at) => ({ ...each, object: asObjectId(20 + at) }));
    bench.submit(first, [later(2, again)]);
    expect(bench.ran(first, 2)).toBe(false);
    expect(bench.core.locate(first, asObjectId(20))).toMatchObject({ sha256: digestOf(12) });
    expect(bench.core.locate(first, asObjectId(21))).toMatchObject({ sha256: digestOf(12) });
  });

  it("of a task that ran while an input of it was made again are not remembered", () => {
    const source = task(0, { cache: false });
    bench.submit(first, [source, task(1, { inputs: [{ object: asObjectId(0) }] })]);
    bench.finish(first, 0, LARGE, 1);
    // It runs over the first bytes; then those are lost and made again, as other ones.
    expect(bench.ran(first, 1)).toBe(true);
    bench.input({
      type: "replica.missing",
      ref: { session: first, object: asObjectId(0) },
      governor: asGovernorId(1),
    });
    bench.finish(first, 0, LARGE, 2, {}, 2);
    bench.finish(first, 1, 3, 9);
    expect(bench.state(first, 1)).toBe("finished");
    expect(bench.list().count).toBe(0);
  });
});

describe("the cache", () => {
  it("is listed newest first and can be emptied", () => {
    bench.submit(first, [task(0), task(1, {}, ["b"]), task(2, {}, ["c"])]);
    for (const id of [0, 1, 2]) bench.finish(first, id, 3 + id);
    bench.submit(first, [task(3)]);
    expect(bench.list().entries.map(({ task: id, hits }) => [id, hits])).toEqual([
      [0, 1],
      [2, 0],
      [1, 0],
    ]);
    expect(bench.list()).toMatchObject({ count: 3, bytes: 12 });
    expect(okOf(bench.request({ type: "cache.clear" }))).toEqual({ removed: 3 });
    expect(okOf(bench.request({ type: "cache.clear" }))).toEqual({ removed: 0 });
    bench.submit(first, [task(4)]);
    expect(bench.ran(first, 4)).toBe(true);
    bench.restart();
    expect(bench.list().count).toBe(0);
  });

  it("is the same after a snapshot and after a replay of the records", () => {
    bench.submit(first, [task(0), task(1, {}, ["b"])]);
    bench.finish(first, 0, LARGE);
    bench.finish(first, 1);
    const second = bench.open();
    bench.submit(second, [task(0), task(1, {}, ["b"])]);
    bench.request({ type: "session.close", session: first });
    const live = [...snapshotItems(bench.core.durable)];
    expect(live.filter(({ type }) => type === "cached")).toHaveLength(2);
    const loaded = reloaded(bench.core.durable);
    expect([...snapshotItems(loaded)]).toEqual(live);
    const replayed = applied(bench.records);
    expect([...snapshotItems(replayed)]).toEqual(live);
    for (const state of [loaded, replayed]) {
      state.apply({ type: "session.closed", session: second });
      expect(state.cache.count).toBe(1);
    }
  });

  it("keeps within its limits: what was not used for longest goes first", () => {
    const cache = new Cache();
    const bytes = limits.cacheBytes / 4;
    const add = (key: string, length: number): void => {
      const data = { length } as Uint8Array;
      const outputs = [{ size: length, sha256: digestOf(1), contentType: "", data }];
      const session = asSessionId(1);
      const entry: CacheEntry = {
        key,
        session,
        task: asTaskId(0),
        name: undefined,
        outputs,
        info: {},
        hits: 0,
        sources: new Map(),
      };
      cache.add(entry);
    };
    const keys = (): string[] => [...cache.entries()].map(({ key }) => key);
    for (const key of ["a", "b", "c"]) add(key, bytes);
    expect(keys()).toEqual(["a", "b", "c"]);
    add("d", bytes); // with the keys a little too much
    expect(keys()).toEqual(["b", "c", "d"]);
    add("b", 1); // in the place of the one before
    expect(keys()).toEqual(["c", "d", "b"]);
    expect(cache.size).toBe(2 * bytes + 1);
    for (let n = 0; n <= limits.cacheEntries; n++) add(`n${n}`, 0);
    expect(cache.count).toBe(limits.cacheEntries);
    expect(cache.get("n0")).toBeUndefined();
    expect(cache.get("n1")).toBeDefined();
  });
});
