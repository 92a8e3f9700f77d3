import { expect, it } from "vitest";
import { runChaos } from "../chaos/chaos.ts";

const ROUNDS = 10;
/** Rounds wait for leases and reconnects for most of their time. */
const AT_ONCE = 2;

it("kills of both, with governors behind a network that delays, cuts and half-opens", async () => {
  const left = Array.from({ length: ROUNDS }, (_, round) => round);
  const runSome = async (): Promise<void> => {
    for (let round = left.pop(); round !== undefined; round = left.pop()) {
      const seed = `both ${round}`;
      const kills = { serverKills: 1, governorKills: 1 };
      const { problems } = await runChaos({ seed, tasks: 200, ...kills, badNetwork: true });
      expect(problems, seed).toEqual([]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, runSome));
}, 1_200_000);
