import { test } from "vitest";
import { runSeeds } from "./run-seeds.ts";

// In files of their own, so that they run at the same time. 2,000 histories with many faults in all.
test.each([0, 1, 2, 3, 4])("200 histories, part %i of 2", { timeout: 600_000 }, (part) => {
  runSeeds(20_000 + 1_000 * part, 200);
});
