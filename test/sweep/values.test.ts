import { FUNCTION_NAMES, isSweepSyntax, parseValue, Stream, toText, type DrawContext } from "@rain/sweep";
import { describe, expect, test } from "vitest";

function words(source: string, seed = 1): string[] {
  const parsed = parseValue(source);
  if (parsed.kind === "text") throw new Error(`${source} is no sweep syntax`);
  let dimension = 0;
  const draws: DrawContext = { stream: new Stream(seed), nextDimension: () => dimension++ };
  const axis = parsed.plan.draw(draws);
  return Array.from({ length: axis.length }, (_, i) => toText(axis.at(i)));
}

describe("values without chance", () => {
  test.for<[string, string[]]>([
    ["[0, 1]", ["0", "1"]],
    ["['a', 'b c']", ["a", "b c"]],
    ["(1, 2)", ["1", "2"]],
    ["(1,)", ["1"]],
    ["(7)", ["7"]],
    [" [1,\n  2,\n] ", ["1", "2"]],
    ["[True, False, None]", ["True", "False", "None"]],
    [
      "[1e-3, 1E5, .5, 5., -1, +2, 1_000, 0x1F, 0b11, 1e400]",
      "1e-3 1E5 .5 5. -1 +2 1_000 0x1F 0b11 1e400".split(" "),
    ],
    [
      "[2**4, 1/4, 1e-5*1, 10**16*1.0, -7//2, -7%3, 2**-1, - 1]",
      "16 0.25 1e-05 1e+16 -4 2 0.5 -1".split(" "),
    ],
    [
      "[0.1+0.2, 1e22*10, 1e-4*1, 3.0*1, -0.0*1, 123456789012345680.0*1]",
      "0.30000000000000004 1e+23 0.0001 3.0 -0.0 1.2345678901234568e+17".split(" "),
    ],
    ["[12345678901234567890123, 2**70]", ["12345678901234567890123", "1180591620717411303424"]],
    [
      String.raw`['a\n\t\\\'\"', "it's", 'A\x41\u00e9\U0001f600\101', r'\n', 'a\qb', u'x']`,
      ["a\n\t\\'\"", "it's", "AAé😀A", "\\n", "a\\qb", "x"],
    ],
    ["['é', '日本', '']", ["é", "日本", ""]],
    ["[[1, 2], [1e-3, .5, 0x10]]", ["[1, 2]", "[1e-3, 0.5, 16]"]],
    ["[['a', True, None], (), (1,)]", ['["a", true, null]', "[]", "[1]"]],
    ["[1 < 2, 'a' in 'abc', not 1]", ["True", "True", "False"]],
    ["['a' + 'b']", ["ab"]],
    ["range(5)", ["0", "1", "2", "3", "4"]],
    ["range(0, 5, 2)", ["0", "2", "4"]],
    ["range(5, 0, -2)", ["5", "3", "1"]],
    ["range(-3, 0)", ["-3", "-2", "-1"]],
    ["range(1, 2**62, 2**61)", ["1", "2305843009213693953"]],
    ["linspace(0, 1, 3)", ["0.0", "0.5", "1.0"]],
    ["linspace(start=0, stop=1, num=2)", ["0.0", "1.0"]],
    ["logspace(-3, -1, 3)", ["0.001", "0.01", "0.1"]],
    ["geomspace(1, 100, 3)", ["1.0", "10.0", "100.0"]],
    ["arange(0, 1, 0.25)", ["0.0", "0.25", "0.5", "0.75"]],
  ])("%s", ([source, wanted]) => {
    expect(words(source)).toEqual(wanted);
  });
});

describe("what is passed on as it is", () => {
  test.for([
    "",
    "0.1",
    "1e-3",
    "-5",
    "adam",
    "a,b",
    "1, 2",
    "'quoted'",
    "True",
    "f(x)",
    "relu(x) + 1",
    "uniform",
    "uniform (see below)",
    "my_uniform[0]",
    "s3://bucket/[x]",
    "{1: 2}",
    "x=[1]",
    "foo(1, 2",
    "SELECT count(*) FROM t",
    "print('a' 'b')x",
  ])("%s", (source) => {
    expect(isSweepSyntax(source)).toBe(false);
    expect(parseValue(source)).toMatchObject({ kind: "text", text: source });
  });

  test("literal: takes all meaning away, once", () => {
    expect(parseValue("literal:[0, 1]")).toMatchObject({ kind: "text", text: "[0, 1]" });
    expect(parseValue("literal:literal:uniform(1)")).toMatchObject({
      kind: "text",
      text: "literal:uniform(1)",
    });
    expect(parseValue("literal:5")).toMatchObject({ value: { kind: "str", value: "5" } });
  });

  test("a filter sees numbers as numbers", () => {
    const kinds = ["5", "-0.5", "1e-3", "True", "None", "0x10", "nan"].map((text) => {
      const parsed = parseValue(text);
      return parsed.kind === "text" ? parsed.value.kind : "axis";
    });
    expect(kinds).toEqual(["int", "float", "float", "bool", "none", "str", "str"]);
  });
});

describe("values by chance", () => {
  test("numpy's 35 legacy distributions are there, with one sample by default", () => {
    const calls =
      "beta(1,2) binomial(5,.5) chisquare(2) dirichlet([1,2]) exponential() f(1,2) gamma(2) geometric(.5) gumbel() " +
      "hypergeometric(3,4,2) laplace() logistic() lognormal() logseries(.5) multinomial(4,[.5,.5]) " +
      "multivariate_normal([0],[[1]]) negative_binomial(3,.5) noncentral_chisquare(2,1) noncentral_f(2,3,1) normal() " +
      "pareto(2) poisson() power(2) rayleigh() standard_cauchy() standard_exponential() standard_gamma(2) " +
      "standard_normal() standard_t(3) triangular(0,1,2) uniform() vonmises(0,1) wald(1,1) weibull(2) zipf(2)";
    const list = calls.split(" ");
    expect(list.length).toBe(35);
    for (const call of list) expect(words(call).length, call).toBe(1);
    const names = list.map((call) => call.slice(0, call.indexOf("(")));
    expect(names.filter((name) => !FUNCTION_NAMES.includes(name))).toEqual([]);
  });

  test("the count is the last argument or size=", () => {
    expect(words("normal(0, 1, 4)")).toEqual(words("normal(size=4)"));
    expect(words("normal(0, 1, 4)")).toEqual(words("normal(scale=1, loc=0, size=4)"));
    expect(words("normal(0, 1, None)").length).toBe(1);
  });

  test("vectors are one JSON list a sample", () => {
    for (const word of words("dirichlet([1, 2, 3], 4)")) {
      const row = JSON.parse(word) as number[];
      expect(row.length).toBe(3);
      expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
    }
    for (const word of words("multinomial(20, [0.2, 0.8], 3)")) expect(word).toMatch(/^\[\d+, \d+\]$/);
  });

  test("choice keeps what the user wrote", () => {
    expect(new Set(words("choice([1e-3, 'a b', True, [1, 2]], 60)"))).toEqual(
      new Set(["1e-3", "a b", "True", "[1, 2]"]),
    );
    expect(words("choice([1, 2, 3], 3, replace=False)").toSorted()).toEqual(["1", "2", "3"]);
  });

  test("loguniform stays inside and spreads over the decades", () => {
    const values = words("loguniform(1e-5, 1e-1, 4000)").map(Number);
    expect(Math.min(...values)).toBeGreaterThanOrEqual(1e-5);
    expect(Math.max(...values)).toBeLessThanOrEqual(1e-1);
    const below = values.filter((x) => x < 1e-3).length;
    expect(below / 4000).toBeCloseTo(0.5, 1);
  });

  test.for(["qmc(2, 10, 64)", "logqmc(1e-4, 1, 64)"])("%s puts one point in each 64th", (call) => {
    const shares = words(call, 9)
      .map(Number)
      .map((x) => (call[0] === "q" ? (x - 2) / 8 : 1 + Math.log10(x) / 4));
    expect(shares.map((u) => Math.floor(u * 64)).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 64 }, (_, i) => i),
    );
    expect(words(call, 9)).not.toEqual(words(call, 10));
  });

  test("warnings", () => {
    const warnings = (source: string): readonly string[] => {
      const parsed = parseValue(source);
      return parsed.kind === "axis" ? parsed.plan.warnings : [];
    };
    expect(warnings("uniform(1e-5, 1e-1, 3)").join()).toContain("loguniform(1e-5, 1e-1, 3)");
    expect(warnings("uniform(1e-3, 1e-1, 3)")).toEqual([]);
    expect(warnings("uniform(0, 1e9, 3)")).toEqual([]);
    expect(warnings("[1, 2, 1]").join()).toContain("1 is there more than once");
  });
});
