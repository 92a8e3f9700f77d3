import { parseValue, renderError, SweepError } from "@rain/sweep";
import { describe, expect, test } from "vitest";
import { MALFORMED } from "./malformed.ts";

/** What a text is told to do instead. */
const HINTS: readonly (readonly [source: string, hint: string])[] = [
  [
    "['resnet18' 'transformer', 'resnet50']",
    "put a comma between the two: ['resnet18', 'transformer', 'resnet50']",
  ],
  ["[1,2", "add ] at the end"],
  ["uniform(1e-1, 1e-5, 3)", "uniform(1e-5, 1e-1, 3)"],
  ["range(5, 0)", "range(5, 0, -1)"],
  ["unifrom(0, 1, 3)", "uniform"],
  ["foo(1, 2)", "literal:foo(1, 2) passes the text as it is"],
  ["np.random.normal(0, 1, 3)", "normal(...) without np.random."],
  ["[adam, sgd]", "put text in quotes: 'adam'"],
  ["randn(3)", "standard_normal(size)"],
  ["loguniform(0, 1, 3)", "write the values themselves, for example 1e-5, not their exponents"],
];

function errorOf(source: string): SweepError {
  try {
    parseValue(source);
  } catch (error) {
    if (error instanceof SweepError) return error;
    throw error;
  }
  throw new Error(`${source} is accepted`);
}

describe("a mistake is shown at its character", () => {
  test.for(MALFORMED)("%s", ([source, caret, message]) => {
    const error = errorOf(source);
    expect(error.message).toBe(message);
    expect(renderError(source, error).split("\n").slice(0, 3)).toEqual([
      message,
      `  ${source}`,
      `  ${caret}`,
    ]);
    expect(error.source).toBe(source);
  });
});

test.for(HINTS)("the likely fix of %s", ([source, hint]) => {
  const error = errorOf(source);
  expect(error.hint).toBe(hint);
  expect(renderError(source, error).endsWith(`\n  try: ${hint}`)).toBe(true);
});
