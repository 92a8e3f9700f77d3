import { uptime } from "node:os";

/** A difference below this is the coarseness of the system's own figure, ms. */
const NOTICED_MS = 1_000;
/** What the system says is asked for when so much time has passed, ... */
const LOOK_MS = 1_000;
/** ... and when the wall clock, which goes on in a suspension, has moved by more than this against Node's own. */
const JUMP_MS = 100;

/**
 * Milliseconds that never go back, and that go on while the machine is suspended: Node's own clock does not on Linux.
 * No step of the wall clock changes them.
 */
export class SteadyClock {
  readonly #awake: () => number;
  readonly #sinceBoot: () => number;
  readonly #wall: () => number;
  /** What `sinceBoot` was ahead of `awake` at the start. */
  readonly #ahead: number;
  #asleep = 0;
  #lookedAt: number;
  /** What `wall` was ahead of `awake` then. */
  #wallAhead: number;

  /**
   * `sinceBoot` counts the time of suspension, `awake` does not; elsewhere than on Linux the system has no such pair.
   * `wall` may jump for other reasons: it only tells when to look.
   */
  constructor(
    awake: () => number = () => performance.now(),
    sinceBoot: () => number = process.platform === "linux" ? () => uptime() * 1_000 : awake,
    wall: () => number = () => Date.now(),
  ) {
    this.#awake = awake;
    this.#sinceBoot = sinceBoot;
    this.#wall = wall;
    this.#lookedAt = awake();
    this.#ahead = sinceBoot() - this.#lookedAt;
    this.#wallAhead = wall() - this.#lookedAt;
  }

  now(): number {
    const awake = this.#awake();
    const wallAhead = this.#wall() - awake;
    // The system's figure is three system calls away.
    if (awake - this.#lookedAt < LOOK_MS && Math.abs(wallAhead - this.#wallAhead) < JUMP_MS)
      return awake + this.#asleep;
    this.#lookedAt = awake;
    this.#wallAhead = wallAhead;
    const asleep = this.#sinceBoot() - awake - this.#ahead;
    if (asleep > this.#asleep + NOTICED_MS) this.#asleep = asleep;
    return awake + this.#asleep;
  }
}
