import type { Io } from "../output.ts";

/** Progress of long work, for people: one line on stderr that is written over. Nothing where stdout is no terminal. */
export class Progress {
  readonly #io: Io;
  #width = 0;

  constructor(io: Io) {
    this.#io = io;
  }

  show(text: string): void {
    if (this.#io.columns === undefined) return;
    const line = text.slice(0, this.#io.columns - 1);
    this.#io.stderr(`\r${line.padEnd(this.#width)}`);
    this.#width = line.length;
  }

  /** Leaves an empty line. */
  done(): void {
    if (this.#width > 0) this.#io.stderr(`\r${" ".repeat(this.#width)}\r`);
    this.#width = 0;
  }
}
