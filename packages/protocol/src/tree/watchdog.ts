import { RainError } from "../errors.ts";

/** Notices when something that is waited for makes no progress. Time that the caller spends elsewhere does not count. */
export class Watchdog {
  readonly #timer: NodeJS.Timeout;
  #waits = 0;
  #since = 0;

  constructor(idleMs: number, onStall: (error: RainError) => void) {
    this.#timer = setInterval(
      () => {
        if (this.#waits === 0 || performance.now() - this.#since < idleMs) return;
        this.stop();
        const message = `tree: no byte came for ${idleMs} ms; the sender may be gone, try again`;
        onStall(new RainError("timeout", message, { limitMs: idleMs }));
      },
      Math.max(1, idleMs / 8),
    );
  }

  progress(): void {
    this.#since = performance.now();
  }

  async during<T>(wait: Promise<T>): Promise<T> {
    this.progress();
    this.#waits++;
    try {
      return await wait;
    } finally {
      this.#waits--;
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
