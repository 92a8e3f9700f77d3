import { createHash } from "node:crypto";
import { blob, input, output, Program, type DataObject, type Session, type Task } from "@rain/client";
import { afterEach, describe, expect, test } from "vitest";
import { Cluster, until } from "../cluster.ts";
import { textOf, useRain, WAIT } from "./kit.ts";

/** When a task ran, by its governor's clock; milliseconds. */
async function spanOf(task: Task): Promise<{ start: number; end: number }> {
  await task.update();
  const { startTime = Number.NaN, durationS = Number.NaN } = task.info;
  return { start: startTime, end: startTime + durationS * 1_000 };
}
/** Did they run at the same time for some moment? The clocks are of one machine; a few ms lie between them. */
async function overlap(one: Task, other: Task): Promise<boolean> {
  const [a, b] = [await spanOf(one), await spanOf(other)];
  return a.start < b.end - 20 && b.start < a.end - 20;
}

describe("two cpus", () => {
  const rain = useRain([2]);
  const run = (build: (session: Session) => [Task, Task], overlaps: boolean): Promise<void> =>
    rain.session(async (session) => {
      const [one, other] = build(session);
      await session.submit();
      expect(await session.waitAll()).toEqual([]);
      expect(await overlap(one, other)).toBe(overlaps);
    });

  test("two sleeps of 2 cpus run one after the other", WAIT, () =>
    run(
      (session) => [session.execute("sleep 1", { cpus: 2 }), session.execute("sleep 1", { cpus: 2 })],
      false,
    ),
  );
  test("two sleeps of 1 cpu run together", WAIT, () =>
    run((session) => [session.execute("sleep 1"), session.execute("sleep 1")], true),
  );
  test("the built-in sleep takes cpus like any task", WAIT, () =>
    run((session) => [session.sleep(blob("first"), 1), session.sleep(blob("second"), 1, { cpus: 2 })], false),
  );
  test("two built-in sleeps of 1 cpu run together", WAIT, () =>
    run((session) => [session.sleep(blob("first"), 1), session.sleep(blob("second"), 1)], true),
  );
});

describe("one and three cpus", () => {
  const rain = useRain([1]);
  test("two tasks of 1 cpu on 1 cpu run one after the other", WAIT, () =>
    rain.session(async (session) => {
      const [one, other] = [session.sleep(blob("first"), 0.5), session.sleep(blob("second"), 0.5)];
      await session.submit();
      await session.waitAll();
      expect(await overlap(one, other)).toBe(false);
    }),
  );
});

describe("several governors", () => {
  let cluster: Cluster | undefined;
  afterEach(async () => {
    await cluster?.stop();
    cluster = undefined;
  }, 60_000);

  test(
    "a task runs where its big input is, and a big one outweighs small ones",
    { timeout: 120_000 },
    async () => {
      cluster = await Cluster.start([1, 1, 1]);
      const client = await cluster.connect();
      await until(async () => (await client.serverInfo()).governors.length === 3);
      const session = await client.newSession("locality");
      // All at once, so that each governor makes one of them.
      const make = (bytes: number): Task[] =>
        [0, 1, 2].map(() =>
          session.execute(`sh -c "sleep 1; head -c ${bytes} /dev/urandom"`, { stdout: true }),
        );
      const big = make(8_000_000);
      for (const task of big) task.output.keep();
      await session.submit();
      await session.waitAll();
      const placeOf = async (task: Task): Promise<string | undefined> => (await task.update()).info.governor;
      const places = await Promise.all(big.map(placeOf));
      expect(new Set(places).size).toBe(3);
      for (const [index, task] of big.entries()) {
        const small = session.execute(["head", "-c", "70000", task], { stdout: true });
        small.output.keep();
        await session.submit();
        await small.wait();
        expect(await placeOf(small)).toBe(places[index]);
        const other = big[(index + 1) % 3];
        if (!other) throw new Error("no other");
        const both = session.execute(["wc", "-c", small, other, small], { stdout: true });
        await session.submit();
        await both.wait();
        expect(await placeOf(both)).toBe(places[(index + 1) % 3]);
      }
      await session.close();
      await client.close();
    },
  );

  test("tasks as wide as a governor go where they fit", { timeout: 120_000 }, async () => {
    cluster = await Cluster.start([1, 2, 3]);
    const client = await cluster.connect();
    await until(async () => (await client.serverInfo()).governors.length === 3);
    const session = await client.newSession("fit");
    const tasks = [3, 2, 1].map((cpus) => session.execute("sleep 0.5", { cpus, priority: cpus }));
    await session.submit();
    await session.waitAll();
    for (const task of tasks) await task.update();
    expect(tasks.map((task) => task.info.governor)).toEqual(["g2", "g1", "g0"]);
    await session.close();
    await client.close();
  });

  test("gridcat: 10 by 10 files, the same digest on 1, 2 and 4 governors", { timeout: 300_000 }, async () => {
    const digests: string[] = [];
    for (const cpus of [[2], [1, 1], [1, 1, 1, 1]]) {
      cluster = await Cluster.start(cpus);
      const client = await cluster.connect();
      await until(async () => (await client.serverInfo()).governors.length === cpus.length);
      const session = await client.newSession("gridcat");
      const result = gridcat(session, 10, 5_000);
      result.output.keep();
      await session.submit();
      digests.push(await textOf(result));
      if (cpus.length === 4) {
        await session.update();
        const used = new Set(session.tasks.map((task) => task.info.governor));
        expect(used.size).toBe(4);
      }
      await session.close();
      await client.close();
      await cluster.stop();
      cluster = undefined;
    }
    expect(digests).toEqual(Array(3).fill(expectedGridcat(10, 5_000)));
  });
});

/** File number `index`: the same at each run, and unlike the others. */
const gridFile = (index: number, size: number): string => {
  let text = "";
  for (let block = 0; text.length < size; block += 1)
    text += createHash("sha256").update(`${index}/${block}`).digest("hex");
  return text.slice(0, size);
};
const md5 = (text: string): string => createHash("md5").update(text).digest("hex");

/** Every pair of files is joined, the sum of each pair taken, and all sums joined to one, which is summed up. */
function gridcat(session: Session, count: number, size: number): Task {
  const cat = new Program(["cat", input("one"), input("two")], { stdout: "output" });
  const sum = new Program("md5sum", { stdin: input("input"), stdout: "output" });
  const first = new Program("cut -d ' ' -f 1", {
    stdin: input("input"),
    stdout: output("first", { contentType: "text" }),
  });
  const files: DataObject[] = Array.from({ length: count }, (_, index) => blob(gridFile(index, size)));
  const sums = files.flatMap((one) =>
    files.map((two) =>
      session.run(first, { input: session.run(sum, { input: session.run(cat, { one, two }) }) }),
    ),
  );
  return session.run(sum, { input: session.concat(sums) });
}

function expectedGridcat(count: number, size: number): string {
  const files = Array.from({ length: count }, (_, index) => gridFile(index, size));
  const sums = files.flatMap((one) => files.map((two) => `${md5(one + two)}\n`));
  return `${md5(sums.join(""))}  -\n`;
}

describe("graphs", () => {
  const rain = useRain([2, 2]);
  test("a big diamond comes together again", { timeout: 120_000 }, () =>
    rain.session(async (session) => {
      const data = gridFile(1, 512);
      let layer: DataObject[] = [blob(data)];
      const split = (object: DataObject): DataObject[] => {
        const task = session.execute(["split", "-n", "2", "-d", object, "half-"], {
          outputPaths: ["half-00", "half-01"],
        });
        return [...task.outputs];
      };
      for (let depth = 0; depth < 5; depth += 1) layer = layer.flatMap(split);
      layer = layer.map((object) => session.execute("tr a-z A-Z", { stdin: object, stdout: true }).output);
      while (layer.length > 1) {
        const halves = layer;
        layer = halves.flatMap((object, index) => {
          const next = halves[index + 1];
          return index % 2 === 0 && next ? [session.concat([object, next]).output] : [];
        });
      }
      const [result] = layer;
      if (!result) throw new Error("no result");
      result.keep();
      await session.submit();
      expect(await textOf(result)).toBe(data.toUpperCase());
    }),
  );

  test("separated lines over several submits, with checkpoints", { timeout: 120_000 }, () =>
    rain.session(async (session) => {
      const letters = [..."ABCDEFGHIJ"];
      const op = (object: DataObject): DataObject =>
        session.execute(["sh", "-c", 'cat "$0"; head -c 1 "$0"', object], { stdout: true }).output;
      const step = (objects: readonly DataObject[]): DataObject[] =>
        Array.from({ length: 3 }).reduce<DataObject[]>((each) => each.map(op), [...objects]);
      const checkpoint = step(letters.map((letter) => blob(letter)));
      for (const object of checkpoint) object.keep();
      await session.submit();
      const last = step(step(checkpoint));
      for (const object of last) object.keep();
      await session.submit();
      expect(await Promise.all(checkpoint.map(textOf))).toEqual(letters.map((each) => each.repeat(4)));
      expect(await Promise.all(last.map(textOf))).toEqual(letters.map((each) => each.repeat(10)));
    }),
  );
});
