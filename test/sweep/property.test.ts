import {
  expand,
  floatRepr,
  FUNCTION_NAMES,
  parseExpression,
  parseValue,
  printExpression,
  renderError,
  SweepError,
  type Node,
} from "@rain/sweep";
import * as fc from "fast-check";
import { expect, test } from "vitest";

// The seed is fixed: a test that fails now and then helps nobody. RAIN_PROPERTY_RUNS makes it dig deeper.
const runs = Number(process.env["RAIN_PROPERTY_RUNS"] ?? 1);
const check = (
  property: fc.IProperty<[string]> | fc.IProperty<[number]> | fc.IProperty<[number[], number]>,
  numRuns: number,
): void => {
  fc.assert(property as fc.IProperty<unknown>, { seed: 2026, numRuns: numRuns * runs });
};

const pieces = fc.constantFrom(
  ..."[ ] ( ) , , , + - * ** / // % < <= == != = . : ; ' \" \\ ! & | { } # @ ~ 0 1 2.5 1e-3 0x1F 007 1_0 1e 'a' \"b c\" r'\\n' True False None and or not in is if for lambda x lr size low high \n é 😀 \0".split(
    " ",
  ),
  " ",
  ...FUNCTION_NAMES.map((name) => `${name}(`),
  ...FUNCTION_NAMES,
);
const text = fc.oneof(
  fc.array(pieces, { maxLength: 25 }).map((parts) => parts.join("")),
  fc.array(pieces, { maxLength: 25 }).map((parts) => parts.join(" ")),
  fc.array(pieces, { maxLength: 12 }).map((parts) => `[${parts.join(", ")}]`),
  fc
    .tuple(fc.constantFrom(...FUNCTION_NAMES), fc.array(pieces, { maxLength: 6 }))
    .map(([name, parts]) => `${name}(${parts.join(", ")})`),
  fc.string({ unit: "binary", maxLength: 60 }),
);

/** Runs a step that may throw SweepError, with a span inside the text, and nothing else. */
function onlySweepErrors(source: string, step: () => void): void {
  try {
    step();
  } catch (error) {
    if (!(error instanceof SweepError)) throw error;
    if (error.span !== undefined && error.source !== undefined) {
      expect(error.span.start).toBeGreaterThanOrEqual(0);
      expect(error.span.end).toBeGreaterThanOrEqual(error.span.start);
      expect(error.span.end).toBeLessThanOrEqual(error.source.length);
      expect(renderError(error.source, error)).toContain("^");
    }
    expect(error.message).not.toMatch(/undefined|\[object/);
  }
}

test("any text is a value, passed on, or an error of ours", { timeout: 60_000 }, () => {
  check(
    fc.property(text, (source) => onlySweepErrors(source, () => void parseValue(source))),
    3000,
  );
});

test("any text is a filter or an error of ours; any value can be drawn", { timeout: 60_000 }, () => {
  const flags = [
    { name: "--lr", values: ["[0.1, 1]"] },
    { name: "--x", values: ["['a', 2]"] },
  ];
  check(
    fc.property(text, (where) => onlySweepErrors(where, () => void expand(flags, { seed: 1, where }))),
    2000,
  );
  check(
    fc.property(text, (source) => {
      onlySweepErrors(source, () => {
        const { trials } = expand([{ name: "--x", values: [source] }], { seed: 1 });
        for (const trial of trials) {
          expect(trial.args.length).toBe(2);
          if (trial.index > 20) break;
        }
      });
    }),
    3000,
  );
});

test("deep and long texts end quickly", () => {
  for (const source of [
    "[".repeat(100_000),
    "(".repeat(50_000) + ")".repeat(50_000),
    `[${"-".repeat(100_000)}1]`,
    `[${"not ".repeat(100_000)}1]`,
    `[1${"+1".repeat(100_000)}]`,
    `[1${"**1".repeat(100_000)}]`,
    `[1${"<1".repeat(100_000)}]`,
    `[${"9".repeat(100_000)}]`,
    `${"1".repeat(100_000)}x`,
    `${"a.".repeat(50_000)}(`,
    `[${"'a' ".repeat(100_000)}]`,
    `[${"1 ".repeat(100_000)}]`,
    `uniform(${"0,".repeat(100_000)})`,
    "a".repeat(3_000_000),
    `[${" ".repeat(2_000_000)}`,
  ]) {
    onlySweepErrors(source, () => void parseValue(source));
  }
  expect(() => parseExpression("9**9**9")).not.toThrow();
  expect(() => parseValue("[2**(10**12)]")).toThrow("4096 bits");
});

/** Without places: what two texts have in common when they say the same. */
function shape(node: Node): unknown {
  return JSON.parse(
    JSON.stringify(node, (key, value: unknown) => (key === "span" || key === "nameSpan" ? undefined : value)),
  );
}

const leaf: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom("0", "1e-3", ".5", "0x1F", "1_000", "True", "None", "lr", "batch_size"),
  fc
    .string({ unit: "grapheme", maxLength: 8 })
    .map((value) => printExpression({ kind: "string", value, span: { start: 0, end: 0 } })),
);
const expression = fc.letrec<{ node: string }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4 },
    leaf,
    fc.array(tie("node"), { maxLength: 3 }).map((items) => `[${items.join(",")}]`),
    fc.array(tie("node"), { minLength: 2, maxLength: 3 }).map((items) => `(${items.join(" , ")})`),
    tie("node").map((item) => `(${item})`),
    tie("node").map((item) => `(${item},)`),
    fc.tuple(tie("node"), tie("node")).map(([a, b]) => `normal(${a}, size = ${b})`),
    fc.tuple(fc.constantFrom("-", "not "), tie("node")).map(([op, a]) => `(${op}${a})`),
    fc
      .tuple(
        tie("node"),
        fc.constantFrom("+", "-", "*", "//", "%", "**", "<", "==", "in", "not in", "and", "or"),
        tie("node"),
      )
      .map(([a, op, b]) => `${a} ${op} ${b}`),
  ),
})).node;

/** Brackets that only group are not part of what is said. */
function ungrouped(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ungrouped);
  if (typeof value !== "object" || value === null) return value;
  const node = value as Record<string, unknown>;
  if (node["kind"] === "group") return ungrouped(node["inner"]);
  return Object.fromEntries(Object.entries(node).map(([key, inner]) => [key, ungrouped(inner)]));
}

test("printing and parsing again gives the same expression", () => {
  check(
    fc.property(expression, (source) => {
      const node = parseExpression(source);
      const printed = printExpression(node);
      const again = parseExpression(printed);
      expect(ungrouped(shape(again)), printed).toEqual(ungrouped(shape(node)));
    }),
    1500,
  );
});

test("a float reads back as the same, and looks as Python's", () => {
  check(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (x) => {
      const repr = floatRepr(x);
      expect(Object.is(Number(repr), x)).toBe(true);
      expect(repr).toMatch(/^-?(\d+\.\d+|\d(\.\d+)?e[+-]\d\d+)$/);
    }),
    3000,
  );
  const reprs = [
    1e-5,
    1e-4,
    1e16,
    1e15,
    123456789012345680,
    5e-324,
    1e100,
    0.1,
    100,
    NaN,
    Infinity,
    -Infinity,
  ].map(floatRepr);
  expect(reprs.join(" ")).toBe(
    "1e-05 0.0001 1e+16 1000000000000000.0 1.2345678901234568e+17 5e-324 1e+100 0.1 100.0 nan inf -inf",
  );
});

test("the product has every combination once, in order; any trial is found by its number", () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 5 });
  check(
    fc.property(lengths, fc.integer({ min: 1, max: 3 }), (sizes, repeat) => {
      const flags = sizes.map((size, i) => ({ name: `--f${i}`, values: [`range(${size})`] }));
      const { trials } = expand(flags, { seed: 1, repeat });
      const count = sizes.reduce((a, b) => a * b, 1);
      expect(trials.count).toBe(count * repeat);
      const all = [...trials];
      expect(all.length).toBe(trials.count);
      // The first flag is the slowest: the numbers, read as digits, count up.
      const rank = (args: readonly string[]): number =>
        sizes.reduce((sum, size, i) => sum * size + Number(args[2 * i + 1]), 0);
      expect(all.map(({ args }) => rank(args))).toEqual(all.map((_, i) => Math.floor(i / repeat)));
      expect(all.map(({ index }) => trials.at(index))).toEqual(all);
      expect([...trials]).toEqual(all);
    }),
    100,
  );
});
