import type { TaskCounts, TaskState } from "@rain/protocol";
import { formatDuration, table, type Column, type Io } from "../output.ts";
import type { FoundRun } from "./open.ts";

/** How a run stands. `stopped`: something was cancelled, and nothing runs any more. */
export type RunState = "empty" | "running" | "finished" | "failed" | "stopped";

/** A run in `-o json`. */
export interface RunJson {
  readonly name: string;
  readonly session: number;
  readonly kind: "sweep" | "completions";
  readonly state: RunState;
  readonly description: string | null;
  /** ISO 8601. */
  readonly created: string;
  readonly program: readonly string[];
  readonly words: readonly string[];
  readonly strategy: string | null;
  readonly seed: number;
  readonly repeat: number | null;
  readonly swept: readonly string[];
  readonly metric: { readonly name: string; readonly goal: "min" | "max" | null } | null;
  readonly trials: number;
  readonly counts: TaskCounts;
}

const pending: readonly TaskState[] = ["waiting", "ready", "assigned", "running"];
/** Trials that have not ended. */
export const unsettled = (counts: TaskCounts): number =>
  pending.reduce((sum, state) => sum + counts[state], 0);
export const total = (counts: TaskCounts): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

export function runState(counts: TaskCounts): RunState {
  if (total(counts) === 0) return "empty";
  if (unsettled(counts) > 0) return "running";
  if (counts.cancelled > 0) return "stopped";
  return counts.failed + counts.aborted > 0 ? "failed" : "finished";
}

export const runJson = ({ view, manifest }: FoundRun): RunJson => ({
  name: manifest.name,
  session: view.session,
  kind: manifest.kind,
  state: runState(view.counts),
  description: manifest.description ?? null,
  created: new Date(manifest.created).toISOString(),
  program: manifest.program,
  words: manifest.words,
  strategy: manifest.strategy ?? null,
  seed: manifest.seed,
  repeat: manifest.repeat ?? null,
  swept: manifest.swept,
  metric: manifest.metric ? { name: manifest.metric.name, goal: manifest.metric.goal ?? null } : null,
  trials: total(view.counts),
  counts: view.counts,
});

const order: readonly TaskState[] = [
  "finished",
  "running",
  "assigned",
  "ready",
  "waiting",
  "failed",
  "aborted",
  "cancelled",
];
/** `9 finished, 3 failed`. */
export function countsText(counts: TaskCounts): string {
  const parts = order.filter((state) => counts[state] > 0).map((state) => `${counts[state]} ${state}`);
  return parts.length === 0 ? "no trials" : parts.join(", ");
}

/** `3m 20s`, of a time in milliseconds since 1970. */
export const formatAge = (since: number, now: number): string => formatDuration((now - since) / 1_000);

const columns: readonly Column[] = [
  { title: "RUN", flexible: true },
  { title: "SESSION", align: "right" },
  { title: "STATE" },
  { title: "AGE", align: "right" },
  { title: "TRIALS", align: "right" },
  { title: "DONE", flexible: true },
];
export function runTable(runs: readonly RunJson[], io: Io, now: number): string {
  const rows = runs.map((run) => [
    run.name,
    String(run.session),
    run.state,
    formatAge(Date.parse(run.created), now),
    String(run.trials),
    countsText(run.counts),
  ]);
  return table(columns, rows, io);
}
