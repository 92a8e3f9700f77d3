import { afterEach, describe, expect, it, vi } from "vitest";
import { SteadyClock } from "../../packages/governor/src/clock.ts";
import { NodeClock } from "../../packages/server/src/wake.ts";

describe("the clocks of decisions", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it("case 20: do not notice when the wall clock jumps by a day, forth or back", () => {
    const clocks = [new SteadyClock(), new NodeClock()];
    const before = clocks.map((clock) => clock.now());
    vi.useFakeTimers({ toFake: ["Date"] });
    for (const hours of [24, -24]) {
      vi.setSystemTime(Date.now() + hours * 3_600_000);
      for (const [index, clock] of clocks.entries()) {
        const passed = clock.now() - (before[index] ?? 0);
        expect(passed).toBeGreaterThanOrEqual(0);
        expect(passed).toBeLessThan(3_600_000);
      }
    }
  });

  it("case 17: a governor's goes on while its machine is suspended", () => {
    let [awake, sinceBoot, wall] = [1_000, 500_000, 9_000_000];
    const clock = new SteadyClock(
      () => awake,
      () => sinceBoot,
      () => wall,
    );
    expect(clock.now()).toBe(1_000);
    awake += 10;
    expect(clock.now()).toBe(1_010); // the system's figure is coarse, and behind
    sinceBoot += 60_010;
    wall += 60_010;
    expect(clock.now()).toBe(61_010);
    sinceBoot -= 500; // and never goes back
    awake += 5;
    expect(clock.now()).toBe(61_015);
    sinceBoot += 60_510; // somebody set the wall clock back by as much: noticed a little later
    awake += 1_000;
    expect(clock.now()).toBe(121_020);
  });
});
