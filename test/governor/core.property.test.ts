import { describe, expect, it } from "vitest";
import { asObjectId } from "@rain/protocol";
import { ADOPTED, capacity, COPIED, session, World } from "./core.world.ts";

const seeds = Number(process.env["RAIN_SEEDS"] ?? 60);
const STEPS = 1_500;

describe("the governor's core in a hostile world", () => {
  it("keeps its promises under faults, and finishes everything once they stop", { timeout: 120_000 }, () => {
    const seen = new Map<string, number>();
    let [worldsWithAdopted, worldsWithCopied, resets] = [0, 0, 0];
    for (let seed = 1; seed <= seeds; seed += 1) {
      const world = new World(`governor ${seed}`);
      try {
        for (let step = 0; step < STEPS; step += 1) world.step();
        world.settle();
        const numbers = world.core.objects().map(({ object }) => Number(object));
        if (numbers.some((number) => number >= ADOPTED && number < COPIED)) worldsWithAdopted += 1;
        if (numbers.some((number) => number >= COPIED)) worldsWithCopied += 1;
        resets += world.resets;
        checkEnd(world);
      } catch (cause) {
        throw new Error(`seed ${seed} at ${world.now} ms: ${String(cause)}`, { cause });
      }
      for (const { state } of world.attempts.values()) {
        const kind = typeof state === "string" ? state : state.type;
        seen.set(kind, (seen.get(kind) ?? 0) + 1);
      }
    }
    // The world is worth something only if everything happens in it.
    for (const kind of ["finish", "fail", "stopped", "starved", "gone"]) {
      expect(seen.get(kind), kind).toBeGreaterThan(seeds);
    }
    expect(worldsWithAdopted).toBeGreaterThan(seeds / 2);
    expect(worldsWithCopied).toBeGreaterThan(seeds / 4);
    expect(resets).toBeGreaterThan(seeds / 2);
  });

  it("leaves in order when it is told to, whatever is going on", { timeout: 60_000 }, () => {
    for (let seed = 1; seed <= seeds; seed += 1) {
      const world = new World(`leaving ${seed}`);
      for (let step = 0; step < 300; step += 1) world.step();
      world.handle({ type: "stop" });
      if (seed % 3 === 0) world.handle({ type: "stop" });
      for (let steps = 0; !world.exited; steps += 1) {
        if (steps > 20_000) throw new Error(`seed ${seed} does not leave`);
        world.step();
      }
      expect(world.runs.size).toBe(0);
      expect(world.exited.refused).toBe(false);
    }
  });
});

function checkEnd(world: World): void {
  const open = [...world.attempts].filter(([, attempt]) => attempt.state === "assigned");
  expect(open.map(([key]) => key)).toEqual([]);
  expect(world.core.attempts()).toEqual([]);
  expect(world.core.free()).toEqual(capacity);
  // What the server knows to be here is what is here; once it lets go, nothing is left.
  const held = world.core.objects();
  for (const { object, sha256 } of held) expect(world.replicas.get(`${session}/${object}`)).toBe(sha256);
  for (const [key] of world.replicas) {
    const object = asObjectId(Number(key.split("/")[1]));
    world.handle({ type: "message", message: { type: "drop", objects: [{ session, object }] } });
  }
  expect(world.core.objects()).toEqual([]);
  expect([...world.stored]).toEqual([]);
}
