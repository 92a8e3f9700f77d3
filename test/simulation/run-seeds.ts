import { afterAll, expect } from "vitest";
import { loadSources } from "../../scripts/support/sources.mjs";

/** A history with fewer faults than this is about few long ones. */
const MANY_FAULTS = 20;

/** The simulator as one bundle, as the script runs it: in modules of the test runner a history takes much longer. */
const { loaded, close } = await loadSources("test/simulation/main.ts");
afterAll(close);
export const { runHistory } = loaded;

/**
 * Runs histories from seed `from` until `count` of them had many faults; the test fails with the story of the first that
 * breaks a rule. With `count` 1 it is that one history, whatever goes wrong in it.
 */
export function runSeeds(from: number, count: number): void {
  let [rich, cached] = [0, 0];
  for (let seed = from; rich < count; seed++) {
    const result = runHistory({ seed });
    if (result.violation) expect.unreachable(loaded.describeFailure(result));
    if (count === 1 || result.faults >= MANY_FAULTS) rich += 1;
    cached += result.cached;
  }
  // A history is worth something for the cache only if tasks are taken from it.
  if (count > 10) expect(cached).toBeGreaterThan(count);
}
