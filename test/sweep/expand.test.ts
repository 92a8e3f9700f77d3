import { expand, readFlags, SweepError, type Sweep, type SweepOptions, type Trial } from "@rain/sweep";
import { describe, expect, test } from "vitest";

const sweep = (words: readonly string[], options: Partial<SweepOptions> = {}): Sweep =>
  expand(readFlags(words), { seed: 42, ...options });
const trials = (words: readonly string[], options: Partial<SweepOptions> = {}): Trial[] => [
  ...sweep(words, options).trials,
];
const lines = (words: readonly string[], options: Partial<SweepOptions> = {}): string[] =>
  trials(words, options).map(({ args }) => args.join(" "));

function errorOf(words: readonly string[], options: Partial<SweepOptions>): SweepError {
  try {
    sweep(words, options);
  } catch (error) {
    if (error instanceof SweepError) return error;
    throw error;
  }
  throw new Error("accepted");
}

describe("the command line", () => {
  test("is a product with the first flag slowest", () => {
    expect(lines(["--a", "[1, 2]", "--b", "['x', 'y z']", "file.txt"])).toEqual([
      "--a 1 --b x file.txt",
      "--a 1 --b y z file.txt",
      "--a 2 --b x file.txt",
      "--a 2 --b y z file.txt",
    ]);
    expect(trials(["--b", "['y z']"])[0]?.args).toEqual(["--b", "y z"]);
  });

  test("without sweep syntax is one trial with the same words", () => {
    const words = ["train", "-x", "--flag", "-5", "--k=v", "a=b", "--", "--lr", "literal:", "--empty", ""];
    expect(trials(words).map(({ args }) => args)).toEqual([
      words.map((word) => (word === "literal:" ? "" : word)),
    ]);
    expect(sweep([]).trials.count).toBe(1);
  });

  test("may have joined flags, settings, short flags and words", () => {
    expect(lines(["--lr=[1, 2]"])).toEqual(["--lr=1", "--lr=2"]);
    expect(lines(["-n", "[1, 2]", "lr=[3, 4]"])).toEqual([
      "-n 1 lr=3",
      "-n 1 lr=4",
      "-n 2 lr=3",
      "-n 2 lr=4",
    ]);
    expect(lines(["[1, 2]", "[3, 4]"], { strategy: "zip" })).toEqual(["1 3", "2 4"]);
    expect(lines(["--betas", "0.9", "[0.99, 0.999]"])).toEqual(["--betas 0.9 0.99", "--betas 0.9 0.999"]);
  });

  test("has flags that are there or not", () => {
    expect(lines(["--amp!", "[True, False]", "--n", "[1, 2]"])).toEqual([
      "--amp --n 1",
      "--amp --n 2",
      "--n 1",
      "--n 2",
    ]);
    expect(lines(["--amp!", "True"])).toEqual(["--amp"]);
    expect(lines(["--amp", "[True, False]"])).toEqual(["--amp True", "--amp False"]);
    expect(errorOf(["--amp!", "[1, 0]"], {}).message).toBe("1 is neither True nor False");
    expect(errorOf(["--amp!"], {}).message).toContain("takes one value");
  });

  test("names its parameters", () => {
    const words = [
      "--lr",
      "[1e-3]",
      "--lr",
      "2",
      "--amp!",
      "False",
      "-v",
      "in.txt",
      "--b=[[1, 2]]",
      "7",
      "--",
    ];
    const [trial] = trials(words);
    expect(trial?.params).toEqual({
      lr: 0.001,
      lr_2: 2,
      amp: false,
      v: "in.txt",
      b: [1, 2],
      arg1: 7,
      arg2: "--",
    });
    expect(trial?.texts).toEqual({
      lr: "1e-3",
      lr_2: "2",
      amp: "False",
      v: "in.txt",
      b: "[1, 2]",
      arg1: "7",
      arg2: "--",
    });
    const { parameters } = sweep(["--lr", "range(3)", "--b", "1", "[1, 2]", "--c"]);
    expect(parameters).toEqual([
      { key: "lr", swept: true, counts: [3] },
      { key: "b", swept: true, counts: [2] },
      { key: "c", swept: false, counts: [] },
    ]);
    expect(trials(["--__proto__", "[1]"])[0]?.texts).toEqual(Object.fromEntries([["__proto__", "1"]]));
  });

  test("draws all flags from one stream, in order", () => {
    const both = trials(["--a", "uniform(0, 1, 2)", "--b", "uniform(0, 1)"]);
    const one = trials(["--a", "uniform(0, 1, 3)"]).map(({ params }) => params["a"]);
    expect([both[0]?.params["a"], both[1]?.params["a"], both[0]?.params["b"]]).toEqual(one);
    expect(lines(["--a", "uniform(0, 1, 3)"], { seed: 0 })).not.toEqual(lines(["--a", "uniform(0, 1, 3)"]));
  });
});

describe("strategies", () => {
  const words = ["--a", "range(4)", "--b", "range(5)"];

  test("random_search takes N of the product without repeats; more go on where fewer stopped", () => {
    const few = lines(words, { strategy: "random_search", trials: 6 });
    const all = lines(words, { strategy: "random_search", trials: 20 });
    expect(new Set(few).size).toBe(6);
    expect(all.slice(0, 6)).toEqual(few);
    expect(all.toSorted()).toEqual(lines(words).toSorted());
    expect(all).not.toEqual(lines(words));
    expect(lines(words, { strategy: "random_search", trials: 6, seed: 1 })).not.toEqual(few);
  });

  test("random_search reaches products of any size", () => {
    const big = Array.from({ length: 8 }, (_, i) => [`--x${i}`, "range(200)"]).flat();
    expect(new Set(lines(big, { strategy: "random_search", trials: 50 })).size).toBe(50);
    expect(
      errorOf([...big, "--y", "range(200)"], { strategy: "random_search", trials: 5 }).message,
    ).toContain("2**64");
  });

  test("random_search refuses too many, none, and a filter that leaves too few", () => {
    const over = errorOf(words, { strategy: "random_search", trials: 21 });
    expect(over.message).toBe("21 trials from a product of 20 combinations without repeats");
    expect(errorOf(words, { strategy: "random_search" }).hint).toContain("--trials");
    expect(errorOf(words, { trials: 3 }).message).toBe("grid_search takes no number of trials");
    expect(errorOf(words, { strategy: "random_search", trials: 3, where: "a == b and a > 2" }).message).toBe(
      "only 1 of 20 combinations pass the filter, 3 trials are asked for",
    );
  });

  test("zip pairs values and names unequal lengths", () => {
    expect(lines(["--a", "[1, 2]", "--c", "7", "--b", "['x', 'y']"], { strategy: "zip" })).toEqual([
      "--a 1 --c 7 --b x",
      "--a 2 --c 7 --b y",
    ]);
    expect(errorOf([...words, "--c", "[1]"], { strategy: "zip" }).message).toBe(
      "zip needs the same number of values for each flag: --a has 4, --b has 5, --c has 1",
    );
  });

  test("none evaluates nothing", () => {
    const raw = ["--a", "[1, 2", "--b!", "x", "uniform(3)"];
    expect(trials(raw, { strategy: "none" }).map(({ args }) => args)).toEqual([raw]);
    expect(lines(["literal:[1]"], { strategy: "none" })).toEqual(["[1]"]);
  });

  test("an unknown one is refused with near misses", () => {
    expect(errorOf(words, { strategy: "grid_serch" }).hint).toBe("grid_search");
    expect(errorOf(words, { strategy: "bayes" }).hint).toBe("grid_search, random_search, zip or none");
  });

  test("repeat runs each combination with RAIN_SEED 0, 1, 2", () => {
    const repeated = trials(["--a", "[7, 8]"], { repeat: 3 });
    expect(
      repeated.map(({ index, combination, repeat, args, env }) => [index, combination, repeat, args[1], env]),
    ).toEqual([
      [0, 0, 0, "7", { RAIN_SEED: "0" }],
      [1, 0, 1, "7", { RAIN_SEED: "1" }],
      [2, 0, 2, "7", { RAIN_SEED: "2" }],
      [3, 1, 0, "8", { RAIN_SEED: "0" }],
      [4, 1, 1, "8", { RAIN_SEED: "1" }],
      [5, 1, 2, "8", { RAIN_SEED: "2" }],
    ]);
    expect(trials(["--a", "[7]"])[0]?.env).toEqual({});
  });
});

describe("limits", () => {
  test("a million trials are counted, not kept", () => {
    const million = sweep(["--a", "range(1000)", "--b", "uniform(0, 1, 1000)"]);
    expect(million.trials.count).toBe(1_000_000);
    expect(million.trials.at(999_999)?.params["a"]).toBe(999);
    expect(million.trials.at(1_000_000)).toBeUndefined();
    expect(million.trials.at(-1)).toBeUndefined();
    const [first] = million.trials;
    expect(first).toEqual(million.trials.at(0));
  });

  test("too many trials are refused before they are made", () => {
    expect(errorOf(["--a", "range(1000000)", "--b", "range(1000000)"], {}).message).toBe(
      "the sweep has 1000000000000 combinations, the limit is 1000000",
    );
    expect(errorOf(["--a", "range(10)"], { maxTrials: 9 }).message).toContain("the limit is 9");
    expect(errorOf(["--a", "range(5)"], { maxTrials: 9, repeat: 2 }).message).toContain("10 trials");
  });

  test.for([
    { seed: -1 },
    { seed: 2 ** 32 },
    { seed: 1.5 },
    { repeat: 0 },
    { strategy: "random_search", trials: 0 },
  ])("%o is refused", (options) => {
    expect(errorOf(["--a", "[1]"], options).message).toContain("is not a whole number from");
  });

  test("22 flags with qmc are one too many", () => {
    const flags = (n: number): string[] =>
      Array.from({ length: n }, (_, i) => [`--x${i}`, "qmc(0, 1, 2)"]).flat();
    expect(sweep(flags(21), { strategy: "zip" }).trials.count).toBe(2);
    const error = errorOf(flags(22), { strategy: "zip" });
    expect([error.flag, error.message]).toEqual(["--x21", "more than 21 flags with qmc or logqmc"]);
  });

  test("an error says which flag", () => {
    const error = errorOf(["--lr", "0.1", "--size", "[1 2]"], {});
    expect([error.flag, error.source, error.span?.start]).toEqual(["--size", "[1 2]", 3]);
    expect(sweep(["--lr", "uniform(1e-5, 1e-1, 3)"]).warnings[0]).toMatch(/^--lr: /);
  });
});
