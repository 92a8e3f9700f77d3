import { isIn } from "./attempts.ts";
import type { Machine } from "./machine.ts";
import { force, stopAttempt } from "./run.ts";

/** A deliberate stop: nothing new is started, programs are ended, reports are delivered if that is quick, then exit. */
export function leave(m: Machine, reason: string): void {
  if (m.leaving) {
    m.leaving = { ...m.leaving, forced: true };
    for (const attempt of m.attempts.values()) if (isIn(attempt, "running")) force(m, attempt);
    return;
  }
  m.leaving = { reason, giveUpAt: undefined, forced: false };
  m.send({ type: "leaving" });
  for (const attempt of m.attempts.values()) {
    // A cancelled or timed out one is being ended already, and its report stays what it would have been.
    if (isIn(attempt, "running") && attempt.phase.stopping) continue;
    stopAttempt(m, attempt, "leaving");
  }
}

/**
 * Exits as soon as nothing runs, the server has all reports, and others have copies of what is needed: then the server
 * says `stop` (again). Or as soon as the server is not there, or all this takes too long.
 */
export function exitWhenDone(m: Machine): void {
  const { leaving } = m;
  if (!leaving || m.exited || m.running > 0) return;
  const giveUpAt = leaving.giveUpAt ?? m.now + m.config.killGraceMs;
  m.leaving = { ...leaving, giveUpAt };
  const hasSome = m.attempts.size > 0 || m.holdings.count > 0;
  const waits = m.link.kind === "registered" && hasSome && !leaving.forced;
  if (waits && m.now < giveUpAt) return;
  m.exited = true;
  m.emit({ type: "exit", reason: leaving.reason, refused: false });
}
