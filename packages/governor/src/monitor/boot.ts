import { uptime } from "node:os";

/** Of /proc, in which times are told: so many a second. */
const CLOCK_TICKS = 100;
/** How long what was read of the system's clock is used, ms: reading it costs three system calls. */
const TRUST_MS = 1_000;

let ahead = 0;
let readAt = Number.NEGATIVE_INFINITY;

/**
 * Clock ticks since boot, as `/proc/<pid>/stat` tells when a process began; never later than it is. Time in which the
 * machine was suspended counts, some of it a little late.
 */
export function ticksSinceBoot(): number {
  const now = performance.now();
  if (now - readAt > TRUST_MS) {
    ahead = uptime() * 1_000 - now;
    readAt = now;
  }
  return Math.floor(((now + ahead) / 1_000) * CLOCK_TICKS) - 1;
}
