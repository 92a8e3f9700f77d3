import { parseValue, renderError, SweepError } from "@rain/sweep";
import { describe, expect, test } from "vitest";

/** A text, the line of its caret, and the message. */
const MALFORMED: readonly (readonly [source: string, caret: string, message: string])[] = [
  ["[1, 2", "^", "this [ is never closed"],
  ["(1, 2", "^", "this ( is never closed"],
  ["[1, 2)", "     ^", ") does not close ["],
  ["(1, 2]", "     ^", "] does not close ("],
  ["[1 2]", "   ^", "a comma is missing before this"],
  ["[1,, 2]", "   ^", "a value is missing before ,"],
  ["[, 1]", " ^", "a value is missing before ,"],
  ["[", "^", "this [ is never closed"],
  ["(", "^", "this ( is never closed"],
  ["[]", "^~", "an empty list gives no trial"],
  ["()", "^~", "an empty list gives no trial"],
  ["[1, 2] 3", "       ^", "unexpected text after the list"],
  ["[1, 2] + [3]", "^~~~~~~~~~~~", "this is neither a list nor a call"],
  ["[1, 2]]", "      ^", "this ] closes nothing"],
  ["['a' 'b', 'c']", "     ^~~", "two strings with no comma between them"],
  ["['a', 'b", "      ^", "this string is never closed"],
  ["['a', \"b']", "      ^", "this string is never closed"],
  ["[a, b]", " ^", "a is not a value"],
  ["[1.2.3]", "    ^~", "a comma is missing before this"],
  ["[1a]", " ^~", "1a is not a number"],
  ["[007]", " ^~~", "a whole number cannot start with 0"],
  ["[0x]", " ^~", "0x is not a number"],
  ["[1_000_]", " ^~~~~~", "1_000_ is not a number"],
  ["[1e]", " ^~", "1e is not a number"],
  ["[1j]", " ^~", "1j is not a number"],
  ["[f'x']", " ^", "a string cannot start with f'"],
  ["[b'x']", " ^", "a string cannot start with b'"],
  ["['''a''']", " ^~~", "a string in triple quotes is not supported"],
  ["['\\x4']", "  ^~", "\\x needs 2 hexadecimal digits of a character"],
  ["['\\ud800']", "  ^~", "\\u needs 4 hexadecimal digits of a character"],
  ["['a\\0']", " ^~~~~", "a program's argument cannot hold the character 0"],
  ["[{1: 2}]", " ^", "a dictionary or a set has no meaning here"],
  ["[1 if True else 2]", "   ^~", "'if' has no meaning here"],
  ["[x for x in range(3)]", "   ^~~", "'for' has no meaning here"],
  ["[lambda: 1]", " ^~~~~~", "'lambda' has no meaning here"],
  ["[1 = 2]", "   ^", "'=' does not compare"],
  ["[range(3), 4]", " ^~~~~", "range(...) cannot stand inside another value"],
  ["[1 / 0]", " ^~~~~", "division by zero"],
  ["['a' * 2]", " ^~~~~~~", "* needs two numbers, these are a string and a whole number"],
  ["[9 ** 9 ** 9]", " ^~~~~~~~~~~", "the power has more than 4096 bits"],
  ["[--]", "   ^", "a value is missing before ]"],
  ["[not]", "    ^", "a value is missing before ]"],
  ["[1, 2; 3]", "     ^", 'unexpected character ";"'],
  ["[1 && 2]", "   ^~", "'&&' is not an operator here"],
  ["[“a”]", " ^", "a curly quote does not start a string"],
  ["[−1]", " ^", "this is not a minus sign that can be read"],
  ["[1:2]", "  ^", "slices and annotations have no meaning here"],
  ["[!True]", " ^", "'!' is not an operator here"],
  ["[1 is 2]", "   ^~", "'is' has no meaning here"],
  ["[1 not 2]", "       ^", "expected 'in' after 'not'"],
  ["uniform(1e-1, 1e-5, 3)", "        ^~~~~~~~~~", "low is above high"],
  ["uniform(0, 1, 0)", "              ^", "0 values: at least one is needed"],
  ["uniform(0, 1, -2)", "              ^~", "-2 values: at least one is needed"],
  ["uniform(0, 1, 2.5)", "              ^~~", "size must be a whole number, this is a number"],
  ["uniform(0, 1, (2, 3))", "              ^~~~~~", "one flag has one row of values"],
  ["uniform(0, 1, 3, 4)", "                 ^", "uniform takes at most 3 arguments"],
  ["uniform(0, 'a', 3)", "           ^~~", "high must be a number, this is a string"],
  ["uniform(lo=0, high=1)", "        ^~", "uniform has no argument lo"],
  ["uniform(0, low=1)", "           ^~~", "low is given twice"],
  ["uniform(low=0, 1)", "               ^", "an argument without a name after one with a name"],
  ["uniform(0, 1, 3", "       ^", "this ( is never closed"],
  ["uniform(0 1, 3)", "          ^", "a comma is missing before this"],
  ["uniform(0, 1, 3) x", "                 ^", "unexpected text after the end of the value"],
  ["uniform(0, 1e999, 3)", "           ^~~~~", "high must be finite"],
  ["uniform(0, 1, 9999999)", "              ^~~~~~~", "9999999 values, the limit is 1000000"],
  ["uniform(3)", "        ^", "low is above high"],
  ["normal(0, -1, 3)", "          ^~", "scale must be 0 or more"],
  ["range(5, 0)", "^~~~~~~~~~~", "this range is empty"],
  ["range(0, 5, 0)", "            ^", "step must not be 0"],
  ["range(0, 5, -1)", "^~~~~~~~~~~~~~~", "this range is empty"],
  ["range(1.5)", "      ^~~", "start must be a whole number, this is a number"],
  ["range()", "      ^", "range needs stop"],
  ["range(1, 2, 3, 4)", "               ^", "range takes at most 3 arguments"],
  ["randint(5, 5, 2)", "        ^~~~", "no whole number is from 5 up to below 5"],
  ["randint(0)", "        ^", "no whole number is from 0 up to below 0"],
  ["choice([], 2)", "       ^~", "a is empty"],
  ["choice([1, 2], 3, replace=False)", "               ^", "3 values without repeats from 2"],
  ["choice([1, 2], 3, p=[0.5])", "                    ^~~~~", "p has 1 numbers for 2 items"],
  ["choice([1, 2], 3, p=[0.5, 0.6])", "                    ^~~~~~~~~~", "p sums up to 1.1, not to 1"],
  ["choice('abc', 3)", "       ^~~~~", "a must be a list or a whole number, this is a string"],
  ["loguniform(0, 1, 3)", "           ^", "low must be above 0"],
  ["loguniform(1, 0.1, 3)", "           ^~~~~~", "low is above high"],
  ["logqmc(-1, 1, 3)", "       ^~", "low must be above 0"],
  ["unifrom(0, 1, 3)", "^~~~~~~", "there is no function unifrom"],
  ["uniforn(0, 1", "       ^", "this ( is never closed"],
  ["foo(1, 2)", "^~~", "there is no function foo"],
  ["np.random.uniform(0, 1, 3)", "^~~~~~~~~~", "names have no module here"],
  ["randn(3)", "^~~~~", "there is no function randn"],
  ["beta(0, 1, 3)", "     ^", "a must be above 0"],
  ["binomial(1.5, 0.5, 3)", "         ^~~", "n must be a whole number, this is a number"],
  ["triangular(0, 2, 1, 3)", "              ^~~~", "mode is above right"],
  ["geomspace(-1, 1, 3)", "          ^~~~~", "start and stop must have the same sign"],
  ["logspace(1, 400, 3)", "         ^~~~~~", "the values are too large for a float"],
  ["linspace(0, 1, 0)", "               ^", "0 values: at least one is needed"],
  ["dirichlet(3, 2)", "          ^", "alpha must be a list of numbers"],
  [
    "multivariate_normal([0, 0], [[1, 2], [2, 1]], 2)",
    "                            ^~~~~~~~~~~~~~~~",
    "cov must be symmetric and positive semidefinite",
  ],
  ["zipf(1, 3)", "     ^", "a must be from 1.01 to 1024"],
  ["normal(3,, 4)", "         ^", "a value is missing before ,"],
  ["normal(*3)", "       ^", "a value cannot start with *"],
  ["normal(size=2, size=3)", "               ^~~~", "size is given twice"],
  ["uniform(0, 1, 3)(2)", "                ^", "unexpected text after the end of the value"],
  ["[1, 2][0]", "      ^", "unexpected text after the list"],
  ["Uniform(0,1,3)", "^~~~~~~", "there is no function Uniform"],
];

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
