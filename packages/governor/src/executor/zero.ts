import { limits, type OutputReport } from "@rain/protocol";
import type { Stored } from "../store/index.ts";
import { failureOf, TaskProblem } from "./problem.ts";
import type { LogView } from "./logs.ts";
import type { EndedRun, RunEffect, Runner, RunOutcome } from "./types.ts";

export interface ZeroOptions {
  /** Puts bytes into the store, for good. */
  readonly put: (bytes: Uint8Array) => Promise<Stored>;
  /** All that end at once. */
  readonly onEnded: (runs: readonly EndedRun[]) => void;
}

/**
 * Runs nothing: every attempt ends at once and well, with empty blobs for outputs. It is for measuring what a task
 * costs beside its program. What it could only pretend to (a directory, a file that is stored) fails.
 */
export class ZeroExecutor implements Runner {
  readonly limits: Runner["limits"] = { memory: "off", processes: limits.taskProcesses };
  readonly #options: ZeroOptions;
  #running: RunEffect[] = [];
  #empty: Stored | undefined;
  #isDue = false;

  constructor(options: ZeroOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#empty = await this.#options.put(new Uint8Array());
  }

  run(effect: RunEffect): void {
    this.#running.push(effect);
    if (this.#isDue) return;
    this.#isDue = true;
    // Nothing is reported while the caller is still in `run`; what came in one turn ends in one.
    queueMicrotask(() => this.#endAll());
  }

  /** It will have ended before anybody could stop it. */
  terminate(): void {}
  forget(): void {}
  logFile(): LogView | undefined {
    return undefined;
  }
  stop(): Promise<void> {
    return Promise.resolve();
  }

  #endAll(): void {
    this.#isDue = false;
    const runs = this.#running;
    this.#running = [];
    this.#options.onEnded(runs.map((effect) => ({ ref: effect.ref, outcome: this.#outcome(effect) })));
  }

  #outcome({ spec }: RunEffect): RunOutcome {
    const empty = this.#empty;
    try {
      if (empty === undefined) throw new Error("it was not started");
      if (spec.work.type === "store")
        throw new TaskProblem("internal", "a governor started with --zero stores nothing");
      const outputs = spec.outputs.map(({ object, kind, label, contentType }): OutputReport => {
        if (kind === "blob") return { object, ...empty, contentType, data: NO_BYTES };
        throw new TaskProblem(
          "internal",
          `output ${label}: a governor started with --zero makes no directory`,
        );
      });
      return { ok: true, outputs, info: { durationS: 0 } };
    } catch (error) {
      return { ok: false, failure: failureOf(error), info: {} };
    }
  }
}

const NO_BYTES = new Uint8Array();
