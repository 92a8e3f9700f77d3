import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";

const run = promisify(execFile);
const MODULES = join(import.meta.dirname, "../../packages/hpo");

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "rain-hpo-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

type Environment = Readonly<Record<string, string>>;

/** Runs a script that has `pick`, `report`, `init` and `say` (a line of JSON) in either language. */
async function inPython(script: string, env: Environment): Promise<unknown[]> {
  const head = `import json, sys\nsys.path.insert(0, ${JSON.stringify(join(MODULES, "python"))})\nfrom rain_hpo import *\nsay = lambda value: print(json.dumps(value))\n`;
  return lines(await run("python3", ["-B", "-c", head + script], { env: { ...baseEnv(), ...env } }));
}
async function inNode(script: string, env: Environment): Promise<unknown[]> {
  const head = `import { init, pick, report, GridSearch, RandomSearch } from ${JSON.stringify(join(MODULES, "dist/index.js"))};\nconst say = (value) => console.log(JSON.stringify(value ?? null));\n`;
  return lines(
    await run(process.execPath, ["--input-type=module", "-e", head + script], {
      env: { ...baseEnv(), ...env },
    }),
  );
}
const baseEnv = (): Environment => ({ PATH: process.env["PATH"] ?? "" });
const lines = ({ stdout }: { stdout: string }): unknown[] =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line): unknown => JSON.parse(line));

const languages = [
  {
    language: "Python",
    exec: inPython,
    pickAll: (grid: string, strategy: string) =>
      `config = pick(grid=json.loads('${grid}'), strategy=${strategy})\nwhile config is not None:\n    say(config)\n    config = pick(grid=json.loads('${grid}'), strategy=${strategy})\n`,
    once: (grid: string) => `say(pick(grid=json.loads('${grid}')))\n`,
    start: (path: string) => `init(${JSON.stringify(path)})\n`,
    report: `report(epoch=2, metrics={"accuracy": 0.5, "loss": float("nan"), "worst": float("-inf")})\n`,
    wrong: `report(metrics={"epoch": 1})`,
  },
  {
    language: "Node",
    exec: inNode,
    pickAll: (grid: string, strategy: string) =>
      `for (let config; (config = pick({ grid: JSON.parse('${grid}'), strategy: ${strategy} })) !== undefined; ) say(config);\n`,
    once: (grid: string) => `say(pick({ grid: JSON.parse('${grid}') }));\n`,
    start: (path: string) => `init(${JSON.stringify(path)});\n`,
    report: `report({ epoch: 2, metrics: { accuracy: 0.5, loss: NaN, worst: -Infinity } });\n`,
    wrong: `report({ metrics: { epoch: 1 } });`,
  },
];

const GRID = JSON.stringify({ lr: [0.1, 0.01], layers: [2, 4, 8], act: ["relu", "tanh"] });
const product = [0.1, 0.01].flatMap((lr) =>
  [2, 4, 8].flatMap((layers) => ["relu", "tanh"].map((act) => ({ lr, layers, act }))),
);

for (const { language, exec, pickAll, once, start, report, wrong } of languages) {
  test(`${language}: completions share the grid, first parameter slowest, nothing twice`, async () => {
    const env = { RAIN_COMPLETIONS: "5" };
    const shares = await Promise.all(
      [0, 1, 2, 3, 4].map((index) =>
        exec(pickAll(GRID, "GridSearch"), { ...env, RAIN_COMPLETION_INDEX: String(index) }),
      ),
    );
    for (const [index, share] of shares.entries())
      expect(share).toEqual(product.filter((_, number) => number % 5 === index));
  });

  test(`${language}: a completion that is tried again gets the same combination`, async () => {
    const env = { RAIN_COMPLETIONS: "12", RAIN_COMPLETION_INDEX: "7", RAIN_RUN: "hpo1" };
    expect(await exec(once(GRID), env)).toEqual([product[7]]);
    expect(await exec(once(GRID), env)).toEqual([product[7]]);
  });

  test(`${language}: more completions than combinations: the rest get none`, async () => {
    const env = { RAIN_COMPLETIONS: "20", RAIN_COMPLETION_INDEX: "12" };
    expect(await exec(once(GRID), env)).toEqual([null]);
  });

  test(`${language}: what was picked and reported is in RAIN_METRICS`, async () => {
    const file = join(folder, "metrics");
    await exec(once(GRID) + report, {
      RAIN_COMPLETIONS: "12",
      RAIN_COMPLETION_INDEX: "3",
      RAIN_METRICS: file,
    });
    expect(
      (await readFile(file, "utf8"))
        .trimEnd()
        .split("\n")
        .map((line): unknown => JSON.parse(line)),
    ).toEqual([{ params: product[3] }, { epoch: 2, accuracy: 0.5, loss: "NaN", worst: "-Infinity" }]);
  });

  test(`${language}: outside of Rain processes share a folder, and the results are one file`, async () => {
    const at = join(folder, "hpo");
    const all = await Promise.all(
      Array.from({ length: 6 }, () => exec(start(at) + once(GRID) + report + once(GRID), {})),
    );
    const picked = all.flat().map((config) => JSON.stringify(config));
    expect(new Set(picked)).toEqual(new Set(product.map((config) => JSON.stringify(config))));
    expect(await exec(start(at) + once(GRID), {})).toEqual([null]);
    const results = (await readFile(join(at, "results.jsonl"), "utf8")).trimEnd().split("\n");
    expect(results).toHaveLength(6);
    expect(JSON.parse(results[0] ?? "")).toMatchObject({ epoch: 2, accuracy: 0.5 });
    await expect(exec(start(at) + once('{"lr":[1]}'), {})).rejects.toThrow(/another grid/);
  });

  test.each([
    ['{"lr":[]}', /lr has no values/],
    ['{"lr":1}', /lr must be a list/],
    ["[1]", /must be (a dict|an object) of lists/],
  ])(`${language}: a wrong grid is refused: %s`, async (grid, problem) => {
    await expect(exec(once(grid), { RAIN_COMPLETION_INDEX: "0" })).rejects.toThrow(problem);
  });

  test(`${language}: wrong use says what to do`, async () => {
    await expect(exec(once(GRID), {})).rejects.toThrow(/call init\(FOLDER\) first/);
    await expect(exec(wrong, {})).rejects.toThrow(/cannot be named epoch/);
  });
}

test("RandomSearch: all combinations once, the same order in both languages, another one for another run", async () => {
  const [python, node] = languages;
  if (python === undefined || node === undefined) throw new Error("two languages");
  const env = { RAIN_COMPLETIONS: "1", RAIN_COMPLETION_INDEX: "0", RAIN_RUN: "grüne-wiese-1" };
  const order = await python.exec(python.pickAll(GRID, "RandomSearch"), env);
  expect(await node.exec(node.pickAll(GRID, "RandomSearch"), env)).toEqual(order);
  expect(order).not.toEqual(product);
  const text = (config: unknown): string => JSON.stringify(config);
  expect(order.map(text).toSorted()).toEqual(product.map(text).toSorted());
  expect(await node.exec(node.pickAll(GRID, "RandomSearch"), { ...env, RAIN_RUN: "other" })).not.toEqual(
    order,
  );
});
