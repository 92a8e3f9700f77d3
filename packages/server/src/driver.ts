import type { ServerCore, ServerEffect, ServerInput, ServerRecord } from "./core/index.ts";

/** Where records become durable: `release` is called in order of commit, once they are. */
export interface RecordSink {
  commit(records: readonly ServerRecord[], release: () => void): void;
}

/** Time, as the driver needs it. */
export interface Clock {
  /** Milliseconds that never go back. */
  now(): number;
  /** Calls `wake` once at `at`, or as soon as nothing else waits when that is now; replaces an earlier wish. */
  wakeAt(at: number, wake: () => void): void;
}

/** What the shell does. */
export interface Performer {
  perform(effect: ServerEffect): void;
  /** All effects of a step were performed. */
  performed(): void;
}

/**
 * Carries inputs to the core, its records to the journal, and its effects to the world, in this order: nothing that a
 * step says can be seen before what it rests on is on disk. The simulator drives the same class.
 */
export class ServerDriver {
  readonly #core: ServerCore;
  readonly #sink: RecordSink;
  readonly #clock: Clock;
  readonly #performer: Performer;
  #stopped = false;

  constructor(core: ServerCore, sink: RecordSink, clock: Clock, performer: Performer) {
    this.#core = core;
    this.#sink = sink;
    this.#clock = clock;
    this.#performer = performer;
  }

  input(input: ServerInput): void {
    if (this.#stopped) return;
    const step = this.#core.handle(input, this.#clock.now());
    const { effects } = step;
    // First, so that a tick at the end of this turn comes before the journal's write: they share it.
    if (step.wakeAt !== undefined) this.#clock.wakeAt(step.wakeAt, () => this.input({ type: "tick" }));
    if (step.records.length > 0 || effects.length > 0) {
      this.#sink.commit(step.records, () => {
        for (const effect of effects) this.#performer.perform(effect);
        this.#performer.performed();
      });
    }
  }

  /** Takes no more inputs; what is on its way to the disk still gets there. */
  stop(): void {
    this.#stopped = true;
  }
}
