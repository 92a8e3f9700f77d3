import { createHash, type Hash } from "node:crypto";
import type { Bugs } from "./bugs.ts";
import type { Run } from "./executor.ts";
import { Loop } from "./loop.ts";
import { Random } from "./random.ts";

/** Of every simulated cluster: its journal carries it. */
export const CLUSTER_ID = "simulation";

/** A rule of the product that a history broke. */
export class Violation extends Error {
  readonly rule: string;
  constructor(rule: string, text: string, options?: { cause?: unknown }) {
    super(`${rule}: ${text}`, options);
    this.name = "Violation";
    this.rule = rule;
  }
}

export interface WorldOptions {
  readonly seed: number;
  /** Gets every line of the log as it is written. */
  readonly onLine?: ((line: string) => void) | undefined;
  /** Deliberately broken parts. */
  readonly bugs?: Bugs | undefined;
}

const LAST_LINES = 50;

/** What all parts of one history share: chance, time, the log, and the first broken rule. */
export class World {
  readonly seed: number;
  readonly random: Random;
  readonly loop: Loop = new Loop();
  readonly bugs: Bugs;
  violation: Violation | undefined;
  /** Told of every program that starts. */
  readonly onRun: ((run: Run, governor: string) => void)[] = [];
  /** Runs that take longer than their programs say, ms. */
  readonly stretched: Map<Run, number> = new Map();
  /** The server's machine lost its power at some time: hints may be gone. */
  lostPower = false;
  /** Governors that were drained and told to stop. */
  drained = 0;
  /** Names of governors that an operator wanted to drain. */
  readonly drainAsked: Set<string> = new Set();
  faults = 0;
  /** Which request made each version of a datastore, as clients were told. */
  readonly datastores: Map<string, string> = new Map();
  /** Tasks that were taken from the cache. */
  cached = 0;
  readonly #hash: Hash = createHash("sha256");
  readonly #last: string[] = [];
  readonly #onLine: ((line: string) => void) | undefined;

  constructor(options: WorldOptions) {
    this.seed = options.seed;
    this.random = new Random(options.seed);
    this.bugs = options.bugs ?? {};
    this.#onLine = options.onLine;
  }

  log(text: string): void {
    const line = `${this.loop.now.toFixed(3).padStart(11)} ${text}`;
    this.#hash.update(line);
    this.#last.push(line);
    if (this.#last.length > 2 * LAST_LINES) this.#last.splice(0, LAST_LINES);
    this.#onLine?.(line);
  }

  /** The history ends here. Remembered too, in case something on the way up swallows what is thrown. */
  violate(rule: string, text: string, cause?: unknown): never {
    const violation = new Violation(rule, text, { cause });
    this.violation ??= violation;
    this.log(`VIOLATION ${rule}: ${text}`);
    throw violation;
  }
  check(holds: boolean, rule: string, text: () => string): void {
    if (!holds) this.violate(rule, text());
  }

  get lastLines(): readonly string[] {
    return this.#last.slice(-LAST_LINES);
  }
  /** Of the whole log so far. Call it once, at the end. */
  digest(): string {
    return this.#hash.digest("hex");
  }
}
