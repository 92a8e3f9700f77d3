import { expand, readFlags, renderError, SweepError } from "@rain/sweep";
import { describe, expect, test } from "vitest";

const FLAGS = [
  "--lr",
  "[0.1, 0.01]",
  "--batch-size",
  "[16, 64]",
  "--opt",
  "['adam', 'sgd']",
  "--amp",
  "True",
  "--n",
  "3",
];
const passing = (where: string): string[] =>
  [...expand(readFlags(FLAGS), { seed: 1, where }).trials].map(
    ({ texts }) => `${texts["lr"]}/${texts["batch-size"]}/${texts["opt"]}`,
  );

describe("a filter keeps the combinations for which it is true", () => {
  test.for<[string, number]>([
    ["lr * batch_size < 1", 4],
    ["lr < 0.05 or batch_size == 16", 6],
    ["lr < 0.05 and not batch_size == 16", 2],
    ["0.05 <= lr < 1", 4],
    ["opt == 'adam'", 4],
    ["opt in ['sgd', 'lion']", 4],
    ["opt not in ('sgd',)", 4],
    ["'ad' in opt", 4],
    ["amp", 8],
    ["amp == 1", 8],
    ["n == 3.0", 8],
    ["batch_size % 32 == 16", 4],
    ["batch_size // 16 == 1", 4],
    ["batch_size ** 0.5 == 4", 4],
    ["-lr > -0.05", 4],
    ["(lr, batch_size) == (0.1, 16)", 2],
    ["opt > 'b'", 4],
    ["opt == None or 1", 8],
    ["n / 2 == 1.5 and 7 // -2 == -4 and -7 % 3 == 2", 8],
  ])("%s", ([where, count]) => {
    expect(passing(where).length).toBe(count);
  });

  test("in the order of the product", () => {
    expect(passing("lr * batch_size < 1")).toEqual([
      "0.01/16/adam",
      "0.01/16/sgd",
      "0.01/64/adam",
      "0.01/64/sgd",
    ]);
    expect(passing("opt == 'sgd'")).toEqual(["0.1/16/sgd", "0.1/64/sgd", "0.01/16/sgd", "0.01/64/sgd"]);
  });

  test("the count and the trial by its number are those of the filter", () => {
    const { trials } = expand(readFlags(FLAGS), { seed: 1, where: "opt == 'sgd'", repeat: 2 });
    expect(trials.count).toBe(8);
    expect([...trials].map((trial) => trials.at(trial.index))).toEqual([...trials]);
    expect(trials.at(8)).toBeUndefined();
  });

  test("with zip and random_search too", () => {
    const words = ["--a", "range(10)", "--b", "range(10)"];
    const zipped = expand(readFlags(words), { seed: 1, strategy: "zip", where: "a > 6" });
    expect([...zipped.trials].map(({ params }) => params["b"])).toEqual([7, 8, 9]);
    const random = expand(readFlags(words), {
      seed: 1,
      strategy: "random_search",
      trials: 10,
      where: "a == b",
    });
    expect(new Set([...random.trials].map(({ params }) => params["a"])).size).toBe(10);
  });
});

describe("a mistake is shown at its character", () => {
  test.for<[string, string, string]>([
    [
      "lr * batch_sise < 1",
      "     ^~~~~~~~~~",
      "there is no flag batch_sise (known: lr, batch_size, opt, amp, n)",
    ],
    ["lr = 1", "   ^", "'=' does not compare"],
    ["lr <", "    ^", "a value is missing at the end"],
    ["lr < 1 && n", "       ^~", "'&&' is not an operator here"],
    ["!amp", "^", "'!' is not an operator here"],
    ["opt * 0.5 > 1", "^~~~~~~~~", "* needs two numbers, these are a string and a number (with opt=adam)"],
    ["opt < 3", "      ^", "< cannot compare a string with a whole number (with opt=adam)"],
    ["n in 3", "     ^", "'in' needs a list or a string, this is a whole number (with n=3)"],
    ["lr / (n - 3) < 1", "^~~~~~~~~~~~", "division by zero (with lr=0.1, n=3)"],
    ["max(lr, 1) > 0", "^~~", "max(...) cannot be called here"],
    ["lr < 1 or foo > 2", "          ^~~", "there is no flag foo (known: lr, batch_size, opt, amp, n)"],
    ["lr lr", "   ^~", "unexpected text after the end of the value"],
    ["lr < 1 if amp", "       ^~", "unexpected text after the end of the value"],
    ["(lr < 1", "^", "this ( is never closed"],
    ["lr ** 'a'", "^~~~~~~~~", "** needs two numbers, these are a number and a string (with lr=0.1)"],
    ["", "^", "there is nothing here"],
    ["__import__('os')", "^~~~~~~~~~", "__import__(...) cannot be called here"],
    ["opt.x", "   ^", 'unexpected character "."'],
  ])("%s", ([where, caret, message]) => {
    let caught: unknown;
    try {
      passing(where);
    } catch (error) {
      caught = error;
    }
    if (!(caught instanceof SweepError)) throw new Error("accepted");
    expect(renderError(where, caught).split("\n").slice(0, 3)).toEqual([
      `--where: ${message}`,
      `  ${where}`,
      `  ${caret}`,
    ]);
  });

  test("a filter that nothing passes", () => {
    expect(() => passing("lr > 5")).toThrow("none of the 8 combinations passes the filter");
  });
});
