import { mkdirSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ResultsJson } from "../../packages/cli/src/commands/results.ts";
import { Home } from "./rain.ts";

const limit = { timeout: 240_000 };
let home: Home;
beforeAll(async () => {
  home = await Home.make();
  mkdirSync(home.path("project"));
  // Fails for dropout 0.3 until the file `gate` is there.
  writeFileSync(
    home.path("project", "train.mjs"),
    `import { existsSync, writeFileSync } from "node:fs";
     import { parseArgs } from "node:util";
     const { layers, dropout } = parseArgs({ options: {
       layers: { type: "string" }, dropout: { type: "string" } } }).values;
     writeFileSync("model.txt", layers + " " + dropout);
     if (dropout === "0.3" && !existsSync(${JSON.stringify(home.path("gate"))})) process.exit(3);
     console.log("accuracy=" + (Number(layers) / 10 - Number(dropout)).toFixed(3));`,
  );
  await home.json("start", "--local-governors=4", "--listen=0");
}, 120_000);
afterAll(() => home.remove(), 120_000);

const results = (run: string): Promise<ResultsJson> => home.json("results", run);
const sweep = ["--layers", "[2, 4, 8]", "--dropout", "[0.1, 0.2, 0.3, 0.4]"];
const program = ["--localdir", "project", "project/train.mjs"];

test("three of twelve fail: nine results, the exit code says so, and retry runs three", limit, async () => {
  const ran = await home.rain("run", "--name", "dozen", ...program, ...sweep);
  expect(ran.code).toBe(3);
  const before = await results("dozen");
  expect(before.run).toMatchObject({ state: "failed", trials: 12, counts: { finished: 9, failed: 3 } });
  expect(before.best).toEqual({ experiment: 8, value: 0.7 });

  writeFileSync(home.path("gate"), "");
  const retried = await home.rain("retry", "dozen");
  expect({ code: retried.code, err: retried.err }).toEqual({
    code: 0,
    err: "dozen: 3 experiments submitted\n",
  });
  // Three lines for what ended now, and the table of all.
  const [ended = "", table = ""] = retried.out.split(/^(?= +EXPERIMENT)/m);
  expect(ended.trim().split("\n")).toHaveLength(3);
  expect(table).toMatch(/^\* +8 +8 +0\.1 +0\.7 +finished/m);
  const after = await results("dozen");
  expect(after.run).toMatchObject({ state: "finished", trials: 12, counts: { finished: 12, failed: 0 } });
  const changed = after.experiments.filter((row, index) => row.task !== before.experiments[index]?.task);
  expect(changed.map(({ experiment, params }) => [experiment, params])).toEqual([
    [2, { layers: 2, dropout: 0.3 }],
    [6, { layers: 4, dropout: 0.3 }],
    [10, { layers: 8, dropout: 0.3 }],
  ]);
  const nothing = await home.rain("retry", "dozen");
  expect({ code: nothing.code, err: nothing.err }).toEqual({ code: 0, err: "dozen: nothing to submit\n" });

  const best = await home.json<{ command: string; project: string }>("best", "dozen");
  expect(best.command).toMatch(/^RAIN_SEED=\d+ node train\.mjs --layers 8 --dropout 0\.1$/);
  expect(best.project).toBe(home.path("project"));
  await home.rain("artifacts", "dozen", "--experiment", "10");
  expect(home.read("dozen", "dozen-exp10", "model.txt")).toBe("8 0.3");
  expect(home.read("dozen", "dozen-exp10", "stdout.txt")).toBe("accuracy=0.500\n");
});

test("extend: the trials that a larger random search would have had", limit, async () => {
  const search = (name: string, trials: number): string[] => [
    "run",
    "--name",
    name,
    "--strategy=random_search",
    `--trials=${trials}`,
    "--seed=5",
    ...program,
    "--layers",
    "[1, 2, 3, 4, 5]",
    "--dropout",
    "uniform(0, 0.2, 5)",
  ];
  expect((await home.rain(...search("small", 3))).code).toBe(0);
  expect((await home.rain(...search("large", 7))).code).toBe(0);
  const extended = await home.rain("extend", "small", "--trials", "4");
  expect({ code: extended.code, err: extended.err }).toEqual({
    code: 0,
    err: "small: 4 experiments submitted\n",
  });
  const [small, large] = [await results("small"), await results("large")];
  const told = ({ experiments }: ResultsJson): unknown[] =>
    experiments.map(({ params, metrics }) => [params, metrics]);
  expect(told(small)).toHaveLength(7);
  expect(told(small)).toEqual(told(large));
  const again = await home.rain("extend", "small", "--trials", "1", "--detach", "-o", "json");
  expect(JSON.parse(again.out)).toMatchObject({ name: "small", submitted: [7] });

  const tooMany = await home.rain("extend", "small", "--trials", "100");
  expect(tooMany.code).toBe(2);
  expect(tooMany.err).toContain("25");
});

test("a grid cannot be extended, and the error says what to do", limit, async () => {
  await home.rain("run", "--name", "grid", ...program, "--layers", "[1, 2]", "--dropout", "0.1");
  const { code, err } = await home.rain("extend", "grid", "--trials", "2");
  expect(code).toBe(2);
  expect(err).toContain("random_search");
  expect(err).toContain("--cache");
});
