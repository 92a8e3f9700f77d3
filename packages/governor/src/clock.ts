import { uptime } from "node:os";

/** A difference below this is the coarseness of the system's own figure, ms. */
const NOTICED_MS = 1_000;

/**
 * Milliseconds that never go back, and that go on while the machine is suspended: Node's own clock does not on Linux.
 * No step of the wall clock changes them.
 */
export class SteadyClock {
  readonly #awake: () => number;
  readonly #sinceBoot: () => number;
  /** What `sinceBoot` was ahead of `awake` at the start. */
  readonly #ahead: number;
  #asleep = 0;

  /** `sinceBoot` counts the time of suspension, `awake` does not; elsewhere than on Linux the system has no such pair. */
  constructor(
    awake: () => number = () => performance.now(),
    sinceBoot: () => number = process.platform === "linux" ? () => uptime() * 1_000 : awake,
  ) {
    this.#awake = awake;
    this.#sinceBoot = sinceBoot;
    this.#ahead = sinceBoot() - awake();
  }

  now(): number {
    const awake = this.#awake();
    const asleep = this.#sinceBoot() - awake - this.#ahead;
    if (asleep > this.#asleep + NOTICED_MS) this.#asleep = asleep;
    return awake + this.#asleep;
  }
}
