import { TaskProblem } from "./problem.ts";

/** The wish to end one run early: asked from outside at any time, obeyed by whatever the run is doing. */
export class Stop {
  #signal: "SIGTERM" | "SIGKILL" | undefined;
  #listener: ((force: boolean) => void) | undefined;

  request(force: boolean): void {
    if (force || this.#signal === undefined) this.#signal = force ? "SIGKILL" : "SIGTERM";
    this.#listener?.(force);
  }

  /** Throws when the run was asked to stop. */
  check(): void {
    if (this.#signal === undefined) return;
    throw new TaskProblem("signal", `the task was stopped by ${this.#signal} before its program ran`, {
      signal: this.#signal,
    });
  }

  /** `listener` hears of every later request; the last one registered counts. */
  listen(listener: ((force: boolean) => void) | undefined): void {
    this.#listener = listener;
  }

  get signal(): "SIGTERM" | "SIGKILL" | undefined {
    return this.#signal;
  }
}
