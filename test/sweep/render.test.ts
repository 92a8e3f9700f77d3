import { nearMisses, parseValue, renderError, SweepError } from "@rain/sweep";
import { expect, test } from "vitest";

const at = (source: string, start: number, end: number, more = {}): string[] =>
  renderError(source, new SweepError("wrong", { source, span: { start, end }, ...more })).split("\n");

test("the line of the mistake, with one column a character", () => {
  expect(at("[1,\n 2 3]", 7, 8)).toEqual(["wrong", "   2 3]", "     ^"]);
  expect(at("['😀é', x]", 8, 9)).toEqual(["wrong", "  ['😀é', x]", "         ^"]);
  expect(at("[\t\u001b[31mx]", 2, 3)).toEqual(["wrong", "  [  [31mx]", "    ^"]);
  expect(at("[1, 2", 0, 1, { flag: "--lr", hint: "add ]" })).toEqual([
    "--lr: wrong",
    "  [1, 2",
    "  ^",
    "  try: add ]",
  ]);
  expect(at("", 0, 0)).toEqual(["wrong", "  ", "  ^"]);
  expect(at("[1,\n2", 0, 5)).toEqual(["wrong", "  [1,", "  ^~~"]);
  expect(renderError("x", new SweepError("wrong"))).toBe("wrong");
});

test("a long line is cut around the mistake", () => {
  const source = `[${Array.from({ length: 500 }, (_, i) => i).join(", ")}, x]`;
  let rendered = "";
  try {
    parseValue(source);
  } catch (error) {
    rendered = renderError(source, error as SweepError);
  }
  const [, line = "", caret = ""] = rendered.split("\n");
  expect(line.length).toBeLessThan(110);
  expect(line[caret.indexOf("^")]).toBe("x");
  expect(line).toMatch(/^ {2}…/);
  const start = at(`[x${", 1".repeat(200)}]`, 1, 2);
  expect(start[1]?.endsWith("…")).toBe(true);
  expect(start[2]).toBe("   ^");
  expect(Math.max(...at("x".repeat(5000), 0, 5000).map((text) => text.length))).toBeLessThan(110);
});

test("near misses are close words, nearest first", () => {
  const names = ["uniform", "loguniform", "normal", "lognormal", "range", "arange"];
  expect(nearMisses("unifrom", names)).toEqual(["uniform"]);
  expect(nearMisses("Normal", names)).toEqual(["normal"]);
  expect(nearMisses("rnage", names)[0]).toBe("range");
  expect(nearMisses("xyz", names)).toEqual([]);
  expect(nearMisses("u".repeat(1000), names)).toEqual([]);
});
