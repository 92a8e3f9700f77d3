import { isIn, type AttemptIn } from "./attempts.ts";
import type { Machine } from "./machine.ts";
import { stopAttempt } from "./run.ts";

/** The governor's end of its lease: what it does when the server may have given it up. */

/** Part of the lease after which the server counts as out of reach: a while before it gives this governor up. */
const PART = 0.8;
/** Part of the lease in which programs that nobody may want any more must be gone. */
const GRACE_PART = 0.1;
/** A tick that comes so much later than it was asked for, ms: this process stood still, and its lease may be over. */
const GAP_MS = 5_000;

/** The server has heard of this governor after `since`. */
export function confirm(m: Machine, since: number): void {
  if (m.link.kind === "registered") m.confirmedAt = Math.max(m.confirmedAt, since);
}

/** To be called first in a step: what comes now may have waited for long. */
export function noticeGap(m: Machine): void {
  const gap = m.wakeAt === undefined ? 0 : m.now - m.wakeAt;
  if (gap > GAP_MS && m.leaseMs !== undefined && !m.inDoubt)
    doubt(m, `this process stood still for ${Math.round(gap / 1_000)} s`);
}

export function checkLease(m: Machine): void {
  const { leaseMs = 0 } = m;
  if (m.now < leaseEnd(m)) return;
  const seconds = (ms: number): number => Math.round(ms / 100) / 10;
  doubt(
    m,
    `the server has not answered for ${seconds(m.now - m.confirmedAt)} s of the lease of ${seconds(leaseMs)} s`,
  );
}

/** When the lease counts as lost; Infinity when it does already, there is none, or nothing would follow. */
export function leaseEnd(m: Machine): number {
  if (m.leaseMs === undefined || m.inDoubt) return Infinity;
  const matters = m.link.kind !== "down" || (m.config.onLost === "kill" && m.attempts.size > 0);
  return matters ? m.confirmedAt + PART * m.leaseMs : Infinity;
}

/** Nothing that was agreed on with the server counts before the next registration. */
function doubt(m: Machine, why: string): void {
  m.inDoubt = true;
  const kills = m.config.onLost === "kill";
  const open = [...m.attempts.values()].filter((attempt) => !isIn(attempt, "reported"));
  const then = kills ? `${open.length} attempts are given up` : `its ${open.length} attempts go on`;
  m.log("warn", `${why}: it may have given this governor up, which registers again; ${then}`);
  if (m.link.kind !== "down") {
    m.link = { kind: "down" };
    m.emit({ type: "reconnect", reason: why });
  }
  if (!kills) return;
  for (const attempt of open) {
    if (isIn(attempt, "running")) stopAttempt(m, attempt, "lost");
    else m.abandon(attempt);
  }
}

/** From TERM to KILL for programs of a lost lease: they must be gone when the server gives them to others. */
export const lostGraceMs = (m: Machine): number =>
  Math.min(m.config.killGraceMs, GRACE_PART * (m.leaseMs ?? Infinity));

/** Programs that were given up and are not dead yet: nobody may hear of this governor before they are. */
export function givenUp(m: Machine): boolean {
  if (!m.inDoubt || m.running === 0) return false;
  for (const attempt of m.attempts.values()) if (isIn(attempt, "running") && isGivenUp(attempt)) return true;
  return false;
}
export const isGivenUp = ({ phase }: AttemptIn<"running">): boolean => phase.stopping?.cause === "lost";
