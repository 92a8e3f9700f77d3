import { Worker } from "node:worker_threads";
import { Random } from "./random.ts";
import type { OpenTarget, Outcome, Target } from "./target.ts";

export interface FuzzOptions {
  readonly target: Target;
  readonly seed: number;
  readonly runs: number;
  /** Stop after so long, whatever `runs` says. */
  readonly seconds?: number | undefined;
  /** How much the process may grow; default 512 MiB. */
  readonly balloonBytes?: number | undefined;
  readonly onProgress?: ((done: number, seconds: number) => void) | undefined;
}

interface Failure {
  readonly index: number;
  readonly what: string;
  readonly input: string;
}
export interface Summary {
  readonly target: string;
  readonly seed: number;
  readonly runs: number;
  readonly accepted: number;
  readonly refused: number;
  readonly seconds: number;
  readonly slowest: { readonly index: number; readonly ms: number };
  /** Growth of the process over the run. */
  readonly grownBytes: number;
  readonly failures: readonly Failure[];
}

/** Inputs are small. One that takes longer is tried again, since the machine may be busy. */
const SLOW_MS = 1_000;
const TRIES = 3;
/** One that does not work so long, and so waits, is slow when the one before it takes less than this part of its time. */
const WAITS = 0.2;
/** One that does not come back ends the process. */
const HANG_MS = 60_000;
/** More than garbage that was not collected yet. */
const BALLOON_BYTES = 512 * 2 ** 20;
const LOOK_EVERY = 2_048;

/** How to see one input again. */
export const again = (target: string, seed: number, index: number | string): string =>
  `npm run fuzz -- --target ${target} --seed ${seed} --only ${index}`;

/** Runs inputs 0, 1, ... of a seed. Stops at the first failure. */
export async function fuzz(options: FuzzOptions): Promise<Summary> {
  const open = await options.target.open();
  const watch = watchForHang(options);
  const stackLimit = Error.stackTraceLimit;
  // Most inputs end in an error, and a stack costs more than all the rest. A failure is run again with one.
  Error.stackTraceLimit = 0;
  const onCrash = (error: Error): void => {
    process.stderr.write(
      `Near input ${watch.last()}, ${again(options.target.name, options.seed, watch.last())}:\n`,
    );
    process.stderr.write(`${textOf(error)}\n`);
  };
  process.on("uncaughtExceptionMonitor", onCrash);
  try {
    const summary = await new Run(options, open, watch).toEnd();
    Error.stackTraceLimit = stackLimit;
    return {
      ...summary,
      failures: await Promise.all(summary.failures.map((each) => explain(options, each))),
    };
  } finally {
    Error.stackTraceLimit = stackLimit;
    process.off("uncaughtExceptionMonitor", onCrash);
    await watch.end();
    await open.close?.();
  }
}

/** Runs one input and tells what came of it, and how long it took. */
export async function fuzzOne(target: Target, seed: number, index: number): Promise<string> {
  const open = await target.open();
  try {
    const input = open.show(new Random().restart(seed, index));
    const started = performance.now();
    const outcome = await outcomeOf(open, new Random().restart(seed, index));
    return `${input}\n${outcome} in ${(performance.now() - started).toFixed(2)} ms`;
  } finally {
    await open.close?.();
  }
}

async function outcomeOf(open: OpenTarget, random: Random): Promise<string> {
  try {
    return await open.run(random);
  } catch (error) {
    return `FAILED: ${textOf(error)}`;
  }
}
const textOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? String(error)) : String(error);

async function explain({ target, seed }: FuzzOptions, failure: Failure): Promise<Failure> {
  const open = await target.open();
  const random = new Random();
  try {
    const outcome = await outcomeOf(open, random.restart(seed, failure.index));
    return { ...failure, what: outcome.startsWith("FAILED") ? `${failure.what}\n${outcome}` : failure.what };
  } finally {
    await open.close?.();
  }
}

class Run {
  readonly #options: FuzzOptions;
  readonly #open: OpenTarget;
  readonly #watch: Watch;
  readonly #started = performance.now();
  readonly #failures: Failure[] = [];
  #next = 0;
  #accepted = 0;
  #refused = 0;
  #slowest = { index: 0, ms: 0 };
  #rss = process.memoryUsage.rss();
  #grown = 0;

  constructor(options: FuzzOptions, open: OpenTarget, watch: Watch) {
    this.#options = options;
    this.#open = open;
    this.#watch = watch;
  }

  async toEnd(): Promise<Summary> {
    const lanes = Array.from({ length: this.#options.target.atOnce ?? 1 }, () => this.#lane());
    await Promise.all(lanes);
    if (this.#failures.length === 0) await this.#check();
    return {
      target: this.#options.target.name,
      seed: this.#options.seed,
      runs: this.#accepted + this.#refused + this.#failures.length,
      accepted: this.#accepted,
      refused: this.#refused,
      seconds: (performance.now() - this.#started) / 1_000,
      slowest: this.#slowest,
      grownBytes: this.#grown,
      failures: this.#failures,
    };
  }

  async #lane(): Promise<void> {
    const random = new Random();
    const { seed, runs } = this.#options;
    while (this.#next < runs && this.#failures.length === 0 && !this.#isOver()) {
      const index = this.#next++;
      const started = performance.now();
      this.#watch.begin(index);
      try {
        const outcome = this.#open.run(random.restart(seed, index));
        // Awaiting what is there already would be most of the time of a decoder.
        this.#count(typeof outcome === "string" ? outcome : await outcome);
      } catch (error) {
        this.#fail(index, textOf(error));
      }
      const again = this.#time(index, performance.now() - started, random);
      if (again !== undefined) await again;
      if (index % LOOK_EVERY === LOOK_EVERY - 1) await this.#look(index);
    }
  }

  #isOver(): boolean {
    const { seconds } = this.#options;
    return seconds !== undefined && performance.now() - this.#started > seconds * 1_000;
  }

  #count(outcome: Outcome): void {
    if (outcome === "accepted") this.#accepted++;
    else this.#refused++;
  }

  #fail(index: number, what: string): void {
    const { seed } = this.#options;
    this.#failures.push({ index, what, input: this.#open.show(new Random().restart(seed, index)) });
  }

  /** Called for every input: what is rare is elsewhere. */
  #time(index: number, ms: number, random: Random): Promise<void> | undefined {
    if (ms > this.#slowest.ms) this.#slowest = { index, ms };
    return ms > (this.#options.target.slowMs ?? SLOW_MS) ? this.#tryAgain(index, ms, random) : undefined;
  }

  async #tryAgain(index: number, first: number, random: Random): Promise<void> {
    const limit = this.#options.target.slowMs ?? SLOW_MS;
    const times = [first];
    const [works, others]: [number[], number[]] = [[], []];
    while (times.length < TRIES && (times.at(-1) ?? 0) > limit) {
      const { ms, worksMs } = await this.#timed(index, random);
      times.push(ms);
      works.push(worksMs);
      others.push((await this.#timed(Math.max(0, index - 1), random)).ms);
    }
    if (times.some((ms) => ms <= limit)) return;
    const isBusy = Math.max(...others) > WAITS * Math.min(...times);
    if (works.some((ms) => ms <= limit) && isBusy) return;
    this.#fail(index, `it took ${times.map((ms) => ms.toFixed(0)).join(", ")} ms; ${limit} are allowed`);
  }

  /** How long an input takes, and how long this process works meanwhile. */
  async #timed(index: number, random: Random): Promise<{ readonly ms: number; readonly worksMs: number }> {
    const [started, used] = [performance.now(), process.cpuUsage()];
    await outcomeOf(this.#open, random.restart(this.#options.seed, index));
    const { user, system } = process.cpuUsage(used);
    return { ms: performance.now() - started, worksMs: (user + system) / 1_000 };
  }

  async #look(index: number): Promise<void> {
    const grown = process.memoryUsage.rss() - this.#rss;
    this.#grown = Math.max(this.#grown, grown);
    if (grown > (this.#options.balloonBytes ?? BALLOON_BYTES)) {
      this.#fail(index, `the process grew by ${grown} bytes; one of the ${LOOK_EVERY} inputs up to this`);
    }
    this.#options.onProgress?.(index + 1, (performance.now() - this.#started) / 1_000);
    await this.#check();
    // Timers and sockets get their turn.
    await new Promise<void>((done) => setImmediate(done));
  }

  async #check(): Promise<void> {
    try {
      await this.#open.check?.();
    } catch (error) {
      this.#fail(this.#next - 1, `one of the inputs up to this did harm: ${textOf(error)}`);
    }
  }
}

interface Watch {
  begin(index: number): void;
  last(): number;
  end(): Promise<void>;
}

/** A thread that ends the process when an input does not come back: a loop without end cannot be stopped from within. */
function watchForHang({ target, seed }: FuzzOptions): Watch {
  const shared = new Int32Array(new SharedArrayBuffer(4));
  const code = `
    const { workerData: { shared, limitMs, text } } = require("node:worker_threads");
    let last = -1, since = Date.now();
    setInterval(() => {
      const now = Atomics.load(shared, 0);
      if (now !== last) { last = now; since = Date.now(); return; }
      if (Date.now() - since < limitMs) return;
      require("node:fs").writeSync(2, text.replaceAll("INDEX", String(now)));
      process.kill(process.pid, "SIGKILL");
    }, limitMs / 10);
  `;
  const text = `Input INDEX did not come back in ${HANG_MS / 1_000} s: ${again(target.name, seed, "INDEX")}\n`;
  const thread = new Worker(code, {
    eval: true,
    execArgv: [],
    workerData: { shared, limitMs: HANG_MS, text },
  });
  thread.unref();
  return {
    begin: (index) => void Atomics.store(shared, 0, index),
    last: () => Atomics.load(shared, 0),
    end: async () => void (await thread.terminate()),
  };
}
