import { readFileSync } from "node:fs";
import { parseValue, Stream, toText, type DrawContext } from "@rain/sweep";
import { describe, expect, test } from "vitest";
import { exp } from "../../packages/sweep/src/libm/exp.ts";
import { log } from "../../packages/sweep/src/libm/log.ts";
import { pow } from "../../packages/sweep/src/libm/pow.ts";
import { sobol } from "../../packages/sweep/src/random/sobol.ts";

interface Flag {
  readonly call: string;
  /** Separated by " | ". */
  readonly words: string;
}
interface Vectors {
  readonly exact: readonly { seed: number; flags: readonly Flag[] }[];
  readonly close: readonly { seed: number; flags: readonly Flag[] }[];
  readonly sequences: readonly Flag[];
  readonly closeSequences: readonly Flag[];
  /** `log 0.5 -0.693...`: function, arguments, result. */
  readonly mathematics: readonly string[];
  /** The points of each dimension. */
  readonly sobol: readonly string[];
}

const vectors = JSON.parse(readFileSync(new URL("numpy-vectors.json", import.meta.url), "utf8")) as Vectors;

const context = (seed: number): DrawContext => ({ stream: new Stream(seed), nextDimension: () => 0 });

function words(call: string, draws: DrawContext): string[] {
  const parsed = parseValue(call);
  if (parsed.kind !== "axis") throw new Error(`${call} is no sweep syntax`);
  const axis = parsed.plan.draw(draws);
  expect(axis.length).toBe(parsed.plan.length);
  return Array.from({ length: axis.length }, (_, i) => toText(axis.at(i)));
}

/** The same words, but that floats may differ by a few units in the last place. */
function expectClose(actual: readonly string[], wanted: readonly string[]): void {
  expect(actual.length).toBe(wanted.length);
  for (const [i, word] of wanted.entries()) {
    const error = Math.abs(Number(actual[i]) - Number(word));
    expect(error, `${actual[i]} and ${word}`).toBeLessThanOrEqual(
      4 * 2 ** -52 * Math.max(1e-300, Math.abs(Number(word))),
    );
  }
}

describe("numpy's own values, bit for bit", () => {
  for (const { seed, flags } of vectors.exact) {
    test(`seed ${seed}: ${flags.map(({ call }) => call).join(" ")}`, () => {
      const draws = context(seed);
      for (const { call, words: wanted } of flags)
        expect({ call, words: words(call, draws) }).toEqual({ call, words: wanted.split(" | ") });
    });
  }
  test.for(vectors.sequences)("$call", ({ call, words: wanted }) => {
    expect(words(call, context(0))).toEqual(wanted.split(" | "));
  });
});

describe("numpy's own values, to the last bits", () => {
  for (const { seed, flags } of vectors.close) {
    test(`seed ${seed}: ${flags.map(({ call }) => call).join(" ")}`, () => {
      const draws = context(seed);
      for (const { call, words: wanted } of flags) expectClose(words(call, draws), wanted.split(" | "));
    });
  }
  test.for(vectors.closeSequences)("$call", ({ call, words: wanted }) => {
    expectClose(words(call, context(0)), wanted.split(" | "));
  });
});

test("log, exp and pow are the C library's, bit for bit", () => {
  const functions: Record<string, (x: number, y: number) => number> = { log, exp, pow };
  for (const row of vectors.mathematics) {
    const [name = "", ...numbers] = row.split(" ");
    const wanted = Number(numbers.pop());
    const [x = 0, y = 0] = numbers.map(Number);
    expect([row, functions[name]?.(x, y)]).toEqual([row, wanted]);
  }
});

test("log, exp and pow at the edges", () => {
  expect([log(1), log(0), log(-1), log(Infinity), log(NaN)]).toEqual([0, -Infinity, NaN, Infinity, NaN]);
  expect([exp(0), exp(-Infinity), exp(Infinity), exp(-800), exp(710), exp(NaN)]).toEqual([
    1,
    0,
    Infinity,
    0,
    Infinity,
    NaN,
  ]);
  expect([pow(0, 2), pow(2, 0), pow(-2, 3), pow(1, Infinity), pow(4, 0.5), pow(2, -1074)]).toEqual([
    0, 1, -8, 1, 2, 5e-324,
  ]);
  expect(log(5e-324)).toBe(-744.4400719213812);
});

test("Sobol points are scipy's, in all dimensions", () => {
  for (const [dimension, row] of vectors.sobol.entries()) {
    const points = row.split(" ").map(Number);
    expect([...sobol(dimension, points.length, 0)].map((x) => Math.floor(x * 2 ** 30))).toEqual(points);
  }
});

test("the examples of the guide", () => {
  const first = (seed: number): string[] =>
    words("uniform(1e-5, 1e-1, 3)", context(seed)).map((x) => Number(x).toFixed(8));
  expect(first(42)).toEqual(["0.03746027", "0.09507192", "0.07320207"]);
  expect(first(0)).toEqual(["0.05488586", "0.07152178", "0.06028031"]);
});

test("a vector without numpy's values has numpy's distribution", () => {
  const rows = words("multivariate_normal([1, -2], [[2, 0.6], [0.6, 1]], 20000)", context(5)).map(
    (row) => JSON.parse(row) as [number, number],
  );
  const mean = (f: (row: [number, number]) => number): number =>
    rows.reduce((sum, row) => sum + f(row), 0) / rows.length;
  const [a, b] = [mean(([x]) => x), mean(([, y]) => y)];
  expect(a).toBeCloseTo(1, 1);
  expect(b).toBeCloseTo(-2, 1);
  expect(mean(([x]) => (x - a) ** 2)).toBeCloseTo(2, 1);
  expect(mean(([x, y]) => (x - a) * (y - b))).toBeCloseTo(0.6, 1);
});
