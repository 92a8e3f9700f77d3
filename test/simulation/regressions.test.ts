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
  [2656, "a random program with two outputs that ran again for one displaced the other, for ever"],
  [3281, "a drop that was meant for an older version of an object removed the new one"],
  [116666, "a drop that was meant for a stale version removed the one copied meanwhile"],
  [3386, "what waits on a governor that comes back was given room before all that runs there was known"],
  [103988, "an entry of the cache had outputs of two runs, over different inputs"],
  [13096, "an object was given up before a task that needs it was opened again"],
  [
    1000832,
    "of the simulator: a short stall within a long one counted as its end, while the process stood still",
  ],
  [1001007, "the same, of a governor that was out of reach before"],
  [21021357, "a task of an array that ran again after a snapshot waited for an input that the server had"],
  [
    21026850,
    "bytes were dropped that a governor had been told to keep under another name, and had not heard",
  ],
  [22001397, "of the simulator: a finish that waits for others had displaced a copy before the server knew"],
];
test.each(regressions)("seed %i: %s", { timeout: 30_000 }, (seed) => {
  runSeeds(seed, 1);
});
