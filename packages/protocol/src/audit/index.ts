import { mkdirSync, closeSync, constants, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { AuditEntry } from "../link/types.ts";

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;

/** Size of one file, and how many old ones are kept beside it. */
const MAX_BYTES = 8_388_608;
const KEPT = 4;

/** The audit log: one JSON line for each thing that a peer did or was refused, in `audit.jsonl`, 0600. */
export class AuditLog {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #onProblem: (error: unknown) => void;
  #fd: number;
  #size: number;
  #failing = false;

  /** `onProblem` is told when lines cannot be written; once, until they can again. */
  constructor(folder: string, onProblem: (error: unknown) => void, maxBytes: number = MAX_BYTES) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#path = join(folder, "audit.jsonl");
    this.#maxBytes = maxBytes;
    this.#onProblem = onProblem;
    [this.#fd, this.#size] = this.#open();
  }

  get path(): string {
    return this.#path;
  }

  write(entry: AuditEntry): void {
    const line = Buffer.from(`${JSON.stringify({ time: new Date().toISOString(), ...entry })}\n`);
    try {
      if (this.#size > 0 && this.#size + line.length > this.#maxBytes) this.#rotate();
      // Appended in one call, so that a line is whole or absent.
      this.#size += writeSync(this.#fd, line);
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#onProblem(error);
      this.#failing = true;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** audit.jsonl becomes audit.1.jsonl, and so on; the oldest is overwritten. */
  #rotate(): void {
    const old = (index: number): string =>
      index === 0 ? this.#path : this.#path.replace(/\.jsonl$/, `.${index}.jsonl`);
    for (let index = KEPT - 1; index >= 0; index--) {
      try {
        renameSync(old(index), old(index + 1));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    }
    closeSync(this.#fd);
    [this.#fd, this.#size] = this.#open();
  }

  #open(): [fd: number, size: number] {
    const fd = openSync(this.#path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
    return [fd, fstatSync(fd).size];
  }
}
