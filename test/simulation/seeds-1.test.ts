import { test } from "vitest";
import { runSeeds } from "./run-seeds.ts";

// In files of their own, so that they run at the same time. 1,000 seeds in all.
test.each([0, 1, 2, 3, 4])("100 histories, part %i of 1", { timeout: 300_000 }, (part) => {
  runSeeds(1_000 + 100 * part, 100);
});
