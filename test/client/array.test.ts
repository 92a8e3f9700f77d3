import {
  blob,
  each,
  index,
  TaskArray,
  TaskError,
  type ArrayArgument,
  type ArrayOptions,
  type Client,
  type Session,
} from "@rain/client";
import {
  limits,
  taskArray,
  taskOfArray,
  taskSpec,
  type TaskArray as ArraySpec,
  type TaskSpec,
} from "@rain/protocol";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { cutArray } from "../../packages/client/src/cut-array.ts";
import { Peer } from "./peer.ts";

let peer: Peer;
let client: Client;
let session: Session;
/** A server with these features, and a session there. */
async function serve(features: readonly string[]): Promise<void> {
  await peer.down();
  peer.features = features;
  await peer.listen();
  client = await peer.connect();
  session = await client.newSession();
}
beforeEach(async () => {
  peer = await Peer.start();
  await serve(["arrays", "columns"]);
});
afterEach(() => peer.stop());

const sentArrays = (): ArraySpec[] => peer.of("submit").flatMap(({ arrays = [] }) => [...arrays]);
/** Every task that was sent, as the server reads it. */
const sentTasks = (): TaskSpec[] => [
  ...peer.submitted,
  ...sentArrays().flatMap((sent) => {
    const array = taskArray.parse(sent);
    return Array.from({ length: array.count }, (_, k) => taskSpec.parse(taskOfArray(array, k)));
  }),
];
const program = (spec: TaskSpec): unknown => (spec.work.type === "execute" ? spec.work.args : undefined);

describe("an array", () => {
  test("goes as one description with a column for each place in which the tasks differ", async () => {
    const texts = session.array(3, ["make", index({ prefix: "text-" })], { stdout: true });
    const array = session.array(
      3,
      ["train", "--lr", each([0.1, "1e-3", 5]), texts, index({ from: 10, step: -5 })],
      {
        name: index({ prefix: "train-", suffix: "/3" }),
        env: { LANG: "C", SEED: each(["a", "b", "c"]) },
        user: { trial: index(), good: each([true, null, "x"]), fixed: [1] },
        stdin: each([blob("1"), blob("2"), blob("3")]),
        stdout: "out",
        outputPaths: ["model"],
        cpus: 2,
      },
    );
    array.keepOutputs();
    await session.submit();
    const [, sent] = sentArrays();
    expect(sent?.task.origin).toMatch(/^test\/client\/array\.test\.ts:\d+:\d+$/);
    expect(sent?.vary.map(({ at }) => at.join(" "))).toEqual([
      "args 2",
      "args 4",
      "name",
      "env SEED",
      "user trial",
      "user good",
      "input 0",
      "input 1",
    ]);
    const tasks = sentTasks().slice(3);
    expect(tasks.map(program)).toEqual([
      ["train", "--lr", "0.1", { input: 0 }, "10"],
      ["train", "--lr", "1e-3", { input: 0 }, "5"],
      ["train", "--lr", "5", { input: 0 }, "0"],
    ]);
    expect(tasks[1]).toMatchObject({
      id: 4,
      name: "train-1/3",
      user: { trial: 1, good: null, fixed: [1] },
      work: { env: { LANG: "C", SEED: "b" }, stdin: 1 },
      request: { cpus: 2 },
      inputs: [{ object: 1 }, { object: 4 }],
      outputs: [
        { object: 8, label: "out", keep: true, capture: "stdout" },
        { object: 9, label: "model", keep: true, path: "model" },
      ],
    });
    // The handles say the same.
    expect([...array].map(({ spec }) => spec)).toEqual(tasks);
    expect([array.length, array.first, array.at(-1).id]).toEqual([3, 3, 5]);
    expect(array.outputs.map(({ id }) => id)).toEqual([6, 7, 8, 9, 10, 11]);
    expect(() => array.at(3)).toThrow("the array has no task 3; it has 3");
  });

  test("comes as single tasks to a server that does not know arrays", async () => {
    const make = async (): Promise<TaskSpec[]> => {
      const texts = session.array(5, ["make", each(["a", "b", "c", "d", "e"])], { stdout: true });
      session.array(5, ["use", texts, index()], { name: index() });
      await session.submit();
      const made = sentTasks();
      peer.requests.length = 0;
      return made;
    };
    const asArrays = await make();
    await serve([]);
    expect(await make()).toEqual(asArrays);
    expect(sentArrays()).toEqual([]);
  });

  test("whose values fill more than a message goes as several arrays, in parts", async () => {
    const count = limits.messageItems / 2;
    const values = Array.from({ length: count }, (_, k) => `value ${k * k}`);
    session.array(count, ["use", each(values), index()], { stdout: true });
    await session.submit();
    const parts = peer.of("submit");
    expect(parts.length).toBeGreaterThan(1);
    expect(parts.map(({ part, last }) => [part, last])).toEqual(
      parts.map((_, part) => [part, part === parts.length - 1]),
    );
    let next = 0;
    for (const array of sentArrays()) {
      expect([array.first, array.objects]).toEqual([next, next]);
      for (const at of [0, array.count - 1])
        expect(program(taskOfArray(array, at))).toEqual(["use", values[next + at], String(next + at)]);
      expect(program(taskOfArray({ ...array, vary: [] }, 0))).toEqual(["use", values[next], String(next)]);
      next += array.count;
    }
    expect(next).toBe(count);
    expect(sentArrays().length).toBeGreaterThan(2);
  });

  test("with one value that is larger than a part is cut around it", () => {
    const large = "x".repeat(100_000);
    const values = ["a", ...Array.from({ length: 30 }, () => large), "b"];
    const { spec } = session.array(values.length, ["use", each(values)]).at(0);
    const whole: ArraySpec = {
      first: spec.id,
      count: values.length,
      objects: 0 as never,
      task: { ...spec, outputs: [] },
      vary: [{ at: ["args", 1], values }],
    };
    const parts = [...cutArray(whole)];
    expect(
      parts.flatMap(({ vary: [column] }) => (column && "values" in column ? column.values : [])),
    ).toEqual(values);
    expect(parts.length).toBeGreaterThan(2);
  });

  test.each<[string, number, string | ArrayArgument[], ArrayOptions, RegExp]>([
    ["no count", 0, ["x"], {}, /array: count: must be a whole number from 1/],
    ["too few values", 3, ["x", each(["a"])], {}, /array: argument 1: has 1 values for 3 tasks/],
    [
      "a value that is no text",
      2,
      ["x", each([true, "b"])],
      {},
      /argument 1: value 0: must be a string, not true/,
    ],
    ["a NUL", 2, ["x", each(["a", "b\0"])], {}, /argument 1: value 1: contains a NUL/],
    [
      "too long a text",
      2,
      ["x", each(["a", "b".repeat(200_000)])],
      {},
      /value 1: has 200000 bytes; the limit/,
    ],
    [
      "too many texts together",
      2,
      ["x", ...Array.from({ length: 9 }, () => each(["a", "b".repeat(131_000)]))],
      {},
      /together|arguments and the environment/,
    ],
    ["a shell line", 2, ["echo", index()], { shell: true }, /argument 1: the line of a shell is the same/],
    [
      "objects as a variable",
      1,
      ["x"],
      { env: { A: each([blob("1")]) } },
      /env: A: data objects that differ/,
    ],
    ["texts as stdin", 1, ["x"], { stdin: each(["1"]) }, /stdin: needs data objects/],
    ["a misspelt option", 1, ["x"], { nmae: "x" } as never, /array: unknown option "nmae"/],
    ["a number that is too large", 3, ["x", index({ from: Number.MAX_SAFE_INTEGER - 1 })], {}, /too large/],
  ])("with %s is refused where it is written, and leaves nothing", async (_, count, args, options, error) => {
    expect(() => session.array(count, args, options)).toThrow(error);
    expect(session.tasks).toEqual([]);
    await session.submit();
    expect(peer.of("submit")).toEqual([]);
  });

  test("and its values: what is wrong with them alone", () => {
    expect(() => each([])).toThrow(/the list is empty/);
    expect(() => each("ab" as never)).toThrow(/needs a list of values/);
    expect(() => each(["a", {} as never])).toThrow(/value 1 must be a text/);
    expect(() => each([1, Number.NaN])).toThrow(/value 1: NaN/);
    const mixed: unknown = [blob("1"), "2"];
    expect(() => each(mixed as string[])).toThrow(/value 1 must be a data object/);
    expect(() => index({ from: 0.5 })).toThrow(/index: from: must be a whole number/);
    expect(() => index({ start: 1 } as never)).toThrow(/unknown option "start"/);
  });
});

describe("handles", () => {
  test("are the same while they are held, and know what has become of their tasks", async () => {
    const array = session.array(1_000, ["x"], { stdout: true }).keepOutputs();
    const task = array.at(7);
    expect(array.at(7)).toBe(task);
    expect(session.task(7)).toBe(task);
    expect([task.state, task.output.state, task.output.isKept]).toEqual([undefined, undefined, true]);
    await session.submit();
    expect([task.state, task.output.state, array.at(8).state]).toEqual(["waiting", "pending", "waiting"]);
    const waits = Promise.all([task.wait(), array.at(500).output.wait()]);
    peer.settle([500, 7]);
    await waits;
    expect([task.state, task.output.state]).toEqual(["finished", "finished"]);
    // One that was made after the news.
    expect([array.at(500).state, array.at(500).output.state, array.at(501).state]).toEqual([
      "finished",
      "finished",
      "waiting",
    ]);
    expect(array.settled).toEqual({ finished: 2, failed: 0, cancelled: 0, aborted: 0 });
  });

  test("are counted among the tasks and objects of the session, in their order", async () => {
    const before = session.execute("a", { stdout: true });
    const array = session.array(2, ["x"], { stdout: true, name: index({ prefix: "n" }) });
    const after = session.execute("b", { stdout: true });
    expect(session.tasks).toEqual([before, array.at(0), array.at(1), after]);
    expect(session.objects.map(({ id }) => id).toSorted((a = 0, b = 0) => a - b)).toEqual([0, 1, 2, 3]);
    expect(session.task("n1")).toBe(array.at(1));
  });

  test("one output cannot be kept or let go by itself before the submit, all can", async () => {
    const array = session.array(2, ["x"], { stdout: true });
    expect(() => array.at(0).output.keep()).toThrow(/all outputs are kept or none: array\.keepOutputs\(\)/);
    session.keepAll();
    expect(array.at(0).output.keep().isKept).toBe(true);
    await expect(array.at(0).output.unkeep()).rejects.toThrow(/are kept or none/);
    await session.submit();
    expect(sentTasks().map(({ outputs: [only] }) => only?.keep)).toEqual([true, true]);
    expect(() => array.keepOutputs()).toThrow(/submitted/);
    await array.at(1).output.unkeep();
    expect(array.at(1).output.isKept).toBe(false);
    await array.unkeep();
    expect(array.at(0).output.isKept).toBe(false);
    expect(peer.of("unkeep").map(({ objects }) => objects)).toEqual([[1], [0]]);
    await array.unkeep();
    expect(peer.of("unkeep").length).toBe(2);
  });

  test("feed other tasks: one by one, and all of them", async () => {
    const array = session.array(4, ["x"], { stdout: true });
    const all = session.concat(array.outputs);
    const one = session.execute(["y", array.at(2)]);
    await session.submit();
    expect(all.spec.inputs.map(({ object }) => object)).toEqual([0, 1, 2, 3]);
    expect(one.spec.inputs.map(({ object }) => object)).toEqual([2]);
    // Later submits may only use what was kept.
    expect(() => session.execute(["y", array.at(2)])).toThrow(/not kept/);
    expect(() => session.array(4, ["y", array])).toThrow(/not kept/);
  });

  test("when the server refuses the submit, all is as before", async () => {
    const array = session.array(2, ["x"], { stdout: true });
    const task = array.at(1);
    const accept = peer.handlers.submit;
    peer.handlers.submit = () => {
      throw new Error("no");
    };
    await expect(session.submit()).rejects.toThrow();
    await expect(array.wait()).rejects.toThrow(/is not submitted/);
    expect(task.state).toBeUndefined();
    array.keepOutputs();
    if (accept) peer.handlers.submit = accept;
    await session.submit();
    expect([task.state, task.output.isKept]).toEqual(["waiting", true]);
    expect(sentTasks().at(-1)?.outputs[0]?.keep).toBe(true);
  });
});

describe("waits", () => {
  test.each([["items"], ["columns"]])("for an array, with news as %s", async (how) => {
    if (how === "items") await serve(["arrays"]);
    const array = session.array(5_000, ["x"]);
    await session.submit();
    let isDone = false;
    const wait = (async () => {
      await array.wait();
      isDone = true;
    })();
    const all = session.waitAll();
    const numbers = Array.from({ length: 5_000 }, (_, k) => k);
    // In an order that is not theirs.
    const order = numbers.toSorted((a, b) => ((a * 7_919) % 5_000) - ((b * 7_919) % 5_000));
    peer.settle(order.slice(0, 4_999));
    const last = order[4_999] ?? 0;
    await vi.waitFor(() => expect(array.settled.finished).toBe(4_999));
    expect(isDone).toBe(false);
    peer.settle([last]);
    await wait;
    expect(await all).toEqual([]);
    expect(peer.of("next").every(({ columns }) => (columns === true) === (how === "columns"))).toBe(true);
    const seen: number[] = [];
    for await (const task of session.finished()) seen.push(task.id);
    expect(seen).toEqual([...order.slice(0, 4_999), last]);
  });

  test("end with the first failure, of whichever task they are found by", async () => {
    const session2 = await client.newSession("", { onError: "continue" });
    const array = session2.array(1_000, ["x"], { name: index({ prefix: "n" }) });
    await session2.submit();
    const failure = { reason: "exit", message: "exit code 3", exitCode: 3, attempt: 2 } as const;
    const waits = [array.wait(), session2.wait([...array].slice(500)), array.at(900).wait()];
    const untouched = session2.wait([...array].slice(0, 900));
    const results = Promise.allSettled(waits);
    peer.settle([17]);
    peer.settle([900], "failed", { failure });
    for (const result of await results) {
      const error = (result as PromiseRejectedResult).reason as TaskError;
      expect(error).toBeInstanceOf(TaskError);
      expect(error.message).toContain("task 1/900 (n900) failed: exit code 3");
      expect(error.message).toContain("created at test/client/array.test.ts");
      expect(error.task).toBe(array.at(900));
    }
    await expect(array.wait()).rejects.toThrow(/1\/900/);
    const rest = Array.from({ length: 1_000 }, (_, k) => k).filter((k) => k !== 17 && k !== 900);
    peer.settle(rest.slice(0, 900));
    await untouched;
    peer.settle(rest.slice(900));
    expect((await session2.waitAll()).map(({ id, info }) => [id, info.attempt])).toEqual([[900, 2]]);
  });

  test("waitSome: an array counts once all its tasks have settled", async () => {
    const [a, b] = [session.array(20, ["x"]), session.array(20, ["y"])];
    const one = session.execute("z");
    const many = session.array(100, ["w"]);
    await session.submit();
    const wait = session.waitSome([a, one, b]);
    peer.settle(Array.from({ length: 19 }, (_, k) => k)); // all but one of a
    peer.settle(Array.from({ length: 20 }, (_, k) => 21 + k - 1)); // all of b: 20 to 39
    expect(await wait).toEqual([b]);
    const each = session.waitSome([...many, one]);
    peer.settle([41 + 77]);
    expect((await each).map(({ id }) => id)).toEqual([41 + 77]);
    peer.settle([19, 40]);
    expect(await session.waitSome([one])).toEqual([one]);
    expect(await session.waitSome([a, one, b])).toEqual([a, one, b]);
    await expect(session.waitSome([many, many.at(3)], { timeoutS: 0.01 })).rejects.toThrow(
      /waitSome: not settled/,
    );
  });

  test("a wait that is given up leaves nothing behind for the next", async () => {
    const array = session.array(100, ["x"]);
    await session.submit();
    for (const items of [[array], [array.at(3)], [...array].slice(0, 5)])
      await expect(session.wait(items, { timeoutS: 0.01 })).rejects.toThrow(/not settled after/);
    const wait = array.wait();
    peer.settle(Array.from({ length: 100 }, (_, k) => 99 - k));
    await wait;
  });
});

test("cancel names a range, or the numbers to a server that knows no ranges", async () => {
  const run = async (): Promise<unknown> => {
    const array = session.array(25_000, ["x"]);
    const one = session.execute("y");
    await session.submit();
    peer.requests.length = 0;
    await session.cancel([array, one, array.at(3)]);
    return peer.of("cancel").map(({ tasks = [], ranges = [] }) => [tasks.length, ranges]);
  };
  expect(await run()).toEqual([
    [0, [[0, 10_000]]],
    [0, [[10_000, 10_000]]],
    [0, [[20_000, 5_001]]],
  ]);
  await serve(["arrays"]);
  expect(await run()).toEqual([
    [10_000, []],
    [10_000, []],
    [5_001, []],
  ]);
});

test("an array belongs to its session", async () => {
  const array = session.array(2, ["x"], { stdout: true }).keepOutputs();
  await session.submit();
  const other = await client.newSession();
  expect(array).toBeInstanceOf(TaskArray);
  await expect(other.wait([array])).rejects.toThrow(/does not belong to session/);
  await expect(other.cancel([array])).rejects.toThrow(/does not belong to session/);
  await expect(other.unkeep([array])).rejects.toThrow(/does not belong to session/);
  expect(() => other.array(2, ["y", array])).toThrow(/belongs to session/);
});
