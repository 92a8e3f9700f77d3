import { expect, test } from "vitest";
import type { Bugs } from "./bugs.ts";
import { runHistory } from "./run-seeds.ts";

/**
 * Each breaks one rule on purpose; the rules, one of which must notice; and where the search for a history that shows it
 * begins: near one that did, to save the way there. After a change of the simulator any other number is as good.
 */
const planted: readonly (readonly [bug: keyof Bugs, rules: readonly string[], from?: number])[] = [
  ["acknowledgeBeforeSync", ["durable-before-visible"]],
  ["acceptOldAttempt", ["current-attempt"], 175],
  ["forgetToResend", ["liveness", "leftovers", "metrics-lost"]],
  ["startBeforeInput", ["inputs-before-start"]],
  ["freeTwice", ["free-consistent"]],
  ["forgetHints", ["durable-before-visible", "replay-equals-live"]],
  ["forgetSubmitKey", ["client-error"]],
  ["dropKept", ["kept-removed"]],
  ["leaseNeverEnds", ["liveness", "leftovers"], 30],
  ["acceptCorrupt", ["damaged-input"], 90],
  ["ignoreCancel", ["cancel-in-time"]],
  ["registerWithout", ["attempt-wasted"]],
  ["reuseGpu", ["gpu-twice"], 290],
  ["retractKills", ["retract-spares-running"], 65],
  ["waitingCrashes", ["crash-within-capacity"], 20],
  ["metricsTwice", ["metrics-once"]],
  ["ignoreParallelism", ["parallelism"]],
  ["forgetDatastoreKey", ["datastore-changed"]],
  ["shortSnapshot", ["replay-equals-live", "client-error"]],
  ["forgetGovernorsAtRestart", ["attempt-wasted"]],
  ["cacheIgnoresInputs", ["cached-wrong"]],
  ["drainAtOnce", ["drained-loses"], 38],
  ["arrayGivesTwice", ["phase", "one-attempt", "ready-queue", "exception"]],
  ["foldLosesOutputs", ["replay-equals-live", "client-error"]],
  ["sweepUncounted", ["counts"]],
  ["forgetRoom", ["places"]],
  ["keepsLost", ["run-twice"], 244],
];
const MAX_SEEDS = 300;

const searches = planted.map(([bug, rules, from = 1]) => [bug, rules, from] as const);
test.each(searches)("%s is noticed", { timeout: 600_000 }, (bug, rules, from) => {
  for (let seed = from; seed < from + MAX_SEEDS; seed++) {
    const { violation } = runHistory({ seed, bugs: { [bug]: true } });
    if (!violation) continue;
    expect(rules, violation.message).toContain(violation.rule);
    return;
  }
  expect.unreachable(`${bug} was not noticed in ${MAX_SEEDS} histories`);
});
