import { expect, test } from "vitest";
import { geometricMean, graphs, measure, type Makespans } from "./main.ts";

/** Small graphs; the whole set is measured by `npm run quality`. Virtual time: the same on every machine. */
const SCALE = 0.25;

function measureAll(cluster: string, bandwidth: number): Makespans[] {
  return graphs.flatMap((graph) => measure({ graph, cluster, bandwidth, seed: 1, scale: SCALE }) ?? []);
}

test(
  "schedules come close to the best of those that know all durations and sizes",
  { timeout: 120_000 },
  () => {
    const all = [...measureAll("8x4", 32), ...measureAll("8x4", 512)];
    expect(all.length).toBe(2 * graphs.length);
    // Where a bound is not one, the simulator runs more at once than there is.
    for (const { graph, rain, best, bound } of all) {
      expect(rain, graph).toBeGreaterThanOrEqual(bound);
      expect(best, graph).toBeGreaterThanOrEqual(bound);
    }
    expect(geometricMean(all.map(({ rain, best }) => rain / best))).toBeLessThan(1.15);
    expect(geometricMean(all.map(({ rain, random }) => rain / random))).toBeLessThan(0.9);
  },
);

test("is the same every time", () => {
  const one = { graph: "fork1", cluster: "8x4", bandwidth: 128, seed: 3, scale: SCALE };
  expect(measure(one)).toEqual(measure(one));
});
