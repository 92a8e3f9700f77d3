import { readFileSync } from "node:fs";
import { parseValue, Stream, toText, type DrawContext } from "@rain/sweep";
import { describe, expect, test } from "vitest";

interface Flag {
  readonly call: string;
  readonly words: readonly string[];
}
interface Vectors {
  readonly exact: readonly { seed: number; flags: readonly Flag[] }[];
  readonly close: readonly { seed: number; flags: readonly Flag[] }[];
  readonly sequences: readonly Flag[];
  readonly closeSequences: readonly Flag[];
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
        expect({ call, words: words(call, draws) }).toEqual({ call, words: wanted });
    });
  }
  test.for(vectors.sequences)("$call", ({ call, words: wanted }) => {
    expect(words(call, context(0))).toEqual(wanted);
  });
});

describe("numpy's own values, to the last bits", () => {
  for (const { seed, flags } of vectors.close) {
    test(`seed ${seed}: ${flags.map(({ call }) => call).join(" ")}`, () => {
      const draws = context(seed);
      for (const { call, words: wanted } of flags) expectClose(words(call, draws), wanted);
    });
  }
  test.for(vectors.closeSequences)("$call", ({ call, words: wanted }) => {
    expectClose(words(call, context(0)), wanted);
  });
});
