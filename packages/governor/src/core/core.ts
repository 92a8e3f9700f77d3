import type { Digest, ObjectRef, Resources } from "@rain/protocol";
import { acquireFailed, arrived } from "./assign.ts";
import { viewAttempt, type AttemptView } from "./attempts.ts";
import { exitWhenDone, leave } from "./leave.ts";
import { checkLease, confirm, leaseEnd, noticeGap } from "./lease.ts";
import { announceCopies, hear, heartbeat, linkDown, linkUp, registerWhenFree } from "./link.ts";
import { Machine } from "./machine.ts";
import {
  checkTimes,
  ended,
  metricsCame,
  nextTime,
  programOver,
  replaceReport,
  started,
  startQueued,
  tellStarted,
} from "./run.ts";
import type { GovernorConfig, GovernorInput, GovernorStep } from "./types.ts";

/**
 * The governor's decisions: which inputs to bring, when to run what on which units, what to tell the server, what to
 * keep. Deterministic and synchronous; everything it wants done is an effect of its step. After an `exit` effect it
 * ignores what comes.
 */
export class GovernorCore {
  readonly #machine: Machine;

  constructor(config: GovernorConfig) {
    this.#machine = new Machine(config);
  }

  /** `now`: milliseconds that never go back. Throws on an input that cannot be: that is a bug, and its story is told. */
  handle(input: GovernorInput, now: number): GovernorStep {
    return this.handleAll([input], now);
  }

  /** The same for all that came at once: what follows from it is looked for only at the end. */
  handleAll(inputs: readonly GovernorInput[], now: number): GovernorStep {
    const m = this.#machine;
    if (m.exited) return { effects: [], wakeAt: undefined, hasMore: false };
    if (now < m.now) throw new Error(`time went back from ${m.now} ms to ${now} ms`);
    m.now = now;
    m.effects = [];
    noticeGap(m);
    for (const input of inputs) if (!m.exited) dispatch(m, input);
    if (!m.exited) {
      checkLease(m);
      registerWhenFree(m);
      checkTimes(m);
      tellStarted(m);
      startQueued(m);
      announceCopies(m);
      heartbeat(m);
      exitWhenDone(m);
    }
    m.wakeAt = m.exited ? undefined : wakeAt(m);
    const hasMore = m.running > 0 && m.queue.length > m.config.hello.capacity.cpus;
    return { effects: m.effects, wakeAt: m.wakeAt, hasMore };
  }

  /** Attempts that the server has not acknowledged, in the order they came. */
  attempts(): AttemptView[] {
    return [...this.#machine.attempts.values()].map(viewAttempt);
  }

  /** Objects that are here. */
  objects(): (ObjectRef & { readonly sha256: Digest })[] {
    return [...this.#machine.holdings.all()];
  }

  /** What no run has of the capacity. */
  free(): Resources {
    return this.#machine.pool.free;
  }
}

function dispatch(m: Machine, input: GovernorInput): void {
  switch (input.type) {
    case "link.up":
      linkUp(m);
      break;
    case "link.down":
      linkDown(m);
      break;
    case "message":
      hear(m, input.message);
      break;
    case "acquired":
      arrived(m, input.sha256, m.holdings.acquired(input.sha256));
      break;
    case "acquire.failed":
      acquireFailed(m, input.sha256, input.why, input.tried);
      break;
    case "run.started":
      started(m, input.ref, input.at);
      break;
    case "run.over":
      programOver(m, input.ref);
      break;
    case "run.ended":
      ended(m, input.ref, input.outcome);
      break;
    case "run.metrics":
      metricsCame(m, input.ref, input.news);
      break;
    case "server.heard":
      confirm(m, input.since);
      break;
    case "report.refused":
      replaceReport(m, input.ref, input.why);
      break;
    case "stop":
      leave(m, "stopped by its operator");
      break;
    case "tick":
      m.loopDelayMs = Math.max(m.loopDelayMs, input.loopDelayMs);
      break;
  }
}

function wakeAt(m: Machine): number | undefined {
  const heartbeatAt = m.link.kind === "registered" ? m.link.heartbeatAt : Infinity;
  const next = Math.min(heartbeatAt, nextTime(m), m.leaving?.giveUpAt ?? Infinity, leaseEnd(m));
  return next === Infinity ? undefined : next;
}
