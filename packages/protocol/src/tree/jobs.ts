/** Runs jobs beside one another, a bounded number holding a bounded number of bytes. The first failure ends it. */
export class Jobs {
  readonly #maxJobs: number;
  readonly #maxBytes: number;
  readonly #running = new Set<Promise<void>>();
  #bytes = 0;
  #failed = false;
  #failure: unknown;

  constructor(maxJobs: number, maxBytes: number) {
    this.#maxJobs = maxJobs;
    this.#maxBytes = maxBytes;
  }

  /** Starts a job once there is room. Throws what an earlier one failed with. */
  async start(bytes: number, job: () => Promise<void>): Promise<void> {
    while (this.#running.size >= this.#maxJobs || (this.#bytes > 0 && this.#bytes + bytes > this.#maxBytes))
      await Promise.race(this.#running);
    this.#check();
    this.#bytes += bytes;
    const running: Promise<void> = job()
      .catch((error: unknown) => {
        this.#failure ??= error;
        this.#failed = true;
      })
      .finally(() => {
        this.#running.delete(running);
        this.#bytes -= bytes;
      });
    this.#running.add(running);
  }

  /** Waits for all, also after a failure. */
  async settle(): Promise<void> {
    await Promise.all(this.#running);
  }
  async done(): Promise<void> {
    await this.settle();
    this.#check();
  }

  #check(): void {
    if (this.#failed) throw this.#failure;
  }
}
