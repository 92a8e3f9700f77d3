/** Switches that break one rule each, so that a test can prove that the checkers notice. */
export interface Bugs {
  /** Effects leave before the records under them are synced. */
  readonly acknowledgeBeforeSync?: boolean;
  /** The server takes a finish of an attempt that is not the current one. */
  readonly acceptOldAttempt?: boolean;
  /** A governor sends each report once, and never again. */
  readonly forgetToResend?: boolean;
  /** A governor believes that an input is there as soon as it asked for it. */
  readonly startBeforeInput?: boolean;
  /** Resources of an attempt are given back twice. */
  readonly freeTwice?: boolean;
  /** Assignments are not written to the journal. */
  readonly forgetHints?: boolean;
  /** The key of a submit is forgotten, so that a repeated submit is a new one. */
  readonly forgetSubmitKey?: boolean;
  /** Kept objects go with their last consumer. */
  readonly dropKept?: boolean;
  /** A silent governor is never given up. */
  readonly leaseNeverEnds?: boolean;
  /** What a governor reads from another is not checked against its digest. */
  readonly acceptCorrupt?: boolean;
  /** A cancelled program runs on. */
  readonly ignoreCancel?: boolean;
  /** A process of the server that is started again does not wait for its governors. */
  readonly forgetGovernorsAtRestart?: boolean;
  /** A governor does not tell at registration which attempts it has. */
  readonly registerWithout?: boolean;
  /** Every attempt gets the first GPUs. */
  readonly reuseGpu?: boolean;
  /** A governor takes "give it back" for "stop it". */
  readonly retractKills?: boolean;
  /** Every attempt that a lost governor had counts as a crash, also one that only waited there. */
  readonly waitingCrashes?: boolean;
  /** The server takes metrics without a look at their numbers. */
  readonly metricsTwice?: boolean;
  /** A session's limit of attempts at once counts for nothing. */
  readonly ignoreParallelism?: boolean;
  /** The key of a datastore is forgotten, so that a repeated request makes another version. */
  readonly forgetDatastoreKey?: boolean;
  /** Snapshots of the journal lose the settled logs. */
  readonly shortSnapshot?: boolean;
  /** A drained governor is told to stop whatever only it has. */
  readonly drainAtOnce?: boolean;
  /** A governor with the policy "kill" does not give up its programs when its lease is lost. */
  readonly keepsLost?: boolean;
  /** Room that an attempt gives back is not noted where placements look for it. */
  readonly forgetRoom?: boolean;
  /** Tasks are the same for the cache whatever their inputs are. */
  readonly cacheIgnoresInputs?: boolean;
  /** A task of an array that is assigned stays in the array's queue. */
  readonly arrayGivesTwice?: boolean;
  /** A folded task loses its outputs. */
  readonly foldLosesOutputs?: boolean;
  /** Tasks of an array that were cancelled before anything happened to them are not counted as that. */
  readonly sweepUncounted?: boolean;
}
