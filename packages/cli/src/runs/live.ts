import type { TaskCounts } from "@rain/protocol";
import { escapeText } from "../escape.ts";
import { bold, table, type Column, type Io } from "../output.ts";
import type { RunManifest } from "./manifest.ts";
import { metricNames, metricValue, own, type Row } from "./rows.ts";
import { formatSpan, formatValue } from "./table.ts";
import { total, unsettled } from "./view.ts";
import { judgeOf, winner } from "./winner.ts";

/** A run while it goes on: as a table that is drawn over itself, or as one line for each trial that has ended. */

export interface RunNow {
  readonly manifest: RunManifest;
  /** Trials by number. */
  readonly rows: readonly Row[];
  readonly counts: TaskCounts;
}

/** Lines for the terminal: how it stands, and those trials that there is room for. */
export function liveLines(run: RunNow, io: Io, now: number): string[] {
  const { manifest, rows, counts } = run;
  const judge = judgeOf(manifest, rows);
  const best = judge && winner(rows, judge);
  const bestValue = best && judge && metricValue(best, judge.name);
  const done = total(counts) - unsettled(counts);
  const head = [
    `${manifest.name}: ${done} of ${total(counts)} ended, ${counts.running} running${counts.failed > 0 ? `, ${counts.failed} failed` : ""}`,
    ...(best && judge && bestValue !== undefined
      ? [`best ${judge.name} ${formatValue(bestValue)} (experiment ${best.experiment})`]
      : []),
  ].join("; ");
  const room = Math.max(1, (io.rows ?? 24) - 5);
  const chosen = chooseRows(rows, best, room);
  const columns = liveColumns(run, best, judge?.name, now);
  const text = table(
    columns.map(({ column }) => column),
    chosen.map((row) => columns.map(({ cell }) => cell(row))),
    { ...io, columns: undefined, colour: false },
  );
  const [title = "", ...lines] = text.split("\n");
  const hidden = rows.length - chosen.length;
  const width = (io.columns ?? 80) - 1;
  return [
    bold(cut(escapeText(head), width), io),
    cut(title, width),
    ...lines.map((line) => cut(line, width)),
    ...(hidden > 0 ? [cut(`... and ${hidden} more`, width)] : []),
  ];
}

const cut = (line: string, width: number): string => {
  const characters = [...line];
  return characters.length > width ? `${characters.slice(0, width - 1).join("")}…` : line;
};

/** The best, those that run, those that ended last, then the next ones: by number. */
function chooseRows(rows: readonly Row[], best: Row | undefined, room: number): readonly Row[] {
  if (rows.length <= room) return rows;
  const endOf = (row: Row): number => (row.startTime ?? 0) + (row.durationS ?? 0) * 1_000;
  const isRunning = (row: Row): boolean => row.state === "running" || row.state === "assigned";
  const ended = rows.filter((row) => row.durationS !== undefined).toSorted((a, b) => endOf(b) - endOf(a));
  const chosen = new Set<Row>();
  const take = (some: Iterable<Row>, upTo: number): void => {
    for (const row of some) if (chosen.size < upTo) chosen.add(row);
  };
  if (best) chosen.add(best);
  take(rows.filter(isRunning), Math.ceil(room * 0.7));
  take(ended, room);
  take(rows, room);
  return [...chosen].toSorted((a, b) => a.experiment - b.experiment);
}

interface LiveColumn {
  readonly column: Column;
  readonly cell: (row: Row) => string;
}

const MAX_METRICS = 3;
function liveColumns(
  { manifest, rows }: RunNow,
  best: Row | undefined,
  judged: string | undefined,
  now: number,
): LiveColumn[] {
  const names = metricNames(manifest, rows);
  const metrics = [
    ...(judged === undefined ? [] : [judged]),
    ...names.filter((name) => name !== judged),
  ].slice(0, MAX_METRICS);
  const right = "right" as const;
  const spent = (row: Row): number | undefined =>
    row.durationS ??
    (row.state === "running" && row.startTime !== undefined ? (now - row.startTime) / 1_000 : undefined);
  return [
    { column: { title: "" }, cell: (row) => (row === best ? "*" : "") },
    { column: { title: "EXPERIMENT", align: right }, cell: (row) => String(row.experiment) },
    ...manifest.swept.map((key): LiveColumn => ({
      column: { title: escapeText(key), align: right },
      cell: (row) => own(row.texts, key) ?? "-",
    })),
    { column: { title: "STATE" }, cell: stateText },
    ...metrics.map((name): LiveColumn => ({
      column: { title: escapeText(name), align: right },
      cell: (row) => {
        const value = metricValue(row, name);
        return value === undefined ? "-" : formatValue(value);
      },
    })),
    {
      column: { title: "TIME", align: right },
      cell: (row) => {
        const seconds = spent(row);
        return seconds === undefined ? "-" : formatSpan(Math.max(0, seconds));
      },
    },
  ];
}

const stateText = (row: Row): string => (row.cached && row.state === "finished" ? "cached" : row.state);

/** `experiment 3 finished in 1.2s: size=64 dropout=0.2, accuracy 0.91`. */
export function endLine(manifest: RunManifest, row: Row): string {
  const took = row.durationS === undefined || row.cached ? "" : ` in ${formatSpan(row.durationS)}`;
  const values = manifest.swept.map((key) => `${key}=${own(row.texts, key) ?? "-"}`).join(" ");
  const metrics = metricNames(manifest, [row]).map(
    (name) => `${name} ${formatValue(metricValue(row, name) ?? 0)}`,
  );
  const told = row.state === "finished" ? metrics : [row.failure?.message ?? "", ...metrics];
  const rest = [values, ...told].filter((text) => text !== "").join(", ");
  return escapeText(`experiment ${row.experiment} ${stateText(row)}${took}${rest === "" ? "" : `: ${rest}`}`);
}

/** Draws lines over those that were drawn before. */
export class Screen {
  readonly #io: Io;
  #drawn = 0;

  constructor(io: Io) {
    this.#io = io;
  }

  draw(lines: readonly string[]): void {
    const text = lines.map((line) => `${line}\u001b[K\n`).join("");
    this.#io.stdout(`${this.#back()}${text}\u001b[J`);
    this.#drawn = lines.length;
  }

  /** Takes away what was drawn: the result takes its place. */
  clear(): void {
    if (this.#drawn > 0) this.#io.stdout(`${this.#back()}\u001b[J`);
    this.#drawn = 0;
  }

  #back(): string {
    return this.#drawn === 0 ? "" : `\u001b[${this.#drawn}A\r`;
  }
}
