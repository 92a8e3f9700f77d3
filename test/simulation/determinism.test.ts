import { expect, test } from "vitest";
import { runHistory } from "./run-seeds.ts";

test("the same seed gives the same history", { timeout: 60_000 }, () => {
  for (const seed of [1, 17, 4711, 126]) {
    const first = runHistory({ seed });
    const second = runHistory({ seed });
    expect(second).toEqual(first);
  }
});

test("another seed gives another history", () => {
  expect(runHistory({ seed: 1 }).digest).not.toBe(runHistory({ seed: 2 }).digest);
});
