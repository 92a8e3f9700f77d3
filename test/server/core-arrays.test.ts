import {
  asObjectId,
  asTaskId,
  taskOfArray,
  type ReplyOf,
  type SessionId,
  type TaskArray,
  type TaskTemplate,
} from "@rain/protocol";
import fc from "fast-check";
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

/** A core of which the tests see what clients and governors do; arrays are sent as such, or as single tasks. */
class Bench extends CoreKit {
  readonly session: SessionId;
  readonly #asArrays: boolean;
  #submits = 0;

  constructor(asArrays: boolean, limits: { parallelism?: number; maxFails?: number } = {}) {
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
    return {
      views: this.asks("task.get", { tasks }),
      log: [...this.core.durable.session(this.session).settled],
      outstanding: this.asks("next", { from: 0 }),
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

  it("are, to everybody, what single tasks are", () => {
    const move = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({ type: fc.constant("end"), which: fc.nat(7), isWell: fc.boolean() }),
      },
      fc.record({ type: fc.constant("cancel"), task: fc.option(fc.nat(39)) }),
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
                    incarnation: `incarnation-${bench.records.length * 0 + next}`,
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
