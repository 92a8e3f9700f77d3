import { readMemory, type ProcessTable } from "./processes.ts";

/** Milliseconds after its start at which a run is first looked at; later ones come every `EVERY_MS`. */
const FIRST_MS = [20, 100];
const EVERY_MS = 500;
/** For a run that asked to be watched closely, and for one whose memory is limited. */
const CLOSELY_MS = 50;
const LIMITED_MS = 150;
/** Processes of one run whose memory is looked at in one sample: to look at one takes some 30 us. */
const LOOKED_AT = 1_000;

/** The living processes of a run, and their resident memory together; what they share counts for each. */
export interface Family {
  readonly pids: readonly number[];
  readonly memory: number;
}

export interface Watch {
  /** Ends the watching. Answers the peak of resident memory in bytes; undefined when the run was never sampled. */
  stop(): number | undefined;
}

interface Watched {
  readonly attempt: string;
  readonly launcher: number;
  readonly startedAt: number;
  readonly onSample: (family: Family) => Promise<boolean>;
  readonly everyMs: number;
  due: number;
  peak: number | undefined;
}

/**
 * Samples the memory of running tasks, all of them by one timer. The figure of a run is the largest peak (VmHWM) of
 * any single process of its family, as `time -v` reports it: a sum over the family would count shared pages again for
 * every fork. A process that is gone before the first sample is not seen.
 */
export class UsageMonitor {
  readonly #table: ProcessTable;
  readonly #onError: (error: unknown) => void;
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;
  #timerDue = Number.POSITIVE_INFINITY;
  #sampling = false;

  constructor(table: ProcessTable, onError: (error: unknown) => void) {
    this.#table = table;
    this.#onError = onError;
  }

  /** `onSample` runs at every sample of this run; true asks for the next one soon. `limited`: its memory is. */
  watch(
    attempt: string,
    launcher: number,
    onSample: (family: Family) => Promise<boolean>,
    limited: boolean = false,
  ): Watch {
    const startedAt = performance.now();
    const due = startedAt + (FIRST_MS[0] ?? EVERY_MS);
    const everyMs = limited ? LIMITED_MS : EVERY_MS;
    const watched: Watched = { attempt, launcher, startedAt, onSample, everyMs, due, peak: undefined };
    this.#watched.add(watched);
    this.#arm(due);
    return {
      stop: () => {
        this.#watched.delete(watched);
        return watched.peak;
      },
    };
  }

  #arm(due: number): void {
    if (this.#sampling || due >= this.#timerDue) return;
    clearTimeout(this.#timer);
    this.#timerDue = due;
    const fire = (): void => {
      this.#sample().catch(this.#onError);
    };
    this.#timer = setTimeout(fire, Math.max(1, due - performance.now())).unref();
  }

  async #sample(): Promise<void> {
    this.#timerDue = Number.POSITIVE_INFINITY;
    this.#sampling = true;
    try {
      const now = performance.now();
      const due = [...this.#watched].filter((watched) => watched.due <= now + 1);
      for (const watched of due) watched.due = nextDue(watched, now);
      if (due.length > 0) await this.#measure(due);
    } finally {
      this.#sampling = false;
      let next = Number.POSITIVE_INFINITY;
      for (const watched of this.#watched) next = Math.min(next, watched.due);
      if (next < Number.POSITIVE_INFINITY) this.#arm(next);
    }
  }

  async #measure(due: readonly Watched[]): Promise<void> {
    const byLauncher = new Map(due.map((watched) => [watched.launcher, watched]));
    const byAttempt = new Map(due.map((watched) => [watched.attempt, watched]));
    const families = new Map<Watched, { pids: number[]; memory: number }>();
    for (const found of await this.#table.scan()) {
      const watched =
        (found.attempt === undefined ? undefined : byAttempt.get(found.attempt)) ??
        (found.launcher === undefined ? undefined : byLauncher.get(found.launcher));
      if (watched === undefined) continue;
      const family = families.get(watched) ?? { pids: [], memory: 0 };
      families.set(watched, family);
      family.pids.push(found.pid);
      const memory = family.pids.length > LOOKED_AT ? undefined : readMemory(found.pid);
      if (memory === undefined) continue;
      watched.peak = Math.max(watched.peak ?? 0, memory.peak);
      family.memory += memory.now;
    }
    for (const watched of due) {
      if (!this.#watched.has(watched)) continue;
      if (await watched.onSample(families.get(watched) ?? { pids: [], memory: 0 }))
        watched.due = Math.min(watched.due, performance.now() + CLOSELY_MS);
    }
  }
}

function nextDue(watched: Watched, now: number): number {
  const first = FIRST_MS.find((ms) => watched.startedAt + ms > now);
  return first === undefined ? now + watched.everyMs : watched.startedAt + first;
}
