import {
  asObjectId,
  asTaskId,
  eachSettled,
  limits,
  replySchemas,
  taskOfArray,
  type ReplyOf,
  type SessionId,
  type SettledColumns,
  type SettledItem,
  type TaskArray,
  type TaskTemplate,
} from "@rain/protocol";
import { decode, encode } from "@rain/protocol/codec";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
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

const template = (more: Partial<TaskTemplate> = {}): TaskTemplate => {
  const { object: _, ...output } = outputSpec(0);
  const work = { type: "execute", args: ["echo", "0"] } as const;
  return { work, inputs: [], outputs: [output], ...requestOf(1), ...more };
};
const array = (first: number, count: number, more: Partial<TaskTemplate> = {}): TaskArray => ({
  first: asTaskId(first),
  count,
  objects: asObjectId(1_000 + first),
  task: template(more),
  vary: [{ at: ["args", 1], range: { from: 0, step: 1 } }],
});

/** Columns as the entries that they stand for, over the wire and its schema. */
function itemsOf(columns: SettledColumns): SettledItem[] {
  const page = decode(encode({ from: 0, items: [], outstanding: 0, columns }));
  const items: SettledItem[] = [];
  eachSettled(replySchemas.next.parse(page).columns ?? columns, (task, state, failure, cause) =>
    items.push({ task, state, ...(failure && { failure }), ...(cause !== undefined && { cause }) }),
  );
  return items;
}

/** A core of which the tests see what clients and governors do; arrays are sent as such, or as single tasks. */
class Bench extends CoreKit {
  readonly session: SessionId;
  readonly #asArrays: boolean;
  #submits = 0;

  constructor(
    asArrays: boolean,
    limits: { parallelism?: number; maxFails?: number; onError?: "continue" } = {},
  ) {
    super();
    this.#asArrays = asArrays;
    this.session = this.open(limits);
  }
  send(
    arrays: readonly TaskArray[],
    tasks = [] as ReturnType<typeof taskSpec>[],
    constants = [] as object[],
  ): unknown {
    const single = arrays.flatMap((each) =>
      Array.from({ length: each.count }, (_, index) => taskOfArray(each, index)),
    );
    const sent = this.#asArrays
      ? { tasks, arrays }
      : { tasks: [...single, ...tasks].toSorted((a, b) => a.id - b.id) };
    const key = `submit-key-${this.#submits++}`;
    return this.#seen(this.request({ type: "submit", session: this.session, key, constants, ...sent }));
  }
  /** Attempts that were given out, an error, or nothing. */
  #seen(effects: ReturnType<CoreKit["input"]>): unknown {
    const given = effects.flatMap((each) => {
      if (each.type === "assign") return [`${each.task}/${each.attempt} ${JSON.stringify(each.spec)}`];
      return each.type === "send" && each.message.type === "cancel" ? [`cancel ${each.message.task}`] : [];
    });
    return { given, error: errorOf(effects) };
  }
  ends(task: number, attempt: number, isWell: boolean): unknown {
    const ref = { session: this.session, task: asTaskId(task), attempt };
    const outputs = [
      {
        object: asObjectId(1_000 + task),
        size: 1,
        sha256: digestOf(task),
        contentType: "",
        data: Uint8Array.of(task % 256),
      },
    ];
    if (isWell) return this.#seen(this.says({ type: "finish", ...ref, outputs, info: { durationS: task } }));
    const failure = { reason: "exit", message: "exit code 1", exitCode: 1 } as const;
    return this.#seen(this.says({ type: "fail", ...ref, failure, info: {} }));
  }
  asks(type: string, fields: object): unknown {
    const effects = this.request({ type, session: this.session, ...fields });
    return { ...(this.#seen(effects) as object), ok: okOf(effects) };
  }
  /** Every task, and how many there are of each kind; rows by number, since what changed last is another matter. */
  view(count: number): unknown {
    const tasks = Array.from({ length: count }, (_, id) => asTaskId(id));
    const { counts, rows } = okOf(
      this.request({ type: "results", session: this.session, since: 0, max: 1_000 }),
    ) as ReplyOf<"results">;
    const next = this.asks("next", { from: 0 });
    const { columns } = (this.asks("next", { from: 0, columns: true }) as { ok?: ReplyOf<"next"> }).ok ?? {};
    const { items } = (next as { ok?: ReplyOf<"next"> }).ok ?? {};
    expect(columns && itemsOf(columns)).toEqual(items);
    return {
      views: this.asks("task.get", { tasks }),
      log: [...this.core.durable.session(this.session).settled],
      outstanding: next,
      counts,
      rows: rows.toSorted((a, b) => a.task - b.task),
      running: this.running(),
    };
  }
  running(): { task: number; attempt: number }[] {
    const attempts = [...this.core.kernel.live.governors.values()].flatMap((each) => [
      ...each.attempts.values(),
    ]);
    return attempts.map(({ task, attempt }) => ({ task, attempt })).toSorted((a, b) => a.task - b.task);
  }
}

describe("task arrays", () => {
  it("take no room while nothing happens, are given out in order, and are folded when they have ended", () => {
    const bench = new Bench(true);
    bench.send([array(0, 100_000)]);
    const { tasks, open } = bench.core.durable.session(bench.session);
    // All but the next one.
    expect([tasks.size, tasks.virtual, open.size]).toEqual([100_000, 99_999, 1]);
    bench.register(100, cpus(3));
    expect(bench.running().map(({ task }) => task)).toEqual([0, 1, 2]);
    expect(open.size).toBe(4); // and the next one
    for (let task = 0; task < 50; task++) bench.ends(task, 1, true);
    expect(tasks.virtual).toBe(100_000 - 54);
    expect([...tasks.expandedOnes()].map(({ spec }) => spec.id)).toEqual([50, 51, 52, 53]);
    expect(bench.asks("fetch", { object: 1_007 })).toMatchObject({ ok: { data: Uint8Array.of(7) } });
  });

  it("are cancelled in a step that says it of all of them at once", () => {
    const bench = new Bench(true);
    bench.send([array(0, 100_000)]);
    bench.register(100, cpus(2));
    bench.request({ type: "cancel", session: bench.session });
    expect(bench.records.at(-1)).toMatchObject({ type: "cancelled", tasks: [], ranges: [[0, 100_000]] });
    const { settled, tasks } = bench.core.durable.session(bench.session);
    expect(settled.length).toBe(100_000);
    expect([...tasks.expandedOnes()]).toEqual([]);
    const { counts } = okOf(bench.request({ type: "session.get", session: bench.session })) as never;
    expect(
      counts ?? bench.core.kernel.openSession(bench.core.durable.session(bench.session)).rows.counts,
    ).toMatchObject({
      ready: 0,
      cancelled: 100_000,
    });
  });

  it("are cancelled in part by ranges, which may reach over several and over single tasks", () => {
    const bench = new Bench(true);
    bench.send([array(0, 1_000), array(1_002, 500)], [taskSpec(1_000), taskSpec(1_001)]);
    bench.asks("cancel", { ranges: [[asTaskId(990), 20]] });
    expect(bench.records.at(-1)).toMatchObject({
      type: "cancelled",
      tasks: [1_000, 1_001],
      ranges: [
        [990, 10],
        [1_002, 8],
      ],
    });
    const cancelled = Array.from({ length: 20 }, (_, k) => 990 + k);
    expect([...bench.core.durable.session(bench.session).settled]).toEqual(cancelled);
    const before = bench.records.length;
    bench.asks("cancel", { ranges: [[asTaskId(1_000), 2]] });
    expect(bench.records.length).toBe(before); // all of them are settled
    const gone = bench.request({ type: "cancel", session: bench.session, ranges: [[asTaskId(1_500), 4]] });
    expect(errorOf(gone)?.code).toBe("unknown-task");
  });

  it("that have ended come in columns, many in a page and few when their failures are large", () => {
    const bench = new Bench(true);
    bench.send([array(0, 100_000)]);
    bench.asks("cancel", { ranges: [[asTaskId(0), 50_000]] });
    const page = (from: number): SettledItem[] => {
      const { ok } = bench.asks("next", { from, columns: true }) as { ok: ReplyOf<"next"> };
      expect(ok).toMatchObject({ from, items: [], outstanding: 50_000 });
      return ok.columns ? itemsOf(ok.columns) : [];
    };
    const pages = [page(0), page(20_000), page(40_000)];
    expect(pages.map(({ length }) => length)).toEqual([limits.nextColumns, limits.nextColumns, 10_000]);
    expect(pages.flat().every(({ task, state }, at) => task === at && state === "cancelled")).toBe(true);

    const failing = new Bench(true, { onError: "continue" });
    failing.send([array(0, 500)]);
    failing.register(100, cpus(500));
    const failure = { reason: "exit", message: "x".repeat(2_000), stderr: "y".repeat(8_000) } as const;
    for (let task = 0; task < 500; task++)
      failing.says({
        type: "fail",
        session: failing.session,
        task: asTaskId(task),
        attempt: 1,
        failure,
        info: {},
      });
    for (const how of [{}, { columns: true }] as const) {
      let from = 0;
      for (let pages = 0; from < 500; pages++) {
        const { ok } = failing.asks("next", { from, ...how }) as { ok: ReplyOf<"next"> };
        expect(encode(ok).length).toBeLessThan(limits.messageBytes);
        from += ok.columns ? itemsOf(ok.columns).length : ok.items.length;
        expect(pages).toBeLessThan(100);
      }
      expect(from).toBe(500);
    }
  });

  it.each<[string, TaskArray[], RegExp]>([
    ["numbers of another array", [array(0, 10), array(9, 2)], /^duplicate-id: one of tasks/],
    ["numbers of a single task", [array(495, 10)], /^duplicate-id: one of tasks 495 to 504/],
    [
      "outputs of another array",
      [array(0, 10), { ...array(20, 2), objects: asObjectId(1_009) }],
      /^duplicate-id: .*data objects/,
    ],
    [
      "an input that is not there",
      [array(0, 3, { inputs: [{ object: asObjectId(77) }] })],
      /^unknown-object: task 0: input 0/,
    ],
    [
      "an input of which one is not there",
      [
        {
          ...array(0, 3, { inputs: [{ object: asObjectId(600) }] }),
          vary: [{ at: ["input", 0], values: [600, 600, 77].map(asObjectId) }],
        },
      ],
      /^unknown-object: task 2: input 0/,
    ],
    ["an output as their own input", [array(0, 3, { inputs: [{ object: asObjectId(1_000) }] })], /^cycle/],
    [
      "a longest text that is too long",
      [{ ...array(0, 2), vary: [{ at: ["args", 1], values: ["x", "y".repeat(2_000_000)] }] }],
      /^bad-request: task 0: arguments/,
    ],
  ])("refused: %s", (_what, arrays, error) => {
    const bench = new Bench(true);
    bench.send([], [taskSpec(500, { outputs: [outputSpec(600)] })]);
    bench.send([], []);
    const keep = errorOf(
      bench.request({
        type: "submit",
        session: bench.session,
        key: "refused-key",
        tasks: [],
        constants: [],
        arrays,
      }),
    );
    expect(`${keep?.code}: ${keep?.message}`).toMatch(error);
    expect(bench.core.durable.session(bench.session).tasks.size).toBe(1);
  });

  it("read what was folded meanwhile when they run again, also after a snapshot", () => {
    const kit = new CoreKit();
    kit.register(100, cpus(8));
    const session = kit.open();
    const finish = (task: number, bytes: { size: number; data?: Uint8Array }): unknown => {
      const output = { object: asObjectId(1_000 + task), sha256: digestOf(task), contentType: "", ...bytes };
      const ref = { session, task: asTaskId(task), attempt: 1 };
      return kit.says({ type: "finish", ...ref, outputs: task === 20 ? [] : [output], info: {} });
    };
    // A small output that the server has, and its readers: four with a large one that only the governor has, and a late one.
    const inputs = [{ object: asObjectId(1_000) }];
    const arrays = [array(0, 4), array(10, 4, { inputs })];
    const tasks = [taskSpec(20, { inputs })];
    kit.request({ type: "submit", session, key: "submit-key", tasks, constants: [], arrays });
    for (const task of [0, 1, 2, 3]) finish(task, { size: 1, data: Uint8Array.of(task) });
    for (const task of [10, 11, 12, 13]) finish(task, { size: limits.inlineBytes + 1 });
    kit.restart(reloaded(applied(kit.records)));
    const large = [10, 11, 12, 13].map((id) => ({ object: asObjectId(1_000 + id), sha256: digestOf(id) }));
    const running = { session, task: asTaskId(20), attempt: 1, running: true };
    const copies = large.map((each) => ({ session, ...each }));
    kit.register(100, cpus(8), [running], copies);
    finish(20, { size: 0 });
    const { tasks: table } = kit.core.durable.session(session);
    expect(table.there(asTaskId(0))).toBeUndefined();
    kit.input({ type: "governor.gone", connection: 100 });
    const again = kit.register(100, { ...cpus(8), incarnation: "incarnation-2" });
    const given = again.flatMap((each) => (each.type === "assign" ? [`${each.task}/${each.attempt}`] : []));
    expect(given.toSorted()).toEqual(["10/2", "11/2", "12/2", "13/2"]);
  });

  it("are, to everybody, what single tasks are", () => {
    const move = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({ type: fc.constant("end"), which: fc.nat(7), isWell: fc.boolean() }),
      },
      fc.record({ type: fc.constant("cancel"), task: fc.option(fc.nat(39)) }),
      fc.record({
        type: fc.constant("cancel range"),
        range: fc.tuple(fc.nat(42), fc.integer({ min: 1, max: 6 })),
      }),
      fc.record({ type: fc.constant("unkeep"), task: fc.nat(39) }),
      fc.record({ type: fc.constant("look"), task: fc.nat(39) }),
      fc.record({ type: fc.constant("restart"), isSnapshot: fc.boolean() }),
      fc.record({ type: fc.constant("lost") }),
      fc.record({ type: fc.constant("more"), from: fc.nat(39) }),
    );
    const shape = fc.record({
      retries: fc.nat(1),
      constant: fc.boolean(),
      chained: fc.boolean(),
      parallelism: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      maxFails: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(
        shape,
        fc.array(move, { maxLength: 25 }),
        ({ retries, constant, chained, ...limits }, moves) => {
          const benches = [new Bench(true, limits as never), new Bench(false, limits as never)] as const;
          const both = (act: (bench: Bench) => unknown): void => {
            const [a, b] = benches.map(act);
            expect(a).toEqual(b);
          };
          const constants = [
            {
              id: asObjectId(900),
              kind: "blob",
              label: "c",
              contentType: "",
              keep: false,
              size: 1,
              sha256: digestOf(1),
              data: Uint8Array.of(1),
            },
          ];
          const inputs = constant ? [{ object: asObjectId(900), path: "in" }] : [];
          const second = chained ? [{ object: asObjectId(1_003), path: "in" }] : inputs;
          both((bench) =>
            bench.send(
              [array(0, 15, { retries, inputs }), array(20, 20, { inputs: second })],
              [taskSpec(17)],
              constants,
            ),
          );
          both((bench) => (bench.register(100, cpus(4)), bench.running()));
          let next = 40;
          for (const each of moves) {
            if (each.type === "end" && "which" in each) {
              const running = benches[0].running();
              const one = running[each.which % Math.max(1, running.length)];
              if (one && one.task !== 17) both((bench) => bench.ends(one.task, one.attempt, each.isWell));
            } else if (each.type === "cancel" && "task" in each) {
              both((bench) =>
                bench.asks(
                  "cancel",
                  each.task === null ? {} : { tasks: [each.task].filter((id) => id < 15 || id >= 20) },
                ),
              );
            } else if (each.type === "cancel range" && "range" in each) {
              // Some reach over the end of an array, into single tasks, and to numbers that nobody has.
              both((bench) => bench.asks("cancel", { ranges: [each.range], tasks: [] }));
            } else if (each.type === "unkeep" && "task" in each && each.task !== null) {
              both((bench) => bench.asks("unkeep", { objects: [1_000 + (each.task ?? 0)] }));
            } else if (each.type === "look" && "task" in each) {
              both((bench) => bench.asks("explain", { task: each.task }));
            } else if (each.type === "restart" && "isSnapshot" in each) {
              both((bench) => {
                const running = bench.running();
                bench.restart(each.isSnapshot ? reloaded(applied(bench.records)) : applied(bench.records));
                const attempts = running.map((one) => ({
                  session: bench.session,
                  task: asTaskId(one.task),
                  attempt: one.attempt,
                  running: true,
                }));
                bench.register(100, cpus(4), attempts);
                return bench.running();
              });
            } else if (each.type === "lost") {
              both(
                (bench) => (
                  bench.register(100, {
                    ...cpus(4),
                    incarnation: `incarnation-${next}`,
                  }),
                  bench.running()
                ),
              );
              next++;
            } else if (each.type === "more" && "from" in each) {
              const id = next++;
              both((bench) =>
                bench.send([], [taskSpec(id, { inputs: [{ object: asObjectId(1_000 + each.from) }] })]),
              );
            }
            both((bench) => bench.view(15));
          }
          const [a] = benches;
          expect([...a.core.durable.dump()]).toEqual([...applied(a.records).dump()]);
          expect([...a.core.durable.dump()]).toEqual([...reloaded(a.core.durable).dump()]);
        },
      ),
      { numRuns: 40 },
    );
  });
});
