import { expect, it } from "vitest";
import { runChaos } from "../chaos/chaos.ts";

const MINUTES = 60_000;

it(
  "case 1: 30 kills of the server: every result is right, and no program was started twice",
  async () => {
    const report = await runChaos({ seed: "servers", tasks: 900, serverKills: 30, governorKills: 0 });
    expect(report.problems).toEqual([]);
    expect(report.starts).toBe(900);
  },
  10 * MINUTES,
);

it(
  "case 11: 30 kills of governors: every result is right, and nothing that finished ran again",
  async () => {
    const report = await runChaos({ seed: "governors", tasks: 900, serverKills: 0, governorKills: 30 });
    expect(report.problems).toEqual([]);
  },
  10 * MINUTES,
);
