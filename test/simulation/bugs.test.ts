import { expect, test } from "vitest";
import type { Bugs } from "./bugs.ts";
import { runHistory } from "./history.ts";

/** Each breaks one rule on purpose; the rules, one of which must notice. */
const planted: readonly (readonly [bug: keyof Bugs, rules: readonly string[]])[] = [
  ["acknowledgeBeforeSync", ["durable-before-visible"]],
  ["acceptOldAttempt", ["current-attempt"]],
  ["forgetToResend", ["liveness", "leftovers", "metrics-lost"]],
  ["startBeforeInput", ["inputs-before-start"]],
  ["freeTwice", ["free-consistent"]],
  ["forgetHints", ["durable-before-visible", "replay-equals-live"]],
  ["forgetSubmitKey", ["client-error"]],
  ["dropKept", ["kept-removed"]],
  ["leaseNeverEnds", ["liveness", "leftovers"]],
  ["acceptCorrupt", ["damaged-input"]],
  ["ignoreCancel", ["cancel-in-time"]],
  ["registerWithout", ["attempt-wasted"]],
  ["reuseGpu", ["gpu-twice"]],
  ["retractKills", ["retract-spares-running"]],
  ["waitingCrashes", ["crash-within-capacity"]],
  ["metricsTwice", ["metrics-once"]],
  ["ignoreParallelism", ["parallelism"]],
  ["forgetDatastoreKey", ["datastore-changed"]],
  ["shortSnapshot", ["replay-equals-live"]],
  ["forgetGovernorsAtRestart", ["attempt-wasted"]],
  ["cacheIgnoresInputs", ["cached-wrong"]],
  ["drainAtOnce", ["drained-loses"]],
  ["arrayGivesTwice", ["phase", "one-attempt", "ready-queue", "exception"]],
  ["foldLosesOutputs", ["replay-equals-live", "client-error"]],
  ["sweepUncounted", ["counts"]],
  ["forgetRoom", ["places"]],
  ["keepsLost", ["run-twice"]],
];
const MAX_SEEDS = 300;

test.each(planted)("%s is noticed", { timeout: 120_000 }, (bug, rules) => {
  for (let seed = 1; seed <= MAX_SEEDS; seed++) {
    const { violation } = runHistory({ seed, bugs: { [bug]: true } });
    if (!violation) continue;
    expect(rules, violation.message).toContain(violation.rule);
    return;
  }
  expect.unreachable(`${bug} was not noticed in ${MAX_SEEDS} histories`);
});
