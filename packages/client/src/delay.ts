import { setTimeout as sleep } from "node:timers/promises";

/** Waits; rejects with the reason when the signal aborts. */
export async function delay(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}

const FIRST_MS = 50;
const LAST_MS = 2_000;

/**
 * The pause before try number `attempt` (from 1): doubled each time up to 2 s, of which a random half, so that many
 * clients of a server that comes back do not all knock at once.
 */
export function backoff(attempt: number): number {
  const full = Math.min(FIRST_MS * 2 ** Math.min(attempt - 1, 16), LAST_MS);
  return full / 2 + (Math.random() * full) / 2;
}
