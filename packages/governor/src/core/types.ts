import type {
  AttemptRef,
  Digest,
  Epoch,
  GovernorHello,
  GovernorMessage,
  MetricPoint,
  ObjectId,
  ObjectKind,
  ObjectRef,
  ObjectSource,
  OutputReport,
  ServerToGovernor,
  TaskFailure,
  TaskInfo,
  TaskSpec,
  UserAttributes,
} from "@rain/protocol";

/** What enters the governor's core. `now` is given beside it: monotonic milliseconds. */
export type GovernorInput =
  /** The connection to the server stands; nothing was said on it yet. */
  | { readonly type: "link.up" }
  | { readonly type: "link.down" }
  | { readonly type: "message"; readonly message: ServerToGovernor }
  /** Answer to the effect `acquire`. */
  | { readonly type: "acquired"; readonly sha256: Digest }
  /** `tried`: the addresses that did not give it. */
  | {
      readonly type: "acquire.failed";
      readonly sha256: Digest;
      readonly why: string;
      readonly tried?: readonly string[] | undefined;
    }
  /** The server has answered: it has heard of this governor after `since`, a time as `now` is. */
  | { readonly type: "server.heard"; readonly since: number }
  /** A report breaks the rules of the protocol, so that the server would refuse it whenever it is sent. */
  | { readonly type: "report.refused"; readonly ref: AttemptRef; readonly why: string }
  /**
   * Answers to the effect `run`: first perhaps `run.started`, then perhaps `run.over`, then exactly one `run.ended`.
   * `at`: wall clock, ms.
   */
  | { readonly type: "run.started"; readonly ref: AttemptRef; readonly at: number }
  /** The program and all that it started are dead: its outputs are still to be collected, for which it needs no units. */
  | { readonly type: "run.over"; readonly ref: AttemptRef }
  | { readonly type: "run.ended"; readonly ref: AttemptRef; readonly outcome: RunOutcome }
  /** Metrics of a run that has not ended. */
  | { readonly type: "run.metrics"; readonly ref: AttemptRef; readonly news: RunMetrics }
  /** The operator stops this governor (SIGTERM). */
  | { readonly type: "stop" }
  /** Worst delay of the event loop since the last tick, for the heartbeat. */
  | { readonly type: "tick"; readonly loopDelayMs: number };

/** How a run ended. A run that was terminated may end either way; the core decides what it means. */
export type RunOutcome =
  | (RunEnd & { readonly ok: true; readonly outputs: readonly OutputReport[] })
  | (RunEnd & { readonly ok: false; readonly failure: TaskFailure });
interface RunEnd {
  readonly info: TaskInfo;
  /** What `run.metrics` has not told. */
  readonly metrics?: RunMetrics | undefined;
}

/** Points that came since the last news, and all parameters that the program chose when they changed. */
export interface RunMetrics {
  readonly points: readonly MetricPoint[];
  readonly params?: UserAttributes | undefined;
}

/** An input ready to be mapped: its bytes are in the store under `sha256`. */
export interface ReadyInput {
  readonly object: ObjectId;
  readonly kind: ObjectKind;
  readonly size: number;
  readonly sha256: Digest;
  readonly contentType: string;
}

/** The units that an attempt got: indices of GPUs; cpus are counted, and named when tasks are pinned to them. */
export interface Allocation {
  readonly cpus: number;
  readonly gpus: readonly number[];
  readonly memory: number;
  /** Cpus of its own, by the system's numbers: where tasks are pinned, and it asked for whole cpus. */
  readonly cpuIds?: readonly number[];
}

/** What the shell must do. */
export type GovernorEffect =
  /** End the connection at once and make a new one: the server may be out of reach, or may have given this one up. */
  | { readonly type: "reconnect"; readonly reason: string }
  /** Say this to the server. Dropped by the shell when there is no connection. */
  | { readonly type: "send"; readonly message: GovernorMessage }
  /** Bring an object's bytes into the store: from `data`, or from the sources in turn; answered. */
  | {
      readonly type: "acquire";
      readonly sha256: Digest;
      readonly size: number;
      readonly kind: ObjectKind;
      readonly data?: Uint8Array | undefined;
      readonly sources: readonly ObjectSource[];
    }
  /** Run a task: map inputs, start, wait, end the whole family, collect outputs into the store, clean; answered. */
  | {
      readonly type: "run";
      readonly ref: AttemptRef;
      readonly spec: TaskSpec;
      readonly inputs: readonly ReadyInput[];
      readonly allocation: Allocation;
    }
  /** End a run early: TERM to the whole family, or KILL with `force`. The run still answers `run.ended`. */
  | { readonly type: "terminate"; readonly ref: AttemptRef; readonly force: boolean }
  /** No object uses these bytes any more. (A run may be about to end with them as an output: then they stay.) */
  | { readonly type: "remove"; readonly sha256: Digest }
  /** The log files of these attempts are not needed any more. */
  | { readonly type: "forget"; readonly ref: AttemptRef }
  /** The ticket key of the data port for this registration. */
  | { readonly type: "tickets"; readonly epoch: Epoch; readonly key: Uint8Array }
  /** The server does not want this governor, or asked it to stop: exit with this message when there is one. */
  | { readonly type: "exit"; readonly reason: string; readonly refused: boolean }
  | { readonly type: "log"; readonly level: "info" | "warn" | "error"; readonly text: string };

export interface GovernorStep {
  readonly effects: readonly GovernorEffect[];
  /** When the core wants a `tick`, monotonic milliseconds; undefined for never. */
  readonly wakeAt: number | undefined;
  /**
   * Programs run, and more attempts wait for their room than there are cpus: nothing stands still when the server hears a
   * little later what has finished.
   */
  readonly hasMore: boolean;
}

export interface GovernorConfig {
  readonly hello: GovernorHello;
  /** From TERM to KILL, milliseconds. */
  readonly killGraceMs: number;
  /** What becomes of programs when the server may have given this governor up; default "finish". */
  readonly onLost?: "kill" | "finish" | undefined;
  /** Numbers of the cpus that tasks are pinned to, at least as many as the capacity has; absent: no pinning. */
  readonly cpuIds?: readonly number[] | undefined;
}

/** Names used by both sides of the core. */
export const attemptKey = (ref: AttemptRef): string => `${ref.session}/${ref.task}/${ref.attempt}`;
export const objectKey = (ref: ObjectRef): string => `${ref.session}/${ref.object}`;
