import { readFileSync } from "node:fs";
import { expand, FUNCTION_NAMES } from "@rain/sweep";
import { describe, expect, test } from "vitest";

const page = readFileSync(new URL("../../docs/sweeps.md", import.meta.url), "utf8");

describe("the examples of docs/sweeps.md", () => {
  const block = /```text\n([^]*?)```/.exec(page)?.[1] ?? "";
  const examples = block.split("\n").filter((line) => line.includes("→"));
  test("are there", () => expect(examples.length).toBeGreaterThan(20));
  test.for(examples)("%s", (line) => {
    const [source = "", words = ""] = line.split("→").map((text) => text.trim());
    const { trials } = expand([{ name: "--x", values: [source] }], { seed: 42 });
    expect([...trials].map(({ args }) => args[1])).toEqual(words.split(" | "));
  });
});

test("docs/sweeps.md names every function", () => {
  expect(FUNCTION_NAMES.filter((name) => !page.includes(`\`${name}`))).toEqual([]);
});
