import { wrongType } from "./check.ts";
import { TimeoutError } from "./errors.ts";

/** How long to wait: at most `timeoutS` seconds (then `TimeoutError`), and until `signal` aborts (then its reason). */
export interface WaitOptions {
  readonly timeoutS?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const MAX_TIMER_MS = 2 ** 31 - 1; // a longer timer would fire at once

/**
 * A promise that ends with `start`'s, or when the wait's limits are reached. `start` begins to wait and returns the
 * function that gives up; it is called once when a limit is reached, and never otherwise.
 */
export function withLimits<T>(
  what: string,
  { timeoutS, signal }: WaitOptions,
  start: (resolve: (value: T) => void, reject: (error: unknown) => void) => () => void,
): Promise<T> {
  checkLimits(timeoutS);
  return new Promise<T>((resolve, reject) => {
    if (signal?.aborted) throw signal.reason;
    let giveUp: (() => void) | undefined;
    let timer: NodeJS.Timeout | undefined;
    let done = false;
    const end = (): void => {
      done = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    const stop = (error: unknown): void => {
      end();
      giveUp?.();
      reject(error);
    };
    const onAbort = (): void => stop(signal?.reason);
    giveUp = start(
      (value) => {
        end();
        resolve(value);
      },
      (error) => {
        end();
        reject(error);
      },
    );
    if (done) return;
    signal?.addEventListener("abort", onAbort);
    if (timeoutS === undefined) return;
    const late = (): void => stop(new TimeoutError(`${what}: not settled after ${timeoutS} s`, { timeoutS }));
    timer = setTimeout(late, Math.min(timeoutS * 1000, MAX_TIMER_MS));
  });
}

/** The same for an operation that takes an abort signal. */
export async function limitOperation<T>(
  what: string,
  { timeoutS, signal }: WaitOptions,
  run: (signal: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  checkLimits(timeoutS);
  if (timeoutS === undefined) return await run(signal);
  const late = new AbortController();
  const error = new TimeoutError(`${what}: not done after ${timeoutS} s`, { timeoutS });
  const timer = setTimeout(() => late.abort(error), Math.min(timeoutS * 1000, MAX_TIMER_MS));
  try {
    return await run(signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}

function checkLimits(timeoutS: number | undefined): void {
  if (timeoutS !== undefined && !(typeof timeoutS === "number" && timeoutS >= 0)) {
    throw wrongType(`timeoutS: must be a number of seconds, 0 or more, not ${String(timeoutS)}`);
  }
}
