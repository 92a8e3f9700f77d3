import {
  asDigest,
  asObjectId,
  asSessionId,
  asTaskId,
  FinishList,
  governorMessage,
  packAssignments,
  packRefs,
  serverToGovernor,
  taskOfArray,
  unpackAssignments,
  unpackFinishes,
  unpackRefs,
  type Assignment,
  type Finish,
  type TaskArray,
  type TaskInfo,
  type TaskSpec,
} from "@rain/protocol";
import { decode, encode, parse } from "@rain/protocol/codec";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import {
  amountColumn,
  idList,
  integerColumn,
  numberColumn,
  ordinalColumn,
} from "../../packages/protocol/src/numbers.ts";

const session = asSessionId(3);
const sha256 = asDigest("ab".repeat(32));
const id = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const few = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(value, { maxLength: 3 });
const given = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T;

/** Few values, so that neighbours are often alike. */
const spec: fc.Arbitrary<TaskSpec> = fc
  .record({
    id: id.map(asTaskId),
    work: fc.constantFrom<TaskSpec["work"]>(
      { type: "execute", args: ["true"] },
      { type: "execute", args: ["echo", "x"] },
      { type: "concat" },
    ),
    inputs: few(fc.record({ object: id.map(asObjectId), path: fc.constantFrom("a", "b") })),
    outputs: few(
      fc.record({
        object: id.map(asObjectId),
        label: fc.constantFrom("out", "log"),
        kind: fc.constant("blob" as const),
        contentType: fc.constant(""),
        keep: fc.boolean(),
      }),
    ),
    request: fc.constantFrom(
      { cpus: 1, gpus: 0, memory: 0, named: {} },
      { cpus: 2, gpus: 0, memory: 0, named: {} },
    ),
    name: fc.constantFrom(undefined, "a", "b"),
    user: fc.constantFrom(undefined, { lr: 0.5 }, { lr: 1 }),
    origin: fc.constantFrom(undefined, "x.mjs:1:1", "x.mjs:2:1"),
    retries: fc.constantFrom(undefined, 1),
  })
  .map(given);
const assignment: fc.Arbitrary<Assignment> = fc
  .record({ spec, attempt: fc.integer({ min: 1, max: 3 }) })
  .map((one) => ({
    ...one,
    inputs: one.spec.inputs.map(({ object }) => ({
      object,
      kind: "blob" as const,
      size: 0,
      sha256,
      contentType: "",
      sources: [],
    })),
  }));
const finish: fc.Arbitrary<Finish> = fc.record({
  task: id.map(asTaskId),
  attempt: fc.integer({ min: 1, max: 3 }),
  outputs: few(
    fc.record({
      object: id.map(asObjectId),
      size: fc.nat(),
      sha256: fc.constant(sha256),
      contentType: fc.constant(""),
    }),
  ),
  info: fc.constantFrom<TaskInfo>(
    {},
    { durationS: 0.5, exitCode: 0 },
    { durationS: 2, exitCode: 0 },
    { debug: "note" },
  ),
});
const carried = (schema: Parameters<typeof parse>[0], message: object): unknown =>
  parse(schema, decode(encode(message)), "message");

describe("many attempts in one message", () => {
  test("assignments come out as they went in", () => {
    fc.assert(
      fc.property(fc.array(assignment, { minLength: 1, maxLength: 30 }), (list) => {
        const message = { type: "assign.batch", ...packAssignments(session, list) };
        const heard = carried(serverToGovernor, message) as Parameters<typeof unpackAssignments>[0];
        expect([...unpackAssignments(heard)]).toEqual(list);
      }),
    );
  });

  test("tasks that are alike are said once", () => {
    const one = (n: number): Assignment => ({
      attempt: 1,
      inputs: [],
      spec: {
        id: asTaskId(n),
        work: { type: "execute", args: ["echo", String(n)] },
        inputs: [],
        outputs: [{ object: asObjectId(n), label: "out", kind: "blob", contentType: "", keep: true }],
        request: { cpus: 1, gpus: 0, memory: 0, named: {} },
      },
    });
    expect(packAssignments(session, [one(1), one(2), one(3)]).groups).toHaveLength(1);
  });

  test("tasks of an array, which are not compared, are said as if they were", () => {
    fc.assert(
      fc.property(
        spec,
        fc.boolean(),
        fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 5 }),
        (first, isNamed, attempts) => {
          const { id: _id, outputs, ...rest } = first;
          const template = {
            ...rest,
            inputs: [],
            outputs: outputs.map(({ object: _object, ...each }) => each),
          };
          const task = isNamed ? { ...template, name: "n0" } : template;
          const vary = isNamed ? [{ at: ["name"] as const, range: { from: 0, step: 1, prefix: "n" } }] : [];
          const count = attempts.length;
          const array: TaskArray = { first: asTaskId(7), count, objects: asObjectId(20), task, vary };
          const list = attempts.map((attempt, index) => ({
            attempt,
            spec: taskOfArray(array, index),
            inputs: [],
          }));
          const known = list.map((one) => ({ ...one, array }));
          expect(packAssignments(session, known)).toEqual(packAssignments(session, list));
          const alone = list.slice(0, 1);
          const mixed = packAssignments(session, [...known, ...alone]);
          expect([...unpackAssignments(mixed)]).toEqual([...list, ...alone]);
        },
      ),
    );
  });
  test("finishes come out as they went in", () => {
    fc.assert(
      fc.property(fc.array(finish, { minLength: 1, maxLength: 30 }), (finishes) => {
        const out: Finish[] = [];
        let list: FinishList | undefined;
        const end = (): void => {
          if (list === undefined) return;
          if (list.length === 1) return void out.push(...list.all);
          const heard = carried(governorMessage, { type: "finish.batch", ...list.pack() });
          out.push(...unpackFinishes(heard as Parameters<typeof unpackFinishes>[0]));
        };
        for (const each of finishes) {
          if (list?.add(session, each) === true) continue;
          end();
          list = new FinishList(session, each);
        }
        end();
        expect(out).toEqual(finishes);
      }),
    );
  });

  test("references come out as they went in", () => {
    const ref = fc.record({
      session: fc.constant(session),
      task: id.map(asTaskId),
      attempt: fc.integer({ min: 1, max: 3 }),
    });
    fc.assert(
      fc.property(fc.array(ref, { minLength: 1 }), (refs) => {
        const heard = carried(serverToGovernor, { type: "ack.batch", session, ...packRefs(refs) });
        expect([...unpackRefs(heard as Parameters<typeof unpackRefs>[0])]).toEqual(refs);
      }),
    );
  });

  test.each([
    ["fewer attempts than tasks", { type: "ack.batch", session, tasks: [1, 2, 3], attempts: [1, 2] }],
    ["no task", { type: "ack.batch", session, tasks: [], attempts: 1 }],
    [
      "too many tasks",
      { type: "ack.batch", session, tasks: Array.from({ length: 1_001 }, (_, n) => n), attempts: 1 },
    ],
  ])("refuses %s", (_, message) => {
    expect(() => parse(serverToGovernor, message, "message")).toThrow("message");
  });
  test("refuses lists of a group that do not belong together", () => {
    const [group] = packAssignments(
      session,
      fc.sample(
        assignment.filter((one) => one.spec.outputs.length > 0),
        1,
      ),
    ).groups;
    const say = (changes: object): unknown =>
      parse(
        serverToGovernor,
        { type: "assign.batch", session, groups: [{ ...group, ...changes }] },
        "message",
      );
    say({});
    expect(() => say({ tasks: [1, 2] })).toThrow("equally long");
    expect(() => say({ objects: undefined })).toThrow("equally long");
    expect(() => say({ own: [{}, {}] })).toThrow("equally long");
    expect(() => say({ inputs: [[], []] })).toThrow("equally long");
  });
  test("refuses measures that are not as many as the tasks", () => {
    const message = {
      type: "finish.batch",
      session,
      tasks: [1, 2],
      attempts: 1,
      measures: { durationS: [1] },
    };
    expect(() => parse(governorMessage, message, "message")).toThrow("equally long");
  });
});

describe("checks of columns take and refuse what a schema of each number does", () => {
  const list = (each: z.ZodType): z.ZodType => z.array(each).min(1);
  const column = (each: z.ZodType): z.ZodType => z.union([each, list(each)]);
  const number = z
    .int()
    .min(0)
    .max(2 ** 31 - 1);
  const pairs: [string, z.ZodType, z.ZodType][] = [
    ["ids", idList, list(number)],
    [
      "ordinals",
      ordinalColumn,
      column(
        z
          .int()
          .min(1)
          .max(2 ** 31 - 1),
      ),
    ],
    ["integers", integerColumn, column(z.int())],
    ["numbers", numberColumn, column(z.number())],
    ["amounts", amountColumn, column(z.number().min(0))],
  ];
  const odd = fc.constantFrom<unknown>(
    0,
    -0,
    1,
    -1,
    0.5,
    NaN,
    Infinity,
    -Infinity,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 53,
    2 ** 53 - 1,
    1e300,
    "1",
    null,
    undefined,
    true,
    {},
    [],
    [1],
    Uint8Array.of(1),
    1n,
  );
  test.each(pairs)("%s", (_, fast, slow) => {
    fc.assert(
      fc.property(
        fc.oneof(odd, fc.array(odd, { maxLength: 4 }), fc.array(fc.integer()), fc.array(fc.double())),
        (value) => {
          expect(fast.safeParse(value).success).toBe(slow.safeParse(value).success);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});
