import { test } from "vitest";
import { runSeeds } from "./run-seeds.ts";

/**
 * Seeds that broke a rule once. A change of the simulator changes what they do; they stay as seeds, and what was
 * wrong is told so that a test of its own can be written where that is easy.
 */
const regressions: readonly (readonly [seed: number, what: string])[] = [
  [4, "an output that nobody needed stayed on its governor"],
  [126, "after a second registration copies counted as readable before the governor had told of them"],
  [367, "a task was opened again over an input that can never come"],
  [468, "an out-of-date report made the server drop a copy that it then counted on"],
  [560, "after a snapshot a failed session cancelled its tasks in another order: another settled log"],
];
test.each(regressions)("seed %i: %s", { timeout: 30_000 }, (seed) => {
  runSeeds(seed, 1);
});
