import type { AttemptRef, Digest, GovernorMessage, ObjectRef, Report } from "@rain/protocol";
import { Attempts, isIn, type Attempt, type AttemptIn, type Phase } from "./attempts.ts";
import { Holdings } from "./holdings.ts";
import { Past } from "./past.ts";
import { Pool } from "./pool.ts";
import { objectKey, type GovernorConfig, type GovernorEffect } from "./types.ts";

export type LinkState =
  | { readonly kind: "down" }
  /** It stands, and `register` is held back until programs that were given up are dead. */
  | { readonly kind: "held" }
  /** `register` was sent; nothing else may be said before the answer. */
  | { readonly kind: "registering"; readonly since: number }
  | { readonly kind: "registered"; readonly heartbeatMs: number; readonly heartbeatAt: number };

export interface Leaving {
  readonly reason: string;
  /** When to stop waiting for acknowledgements, monotonic ms; undefined while programs still run. */
  readonly giveUpAt: number | undefined;
  readonly forced: boolean;
}

/** How many attempts are remembered after their acknowledgement: for their logs, and to know them when asked again. */
const PAST_ATTEMPTS = 10_000;

/** The governor's whole state, and what the steps of the core have in common. */
export class Machine {
  readonly config: GovernorConfig;
  readonly attempts: Attempts = new Attempts();
  readonly holdings: Holdings;
  readonly pool: Pool;
  /** Attempts that wait for resources, in the order in which they may have them. */
  readonly queue: AttemptIn<"queued">[] = [];
  /** Running attempts whose end is a matter of time. */
  readonly timed: Set<Attempt> = new Set();
  /** Started attempts that the server was not told of, with the time to do so; the earliest first. */
  readonly untold: Map<Attempt, { readonly tellAt: number; readonly at: number }> = new Map();
  /** Number of running attempts, and of those among them whose program is over. */
  running = 0;
  collecting = 0;
  /** Something came into the queue, or room became free, since the queue was looked through. */
  mayStart = false;
  /** Attempts that are over and acknowledged, oldest first. */
  readonly past: Past = new Past(PAST_ATTEMPTS);
  /**
   * Objects (by key) that a run made whose finish is not acknowledged, with the key of the attempt. The server says
   * nothing about these versions before the acknowledgement: a drop that comes earlier means an older one.
   */
  readonly fresh: Map<string, string> = new Map();
  link: LinkState = { kind: "down" };
  leaving: Leaving | undefined;
  exited = false;
  /** Worst delay of the event loop since the last heartbeat, ms. */
  loopDelayMs = 0;
  orders = 0;
  now = 0;
  /** Objects copied here in this step, to be announced at its end. */
  copied: (ObjectRef & { readonly sha256: Digest })[] = [];
  /** Objects that the server asked to copy here and that could not be, to be told at the end of the step. */
  uncopied: (ObjectRef & { readonly why: string })[] = [];
  /** Objects that are being copied here because the server asked, by the names under which they use their bytes. */
  readonly copying: Map<string, { readonly ref: ObjectRef; readonly sha256: Digest }> = new Map();
  /** Bytes of inputs that the server sent before their assignment. */
  readonly early: Map<Digest, Uint8Array> = new Map();
  /** The server has refused this governor since this time, for another one with its identity. */
  refusedAt: number | undefined;
  /** Of the last registration, ms; undefined before the first. */
  leaseMs: number | undefined;
  /** The server has heard of this governor at this time, or later. */
  confirmedAt = 0;
  /** The lease may be over: nothing is sure before the next registration. */
  inDoubt = false;
  /** When the core asked to be woken at the latest; undefined for never. */
  wakeAt: number | undefined;
  effects: GovernorEffect[] = [];

  constructor(config: GovernorConfig) {
    this.config = config;
    this.pool = new Pool(config.hello.capacity, config.cpuIds);
    this.holdings = new Holdings((sha256) => this.emit({ type: "remove", sha256 }));
  }

  emit(effect: GovernorEffect): void {
    this.effects.push(effect);
  }

  log(level: "info" | "warn" | "error", text: string): void {
    this.emit({ type: "log", level, text });
  }

  /** Says something to the server, when it knows this governor. What must not be lost is said again at registration. */
  send(message: GovernorMessage): void {
    if (this.link.kind === "registered") this.emit({ type: "send", message });
  }

  /** Ends an attempt with its report: whatever it held is free. */
  report(attempt: Attempt, report: Report): void {
    const before = attempt.phase;
    this.attempts.move(attempt, { kind: "reported", report }, this.now);
    this.#release(attempt, before);
    this.send(report);
  }

  /** Ends an attempt without a word: the server does not count on it any more. */
  abandon(attempt: Attempt): void {
    this.#release(attempt, attempt.phase);
    this.attempts.abandon(attempt);
    this.#bury(attempt);
  }

  #release(attempt: Attempt, before: Phase): void {
    switch (before.kind) {
      case "fetching":
        break;
      case "queued":
        this.queue.splice(this.queue.indexOf(attempt as AttemptIn<"queued">), 1);
        break;
      case "running":
        if (before.allocation === undefined) this.collecting -= 1;
        else this.pool.give(before.assignment.request, before.allocation);
        this.mayStart = true;
        this.timed.delete(attempt);
        this.untold.delete(attempt);
        this.running -= 1;
        break;
      case "reported":
        return; // nothing is held any more
    }
    for (const input of before.assignment.inputs) this.holdings.unuse(input.sha256, attempt.key);
  }

  /** A report about an attempt of which nothing else is known here. */
  reportUnknown(ref: AttemptRef, report: Report): void {
    this.past.delete(this.attempts.add(ref, { kind: "reported", report }, this.now).key);
    this.send(report);
  }

  /** The server has the report: nothing of the attempt is left but its logs. */
  forget(ref: AttemptRef): void {
    const attempt = this.attempts.get(ref);
    if (!attempt) return;
    if (!isIn(attempt, "reported")) {
      this.log(
        "warn",
        `the server acknowledged a report of attempt ${attempt.key}, which is ${attempt.phase.kind}`,
      );
      return;
    }
    this.attempts.remove(attempt);
    const { report } = attempt.phase;
    for (const { object } of report.type === "finish" ? report.outputs : []) {
      const key = objectKey({ session: ref.session, object });
      if (this.fresh.get(key) === attempt.key) this.fresh.delete(key);
    }
    this.#bury(attempt);
  }

  #bury({ key, ref }: Attempt): void {
    const oldest = this.past.add(key, ref);
    if (oldest) this.emit({ type: "forget", ref: oldest });
  }
}
