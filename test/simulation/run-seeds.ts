import { expect } from "vitest";
import { runHistory } from "./history.ts";
import { describeFailure } from "./main.ts";

/** Runs `count` histories from seed `from`; the test fails with the story of the first that breaks a rule. */
export function runSeeds(from: number, count: number): void {
  let [faults, cached] = [0, 0];
  for (let seed = from; seed < from + count; seed++) {
    const result = runHistory({ seed });
    if (result.violation) expect.unreachable(describeFailure(result));
    faults += result.faults;
    cached += result.cached;
  }
  expect(faults).toBeGreaterThanOrEqual(20 * count);
  // A history is worth something for the cache only if tasks are taken from it.
  if (count > 10) expect(cached).toBeGreaterThan(count);
}
