import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { array, assert, constantFrom, oneof, pre, property, string } from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseRunConfig, printRunConfig, type RunFile } from "../../packages/cli/src/runs/config.ts";
import { SETTING_FLAGS, settingNames, type RunSettings } from "../../packages/cli/src/runs/flags.ts";
import { mergeWords } from "../../packages/cli/src/runs/words.ts";
import { runMain } from "./io.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rain-config-"));
  for (const name of ["t.py", "u.py"]) await writeFile(join(folder, name), "");
});
afterAll(() => rm(folder, { recursive: true }));

const parse = (source: string): RunFile => parseRunConfig(source, "run.yml");
const refused = (source: string): string => {
  try {
    parse(source);
  } catch (error) {
    return error instanceof Error ? error.message : "";
  }
  throw new Error(`accepted: ${source}`);
};

test("the keys of Grid's files mean what its flags mean", () => {
  const { settings, words, ignored } = parse(`
compute:
  provider: { vendor: aws, region: us-east-1, credentials: gpu }
  train:
    framework: lightning
    instance: 4_v100_16gb
    gpus: 2
    cpus: 4
    memory: 10G
    disk_size: 200
    max_nodes: 10
    nodes: 0
    scale_down_seconds: 1800
    datastore_name: digits
    datastore_version: 3
    datastore_mount_dir: data/digits
hyper_params:
  settings: { strategy: random_search, num_trials: 4, seed: 7 }
  params:
    lr: uniform(1e-5, 1e-1, 3)
    layers: [2, 0x10, 1e-3]
    names: [adam, 'a b', "1", true, null, [1, x]]
    epochs: 1e3
    amp:
    --fp16: true
    neg: -5
    odd: --x
`);
  expect(settings).toEqual({
    credential: "gpu",
    framework: "lightning",
    instanceType: "4_v100_16gb",
    gpus: 2,
    cpus: 4,
    memory: 10 * 2 ** 30,
    diskSize: 200,
    maxNodes: 10,
    datastoreName: "digits",
    datastoreVersion: 3,
    datastoreMountDir: "data/digits",
    strategy: "random_search",
    trials: 4,
    seed: 7,
  });
  expect(words).toEqual([
    ...["--lr", "uniform(1e-5, 1e-1, 3)", "--layers", "[2, 0x10, 1e-3]"],
    ...["--names", '["adam", "a b", "1", True, None, [1, "x"]]', "--epochs", "1e3"],
    ...["--amp", "--fp16", "true", "--neg", "-5", "--odd=--x"],
  ]);
  expect(ignored).toEqual([
    "compute.provider.vendor",
    "compute.provider.region",
    "compute.train.nodes",
    "compute.train.scale_down_seconds",
  ]);
});

test("our own keys, and nothing", () => {
  const { settings, program, words } = parse(`
run:
  name: first
  program: t.py
  args: [data.csv, --fast, 1e-3, "[1, 2]"]
  metric: loss:min
  fail_fast: true
  timeout: 2h
  localdir: false
  cache: no
`);
  expect(program).toBe("t.py");
  expect(words).toEqual(["data.csv", "--fast", "1e-3", "[1, 2]"]);
  expect(settings).toEqual({
    name: "first",
    metric: { name: "loss", goal: "min" },
    failFast: true,
    timeout: 7_200,
    localdir: false,
    cache: false,
  });
  for (const empty of ["", "# nothing\n", "compute:\n", "run: {name: }\n"])
    expect(parse(empty)).toEqual({ settings: {}, program: undefined, words: [], ignored: [] });
});

describe("what is wrong is named with its place", () => {
  test.for([
    [
      "compute:\n  train:\n    gpu: 1\n",
      "run.yml:3:5: there is no key compute.train.gpu; did you mean gpus?",
    ],
    ["compute: {trian: {}}", "run.yml:1:11: there is no key compute.trian; did you mean train?"],
    ["cpus: 2\n", "run.yml:1:1: there is no key cpus; did you mean compute.train.cpus?"],
    ["wibble: 2\n", "there is no key wibble; known are run, compute, hyper_params"],
    ["run:\n  cpus: 2\n", "there is no key run.cpus; did you mean compute.train.cpus?"],
    ["compute:\n  train:\n    memory: 10\n", 'run.yml:3: compute.train.memory "10": write the unit too: 10G'],
    ["compute: 3\n", "run.yml:1:10: compute must have keys"],
    ["run: {args: train}\n", "run.args must be a list of words"],
    ["hyper_params: {params: [1]}\n", "must have a key for each flag"],
    ["hyper_params: {params: {lr: {a: 1}}}\n", "hyper_params.params.lr must be one value"],
    ["hyper_params: {params: {lr: [{a: 1}]}}\n", "hyper_params.params.lr must be a value or a list"],
    ["hyper_params: {params: {lr: [.nan]}}\n", "hyper_params.params.lr: .nan cannot be in a list"],
    ["hyper_params: {params: {a b: 1}}\n", '"a b" cannot be the name of a flag'],
    ["hyper_params: {params: {a=b: 1}}\n", '"a=b" cannot be the name of a flag'],
    [
      "hyper_params: {settings: {strategy: grid}}\n",
      'hyper_params.settings.strategy "grid": write grid_search',
    ],
    ["run: {name: a\n", "run.yml:2:1"],
    ["run: {name: a, name: b}\n", "run.yml:1:16"],
    ["- 1\n", "the file must have keys"],
  ] as const)("%j", ([source, message]) => {
    expect(refused(source)).toContain(message);
  });
});

describe("the printed file is read as the same run", () => {
  const word = oneof(
    constantFrom("--lr", "--lr", "--a-b", "-v", "--amp!", "--", "-", "--x=[1, 2]", "k=[1]", "--0", "--1"),
    constantFrom("[1, 2]", "['a', 'b c']", "1e-3", "0.10", "1_000", "true", "null", "~", "yes", "", " "),
    constantFrom(
      "a: b",
      "# x",
      "'",
      '"',
      "a\nb",
      "\t",
      "- 1",
      "*x",
      "&x",
      "!x",
      "{a}",
      "0x1F",
      "1:30",
      "é\u2028",
    ),
    string({ maxLength: 6 }).filter((text) => !text.includes("\0")),
  );
  test("whatever the words", () => {
    assert(
      property(array(word, { maxLength: 8 }), string({ minLength: 1 }), (words, description) => {
        const program = "t.py";
        pre(!description.includes("\0"));
        const settings: RunSettings = { description, seed: 1 };
        const read = parse(printRunConfig({ settings, program, words }));
        expect(read).toEqual({ settings, program, words, ignored: [] });
      }),
      { numRuns: 500 },
    );
  });

  test("whatever the settings", () => {
    const settings: Required<RunSettings> = {
      name: "true",
      description: "12",
      cpus: 0.5,
      gpus: 2,
      memory: 1.5 * 2 ** 30,
      diskSize: 2.5,
      instanceType: "4_v100",
      framework: "no",
      credential: "./a/access.json",
      datastoreName: "d",
      datastoreVersion: 2,
      datastoreMountDir: "a/b",
      maxNodes: 1_000,
      ignoreWarnings: true,
      localdir: "0x10",
      timeout: 1.5,
      retries: 0,
      parallelism: 3,
      failFast: false,
      maxFails: 2,
      metric: { name: "val:loss", goal: "min" },
      cache: true,
      strategy: "random_search",
      trials: 3,
      where: "a < 1 # b",
      repeat: 2,
      seed: 4_294_967_295,
    };
    expect(settingNames.filter((name) => settings[name] === undefined)).toEqual([]);
    const text = printRunConfig({ settings, program: "t.py", words: [] });
    expect(parse(text)).toEqual({ settings, program: "t.py", words: [], ignored: [] });
    for (const { key } of Object.values(SETTING_FLAGS)) expect(text).toContain(`${key.split(".").at(-1)}:`);
  });

  test.for([
    [["--lr", "uniform(0, 1, 3)", "--n", "[1, 'x']"]],
    [["--repeat", "2", "t.py", "a.csv", "--lr=[1, 2]", "-v"]],
    [["--strategy", "random_search", "--trials", "3", "t.py", "--lr", "normal(0, 1, 9)"]],
    [["--where", "a < b", "--gpus=2", "t.py", "--a", "[1, 2]", "--b", "range(3)", "--", "--c", "[5]"]],
  ] as const)("%j: the same commands", async ([given]) => {
    const words = given[0]?.startsWith("--lr") ? ["t.py", ...given] : given;
    const printed = await runMain(["run", "--print-config", "--localdir", folder, ...words]);
    expect(printed).toMatchObject({ code: 0, err: "" });
    const file = join(folder, "again.yml");
    await writeFile(file, printed.out);
    const seed = /seed: (\d+)/.exec(printed.out)?.[1] ?? "none";
    const first = await runMain(["run", "--dry-run", "--seed", seed, "--localdir", folder, ...words]);
    const again = await runMain(["run", "--dry-run", "--config", file]);
    expect(again.out).toBe(first.out);
    expect(first.out.split("\n").length).toBeGreaterThan(4);
    expect((await runMain(["run", "--print-config", "--config", file])).out).toBe(printed.out);
  });
});

describe("the command line wins over the file", () => {
  test("settings, program and flags of the same name", async () => {
    const file = join(folder, "base.yml");
    await writeFile(
      file,
      `run: {program: t.py, args: [a.csv]}
compute: {train: {cpus: 2, gpus: 1}}
hyper_params: {settings: {seed: 3}, params: {lr: "[1, 2]", layers: 4}}
`,
    );
    const lines = async (...words: string[]): Promise<string[]> =>
      (await runMain(["run", "--dry-run", "--localdir", folder, "--config", file, ...words])).out.split("\n");
    expect((await lines()).slice(1, 5)).toEqual([
      "# 2 x 2 CPUs = 4",
      "# 2 x 1 GPUs = 2",
      "python3 t.py a.csv --lr 1 --layers 4",
      "python3 t.py a.csv --lr 2 --layers 4",
    ]);
    expect((await lines("--cpus=1", "u.py", "b.csv", "--lr=5", "--new", "x")).slice(1, 4)).toEqual([
      "# 1 x 1 CPUs = 1",
      "# 1 x 1 GPUs = 1",
      "python3 u.py b.csv --lr=5 --layers 4 --new x",
    ]);
    await writeFile(file, "compute: {train: {nodes: 0}}\n");
    const { err, code } = await runMain(["run", "--config", file]);
    expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining("has no run.program") });
  });

  test.for([
    [["--a", "1", "--b", "2"], [], ["--a", "1", "--b", "2"]],
    [
      ["--a", "1", "--b", "2"],
      ["--b", "3"],
      ["--a", "1", "--b", "3"],
    ],
    [["x", "--a", "1"], ["y"], ["y", "--a", "1"]],
    [
      ["--a", "1", "--a", "2"],
      ["--a", "3"],
      ["--a", "3"],
    ],
    [
      ["--a", "1"],
      ["--b", "2", "--b", "3"],
      ["--a", "1", "--b", "2", "--b", "3"],
    ],
    [["--amp!", "[True]"], ["--amp"], ["--amp"]],
    [
      ["--a", "1", "--", "x"],
      ["--a", "2"],
      ["--a", "2", "--", "x"],
    ],
    [
      ["--a", "1", "--", "x"],
      ["--", "y"],
      ["--a", "1", "--", "y"],
    ],
  ] as const)("%j and %j", ([file, line, merged]) => {
    expect(mergeWords(file, line)).toEqual(merged);
  });
});
