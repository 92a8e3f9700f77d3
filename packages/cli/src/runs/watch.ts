import { setTimeout as sleep } from "node:timers/promises";
import type { Results, Session } from "@rain/client";
import { settledStates, type ResultRow, type TaskCounts } from "@rain/protocol";
import type { Context } from "../context.ts";
import { endLine, liveLines, Screen } from "./live.ts";
import type { RunManifest } from "./manifest.ts";
import { trialRows, type Row } from "./rows.ts";
import { unsettled } from "./view.ts";

/** How a run ended, or that the user does not look any more. */
export interface WatchedRun {
  readonly rows: readonly Row[];
  readonly counts: TaskCounts;
  /** The signal by which the user left; the run goes on. */
  readonly left?: NodeJS.Signals;
}

/** Time between two looks: short at first, for runs that are over in a moment. */
const FIRST_MS = 100;
const LATER_MS = 500;
const FIRST_LOOKS = 50;

/**
 * Shows a run until all of its trials have ended, or a signal comes. With `-o json` nothing is printed. What ended
 * `before` is known to the user.
 */
export async function watchRun(
  context: Context,
  session: Session,
  manifest: RunManifest,
  before?: Results,
): Promise<WatchedRun> {
  const leaving = new AbortController();
  let left: NodeJS.Signals | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    left = name;
    leaving.abort();
  };
  for (const name of SIGNALS) process.once(name, onSignal);
  const view = new View(context, manifest);
  if (before !== undefined) view.take(before, true);
  try {
    for (let looks = 0; ; looks++) {
      const results = await untilLeft(() => session.results({ since: view.since }), leaving.signal);
      if (results !== undefined) view.take(results);
      const counts = view.since?.counts;
      if (counts !== undefined && (left !== undefined || unsettled(counts) === 0))
        return { rows: view.rows(), counts, ...(left !== undefined && { left }) };
      if (left !== undefined) return { rows: [], counts: await countsOf(session), left };
      view.draw();
      await untilLeft(() => sleep(looks < FIRST_LOOKS ? FIRST_MS : LATER_MS), leaving.signal);
    }
  } finally {
    view.close();
    for (const name of SIGNALS) process.off(name, onSignal);
  }
}
const SIGNALS: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM"];

const countsOf = async (session: Session): Promise<TaskCounts> => (await session.info()).counts;

/** The value; undefined when the signal fires before. */
async function untilLeft<T>(ask: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  if (signal.aborted) return undefined;
  let stop = (): void => undefined;
  const aborted = new Promise<undefined>((resolve) => {
    stop = () => resolve(undefined);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([ask(), aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** What is known of the run, and what the user sees of it. */
class View {
  since: Results | undefined;
  readonly #context: Context;
  readonly #manifest: RunManifest;
  readonly #screen: Screen | undefined;
  readonly #results = new Map<number, ResultRow>();
  /** The newest row of each trial. */
  readonly #trials = new Map<number, Row>();

  constructor(context: Context, manifest: RunManifest) {
    this.#context = context;
    this.#manifest = manifest;
    const { io, globals } = context;
    this.#screen = io.columns !== undefined && globals.output !== "json" ? new Screen(io) : undefined;
  }

  take(results: Results, isKnown = false): void {
    this.since = results;
    const isQuiet = isKnown || this.#screen !== undefined || this.#context.globals.output === "json";
    for (const result of results.rows) this.#results.set(result.task, result);
    for (const row of trialRows(results.rows)) {
      const before = this.#trials.get(row.experiment);
      if (before !== undefined && before.task > row.task) continue;
      this.#trials.set(row.experiment, row);
      if (isQuiet || !hasEnded(row) || (before?.task === row.task && hasEnded(before))) continue;
      this.#context.io.stdout(`${endLine(this.#manifest, row)}\n`);
    }
  }

  draw(): void {
    if (this.#screen === undefined || this.since === undefined) return;
    const { counts } = this.since;
    const rows = [...this.#trials.values()].toSorted((a, b) => a.experiment - b.experiment);
    this.#screen.draw(liveLines({ manifest: this.#manifest, rows, counts }, this.#context.io, Date.now()));
  }

  rows(): readonly Row[] {
    return trialRows([...this.#results.values()].toSorted((a, b) => a.task - b.task));
  }

  close(): void {
    this.#screen?.clear();
  }
}

const hasEnded = ({ state }: Row): boolean => settledStates.some((settled) => settled === state);
