import {
  limits,
  unpackAssignments,
  unpackRefs,
  type Digest,
  type ObjectRef,
  type ServerToGovernor,
  type WireError,
} from "@rain/protocol";
import { assign } from "./assign.ts";
import { isIn } from "./attempts.ts";
import { copy } from "./copy.ts";
import { givenUp } from "./lease.ts";
import { leave } from "./leave.ts";
import type { Machine } from "./machine.ts";
import { tellMetricsAgain } from "./metrics.ts";
import { stopAttempt } from "./run.ts";
import { objectKey } from "./types.ts";

/** The conversation with the server. */

/** Says who this is and which attempts the server may count on: those not acknowledged, reported or not. */
export function linkUp(m: Machine): void {
  m.link = { kind: "held" };
}

/** Not while programs of a lost lease still run: the server would give their tasks to others. */
export function registerWhenFree(m: Machine): void {
  if (m.link.kind !== "held" || givenUp(m)) return;
  m.link = { kind: "registering", since: m.now };
  const attempts = [...m.attempts.values()].map((attempt) => ({
    ...attempt.ref,
    // One whose program is over holds no units: another may run on them.
    running: isIn(attempt, "running") && attempt.phase.allocation !== undefined,
  }));
  m.emit({ type: "send", message: { type: "register", ...m.config.hello, attempts } });
}

export function linkDown(m: Machine): void {
  m.early.clear();
  m.link = { kind: "down" };
}

export function hear(m: Machine, message: ServerToGovernor): void {
  if (m.link.kind === "down" || m.link.kind === "held") return;
  if (m.link.kind === "registering" && message.type !== "registered" && message.type !== "refused") {
    m.log("warn", `the server said ${message.type} before it answered the registration; not done`);
    return;
  }
  switch (message.type) {
    case "registered":
      registered(m, message);
      break;
    case "refused":
      refused(m, message.error);
      break;
    case "assign":
      assign(m, message);
      break;
    case "assign.batch": {
      const { session } = message;
      for (const { attempt, spec, inputs } of unpackAssignments(message))
        assign(m, { type: "assign", session, task: spec.id, attempt, spec, inputs });
      break;
    }
    case "cancel":
      cancel(m, message);
      break;
    case "retract": {
      const attempt = m.attempts.get(message);
      if (attempt && (isIn(attempt, "fetching") || isIn(attempt, "queued")))
        stopAttempt(m, attempt, "cancel");
      break;
    }
    case "ack":
      for (const ref of message.attempts) m.forget(ref);
      break;
    case "ack.batch":
      for (const ref of unpackRefs(message)) m.forget(ref);
      break;
    case "drop":
      for (const ref of message.objects) if (!m.fresh.has(objectKey(ref))) m.holdings.drop(ref);
      break;
    case "adopt":
      for (const { sha256, ...ref } of message.objects)
        if (m.holdings.has(sha256) && !m.fresh.has(objectKey(ref))) m.holdings.hold(ref, sha256);
      break;
    case "copy":
      copy(m, message);
      break;
    case "bytes":
      for (const { sha256, data } of message.objects) m.early.set(sha256, data);
      break;
    case "stop":
      leave(m, "the server stopped this governor");
      break;
  }
}

/**
 * The other governor with this identity may be this one's own process of before, killed behind a network that has not
 * told the server: only one that is heard of for longer than a dead one can be is another.
 */
function refused(m: Machine, { code, message, facts }: WireError): void {
  const silentAfterMs = facts?.["silentAfterMs"];
  const reason = `the server refused this governor: ${message}`;
  if (code === "identity-in-use" && typeof silentAfterMs === "number") {
    m.refusedAt ??= m.now;
    if (m.now - m.refusedAt < 2 * silentAfterMs) {
      m.link = { kind: "down" };
      m.emit({ type: "reconnect", reason });
      return;
    }
  }
  m.exited = true;
  m.emit({ type: "exit", reason, refused: true });
}

/**
 * Reports go first: the server must know that an object is finished before it hears who holds it, or it would have
 * the fresh outputs of an attempt dropped.
 */
function registered(m: Machine, message: Extract<ServerToGovernor, { readonly type: "registered" }>): void {
  const { heartbeatMs, leaseMs, epoch, ticketKey } = message;
  if (m.link.kind === "registering") {
    // The lease runs from the registration that the server heard; of a late answer, half of it at least.
    m.confirmedAt = Math.max(m.link.since, m.now - leaseMs / 2);
    m.inDoubt = false;
  }
  m.refusedAt = undefined;
  m.leaseMs = leaseMs;
  m.link = { kind: "registered", heartbeatMs, heartbeatAt: m.now + heartbeatMs };
  m.emit({ type: "tickets", epoch, key: ticketKey });
  for (const attempt of m.attempts.values()) {
    if (isIn(attempt, "running") && attempt.phase.startedAt !== undefined) {
      m.send({ type: "started", ...attempt.ref, at: attempt.phase.startedAt });
    }
    tellMetricsAgain(m, attempt);
    if (isIn(attempt, "reported")) m.send(attempt.phase.report);
  }
  announce(m, [...m.holdings.all()], true);
  if (m.leaving) m.send({ type: "leaving" });
}

/** Tells which objects are here. */
function announce(
  m: Machine,
  objects: readonly (ObjectRef & { readonly sha256: Digest })[],
  evenNone: boolean,
): void {
  if (objects.length === 0 && !evenNone) return;
  const chunk = limits.holdingChunk;
  for (let from = 0; from === 0 || from < objects.length; from += chunk) {
    const done = from + chunk >= objects.length;
    m.send({ type: "holding", objects: objects.slice(from, from + chunk), done });
  }
}

/** Tells of the copies that came in this step. */
export function announceCopies(m: Machine): void {
  const { copied, uncopied } = m;
  if (copied.length > 0) announce(m, copied, false);
  for (let from = 0; from < uncopied.length; from += limits.holdingChunk)
    m.send({ type: "uncopied", objects: uncopied.slice(from, from + limits.holdingChunk) });
  m.copied = [];
  m.uncopied = [];
}

function cancel(m: Machine, message: Extract<ServerToGovernor, { readonly type: "cancel" }>): void {
  const { session, task, attempt: number } = message;
  const ref = { session, task, attempt: number };
  const attempt = m.attempts.get(ref);
  if (attempt) stopAttempt(m, attempt, "cancel");
  else m.reportUnknown(ref, { type: "stopped", ...ref });
}

export function heartbeat(m: Machine): void {
  const { link } = m;
  if (link.kind !== "registered" || link.heartbeatAt > m.now) return;
  m.link = { ...link, heartbeatAt: m.now + link.heartbeatMs };
  m.send({ type: "heartbeat", loopDelayMs: m.loopDelayMs });
  m.loopDelayMs = 0;
}
