import { asObjectId, asTaskId, taskArray, taskOfArray, type TaskArray, type TaskSpec } from "@rain/protocol";
import { decode, encode } from "@rain/protocol/codec";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { groupTasks } from "../../packages/client/src/group.ts";

const request = { cpus: 1, gpus: 0, memory: 0, named: {} };

/** Tasks with numbers of their own, of descriptions without. */
function numbered(drafts: readonly Partial<TaskSpec>[], width: (at: number) => number): TaskSpec[] {
  let object = 100;
  return drafts.map((draft, at) => ({
    work: { type: "execute", args: ["echo"] },
    inputs: [],
    request,
    ...draft,
    id: asTaskId(at),
    outputs: Array.from({ length: width(at) }, (_, k) => ({
      object: asObjectId(object++),
      label: `out${k}`,
      kind: "blob",
      contentType: "",
      keep: true,
      path: `out${k}`,
    })),
  }));
}
const group = (specs: readonly TaskSpec[]): (TaskSpec | TaskArray)[] => [...groupTasks(specs)];
/** As the server reads them. */
const expand = (groups: readonly (TaskSpec | TaskArray)[]): TaskSpec[] =>
  groups.flatMap((each) => {
    if ("id" in each) return [each];
    const array = taskArray.parse(decode(encode(each)));
    return Array.from({ length: array.count }, (_, index) => taskOfArray(array, index));
  });

describe("tasks that are alike", () => {
  test("go as one array with a column for each place in which they differ", () => {
    const drafts = Array.from({ length: 10 }, (_, at): Partial<TaskSpec> => ({
      name: `train-${at}`,
      work: {
        type: "execute",
        args: ["train", `--lr=0.${at}1`, `${at * 7 - 3}`],
        env: { LANG: "C", TRIAL: `${at}` },
      },
      user: { trial: at, note: at % 2 === 0 ? "even" : "odd" },
      inputs: [{ object: asObjectId(50 - at) }],
    }));
    const [only, ...others] = group(numbered(drafts, () => 2));
    expect(others).toEqual([]);
    expect(only).toMatchObject({ first: 0, count: 10, objects: 100 });
    const columns = only && "vary" in only ? only.vary : [];
    expect(Object.fromEntries(columns.map((column) => [column.at.join("."), column]))).toMatchObject({
      name: { range: { from: 0, step: 1, prefix: "train-", suffix: "" } },
      "env.TRIAL": { range: { from: 0, step: 1, prefix: "" } },
      "user.trial": { range: { from: 0, step: 1 } },
      "input.0": { range: { from: 50, step: -1 } },
      "args.2": { values: ["-3", "4", "11", "18", "25", "32", "39", "46", "53", "60"] },
    });
    expect(expand(group(numbered(drafts, () => 2)))).toEqual(numbered(drafts, () => 2));
  });

  test("are single when few, or when they differ where tasks of an array cannot", () => {
    const same = numbered([{}, {}, {}], () => 1);
    expect(group(same)).toEqual(same);
    const others = numbered(
      Array.from({ length: 9 }, (_, at): Partial<TaskSpec> => ({ priority: at })),
      () => 1,
    );
    expect(group(others)).toEqual(others);
    const inPlace = numbered(
      Array.from({ length: 9 }, (_, at): Partial<TaskSpec> => ({ replaces: asTaskId(1_000 + at) })),
      () => 1,
    );
    expect(group(inPlace)).toEqual(inPlace);
  });

  test("are the same tasks again when they are taken apart", () => {
    const text = fc.oneof(
      fc.constantFrom("", "0", "-0", "07", "1e3", "9007199254740993", "x 1 y", "a-1", "größe 3"),
      fc.nat(30).map((n) => `n${n}`),
    );
    const draft = fc.record(
      {
        name: text,
        origin: fc.constantFrom("a.mjs:1:2", "b.mjs:3:4"),
        priority: fc.constantFrom(0, 1),
        user: fc.dictionary(
          fc.constantFrom("a", "b"),
          fc.oneof(
            text,
            fc.nat(5),
            // Minus zero is zero once it is encoded, in an array as elsewhere.
            fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => (n === 0 ? 0 : n)),
            fc.constant(null),
            fc.constant([1]),
          ),
        ),
        work: fc.oneof(
          fc.record({
            type: fc.constant("execute" as const),
            args: fc.array(text, { minLength: 1, maxLength: 2 }),
            env: fc.dictionary(fc.constantFrom("A", "B"), text),
          }),
          fc.record({
            type: fc.constant("custom" as const),
            method: fc.constant("py/run"),
            config: fc.constantFrom("1", "2", "[3]"),
          }),
          fc.record({ type: fc.constant("sleep" as const), seconds: fc.nat(2) }),
        ),
        inputs: fc.array(fc.record({ object: fc.nat(20).map(asObjectId) }), { maxLength: 1 }),
      },
      { requiredKeys: [] },
    );
    const block = fc.tuple(
      draft,
      fc.integer({ min: 1, max: 8 }),
      fc.array(fc.tuple(fc.nat(7), draft), { maxLength: 2 }),
    );
    fc.assert(
      fc.property(
        fc.array(block, { maxLength: 6 }),
        fc.array(fc.nat(2), { minLength: 1, maxLength: 3 }),
        (blocks, widths) => {
          const drafts = blocks.flatMap(([each, count, changes]) =>
            Array.from({ length: count }, (_, at) => changes.find(([where]) => where === at)?.[1] ?? each),
          );
          const specs = numbered(drafts, (at) => widths[Math.floor(at / 5) % widths.length] ?? 1);
          expect(expand(group(specs))).toEqual(specs);
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
