import { escapeText } from "../escape.ts";
import { formatDuration, table, type Column, type Io } from "../output.ts";
import type { Goal, RunManifest } from "./manifest.ts";
import { metricNames, metricValue, own, parameterNames, type Row } from "./rows.ts";
import {
  groupRepeats,
  isBetter,
  judgeOf,
  meanOf,
  missingMetric,
  winner,
  winningGroup,
  type Group,
  type Judge,
  type Mean,
} from "./winner.ts";

/** The table of results, for people: one line a trial, or a combination where trials repeat. */

export interface TableOptions {
  /** All parameters, not only those that vary; and every repeat on a line of its own. */
  readonly all?: boolean | undefined;
  /** Judge by this metric. */
  readonly metric?: string | undefined;
  /** Order by a metric (the best first), a parameter, `duration` or `cost`; default: by number. */
  readonly sort?: string | undefined;
  /** The most lines; default: all. */
  readonly limit?: number | undefined;
}

/** One line of the table. */
interface Line {
  readonly experiment: string;
  readonly rows: readonly Row[];
  readonly texts: Readonly<Record<string, string>>;
  readonly metric: (name: string) => Mean | undefined;
  readonly state: string;
  readonly durationS: number | undefined;
  readonly cost: number | undefined;
  readonly isBest: boolean;
}

/** A measured number for people: six digits are enough to tell two trials apart. */
export function formatValue(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  return Number.isInteger(value) && Math.abs(value) < 1e15
    ? String(value)
    : String(Number(value.toPrecision(6)));
}

/** `0.91`, or of several values `0.91 ± 0.02`. */
export function formatMean({ mean, sd }: Mean): string {
  return sd === undefined || Number.isNaN(sd)
    ? formatValue(mean)
    : `${formatValue(mean)} ± ${String(Number(sd.toPrecision(2)))}`;
}

export const formatCost = (cost: number): string => (cost === 0 ? "0" : cost.toPrecision(3));

/** Is each line of the table a combination, with the mean of its repeats? */
const isGrouped = (manifest: RunManifest, all: boolean | undefined): boolean =>
  (manifest.repeat ?? 1) > 1 && all !== true;

/**
 * The table with its notes: who won, what failed, what is missing. It fits the terminal: columns that do not are left
 * out, the least telling first, and a note says which.
 */
export function resultTable(
  manifest: RunManifest,
  rows: readonly Row[],
  io: Io,
  options: TableOptions = {},
): string {
  const judge = judgeOf(manifest, rows, options.metric);
  const lines = sortLines(linesOf(manifest, rows, judge, options.all), options.sort, manifest);
  const shown = lines.slice(0, options.limit ?? lines.length);
  const { text, left } = fittingTable(columnsOf(manifest, rows, judge, options.all === true), shown, io);
  const notes = [
    ...(shown.length < lines.length ? [`... and ${lines.length - shown.length} more`] : []),
    ...(left.length > 0 ? [`left out for want of room: ${left.join(", ")}`] : []),
    ...resultNotes(manifest, rows, judge, options),
  ];
  return [text, ...(notes.length > 0 ? ["", ...notes.map(escapeText)] : [])].join("\n");
}

function linesOf(
  manifest: RunManifest,
  rows: readonly Row[],
  judge: Judge | undefined,
  all: boolean | undefined,
): Line[] {
  if (isGrouped(manifest, all)) {
    const groups = groupRepeats(rows);
    const best = judge && winningGroup(groups, judge);
    return groups.map((group) => groupLine(group, group === best));
  }
  const best = judge && winner(rows, judge);
  return rows.map((row) => rowLine(row, row === best));
}

const rowLine = (row: Row, isBest: boolean): Line => ({
  experiment: String(row.experiment),
  rows: [row],
  texts: row.texts,
  metric: (name) => {
    const value = metricValue(row, name);
    return value === undefined ? undefined : { mean: value, sd: undefined, n: 1 };
  },
  state: row.cached && row.state === "finished" ? "cached" : row.state,
  durationS: row.durationS,
  cost: row.cost,
  isBest,
});

/** Duration is the mean of the repeats, cost their sum. */
function groupLine(group: Group, isBest: boolean): Line {
  const [first] = group.rows;
  const last = group.rows.at(-1) ?? first;
  const durations = group.rows.map((row) => row.durationS).filter((one) => one !== undefined);
  const costs = group.rows.map((row) => row.cost).filter((one) => one !== undefined);
  const sum = (values: readonly number[]): number => values.reduce((total, one) => total + one, 0);
  return {
    experiment: first === last ? String(first.experiment) : `${first.experiment}-${last.experiment}`,
    rows: group.rows,
    texts: first.texts,
    metric: (name) => meanOf(group, name),
    state: groupState(group.rows),
    durationS: durations.length === 0 ? undefined : sum(durations) / durations.length,
    cost: costs.length === 0 ? undefined : sum(costs),
    isBest,
  };
}

/** `finished`, or `2 finished, 1 failed`. */
function groupState(rows: readonly Row[]): string {
  const counts = new Map<string, number>();
  for (const row of rows) {
    const state = row.cached && row.state === "finished" ? "cached" : row.state;
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  const parts = [...counts];
  return parts.length === 1
    ? (parts[0]?.[0] ?? "")
    : parts.map(([state, count]) => `${count} ${state}`).join(", ");
}

// ---------------------------------------------------------------------------------------------------------- order

/** What rows can be ordered by. */
export function sortKeys(manifest: RunManifest, rows: readonly Row[]): string[] {
  return [...metricNames(manifest, rows), ...parameterNames(manifest, rows, true), "duration", "cost"];
}

/** Rows in the order of `--sort`; a stable one, so that equal ones stay in the order of their numbers. */
export function sortRows(rows: readonly Row[], by: string | undefined, manifest: RunManifest): Row[] {
  return sortLines(
    rows.map((row) => rowLine(row, false)),
    by,
    manifest,
  ).flatMap((line) => line.rows);
}

function sortLines(lines: readonly Line[], by: string | undefined, manifest: RunManifest): readonly Line[] {
  if (by === undefined) return lines;
  const rows = lines.flatMap((line) => line.rows);
  if (metricNames(manifest, rows).includes(by)) {
    const { goal } = judgeOf(manifest, rows, by) ?? { goal: "max" as Goal };
    return byNumber(lines, (line) => line.metric(by)?.mean, goal);
  }
  if (by === "duration") return byNumber(lines, (line) => line.durationS, "min");
  if (by === "cost") return byNumber(lines, (line) => line.cost, "min");
  return lines.toSorted((a, b) => compareTexts(own(a.texts, by), own(b.texts, by)));
}

/** The best first; then NaN, then those without a value. */
function byNumber(lines: readonly Line[], valueOf: (line: Line) => number | undefined, goal: Goal): Line[] {
  return lines.toSorted((a, b) => {
    const [x, y] = [valueOf(a), valueOf(b)];
    if (x === undefined || y === undefined) return (x === undefined ? 1 : 0) - (y === undefined ? 1 : 0);
    return isBetter(goal, x, y) ? -1 : isBetter(goal, y, x) ? 1 : 0;
  });
}

/** Numbers by size and before texts, texts by their characters. */
export function compareTexts(a: string | undefined, b: string | undefined): number {
  if (a === undefined || b === undefined) return (a === undefined ? 1 : 0) - (b === undefined ? 1 : 0);
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== undefined && y !== undefined && x !== y) return x - y;
  if ((x === undefined) !== (y === undefined)) return x === undefined ? 1 : -1;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The number that a text of the command line is; undefined for one that is none. */
export function numberOf(text: string): number | undefined {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  return Number.isNaN(value) ? undefined : value;
}

// -------------------------------------------------------------------------------------------------------- columns

interface TableColumn {
  readonly column: Column;
  readonly cell: (line: Line) => string;
  /** What is left out first when there is no room: the largest. 0: never. */
  readonly rank: number;
}

function columnsOf(
  manifest: RunManifest,
  rows: readonly Row[],
  judge: Judge | undefined,
  all: boolean,
): TableColumn[] {
  const swept = new Set(parameterNames(manifest, rows, false));
  const parameters = parameterNames(manifest, rows, all).map((key, index): TableColumn => ({
    column: { title: escapeText(key), align: "right", flexible: true },
    cell: (line) => own(line.texts, key) ?? "-",
    rank: (swept.has(key) ? 100 : 10_000) + index,
  }));
  const metrics = metricNames(manifest, rows).map((name, index): TableColumn => ({
    column: { title: escapeText(name), align: "right" },
    cell: (line) => {
      const value = line.metric(name);
      return value === undefined ? "-" : formatMean(value);
    },
    rank: name === judge?.name ? 0 : 1_000 + index,
  }));
  const hasCost = rows.some((row) => row.cost !== undefined);
  return [
    ...(judge === undefined
      ? []
      : [{ column: { title: "" }, cell: (line: Line) => (line.isBest ? "*" : ""), rank: 0 }]),
    { column: { title: "EXPERIMENT", align: "right" }, cell: (line) => line.experiment, rank: 0 },
    ...parameters,
    ...metrics,
    { column: { title: "STATE", flexible: true }, cell: (line) => line.state, rank: 0 },
    {
      column: { title: "DURATION", align: "right" },
      cell: ({ durationS }) => (durationS === undefined ? "-" : formatSpan(durationS)),
      rank: 50_000,
    },
    ...(hasCost
      ? [
          {
            column: { title: "COST", align: "right" },
            cell: ({ cost }: Line) => (cost === undefined ? "-" : formatCost(cost)),
            rank: 50_001,
          } satisfies TableColumn,
        ]
      : []),
  ];
}

/** A trial may be over in no time: below ten seconds with a decimal. */
export const formatSpan = (seconds: number): string =>
  seconds < 9.95 ? `${seconds.toFixed(1)}s` : formatDuration(seconds);

/** As many columns as fit, and the titles of the others. */
function fittingTable(
  columns: readonly TableColumn[],
  lines: readonly Line[],
  io: Io,
): { readonly text: string; readonly left: readonly string[] } {
  const cells = columns.map(({ cell }) => lines.map(cell));
  const widths = columns.map(({ column }, index) => leastWidth(column, cells[index] ?? []));
  const kept = new Set(columns.keys());
  const width = (): number => [...kept].reduce((sum, index) => sum + (widths[index] ?? 0) + 2, -2);
  const leaving = [...columns.keys()]
    .filter((index) => (columns[index]?.rank ?? 0) > 0)
    .toSorted((a, b) => (columns[b]?.rank ?? 0) - (columns[a]?.rank ?? 0));
  const left: string[] = [];
  for (const index of io.columns === undefined ? [] : leaving) {
    if (width() <= (io.columns ?? 0)) break;
    kept.delete(index);
    left.push(columns[index]?.column.title ?? "");
  }
  const order = [...kept];
  const rows = lines.map((_, line) => order.map((index) => cells[index]?.[line] ?? ""));
  const text = table(
    order.map((index) => columns[index]?.column ?? { title: "" }),
    rows,
    io,
  );
  return { text, left };
}

const leastFlexible = 8;
function leastWidth(column: Column, cells: readonly string[]): number {
  let natural = column.title.length;
  for (const cell of cells) natural = Math.max(natural, [...escapeText(cell)].length);
  return column.flexible === true ? Math.min(natural, Math.max(leastFlexible, column.title.length)) : natural;
}

// ---------------------------------------------------------------------------------------------------------- notes

/** What the table cannot say in a cell. */
function resultNotes(
  manifest: RunManifest,
  rows: readonly Row[],
  judge: Judge | undefined,
  options: TableOptions,
): string[] {
  const notes: string[] = [];
  if (isGrouped(manifest, options.all))
    notes.push("metrics: mean ± standard deviation of the repeats that finished");
  const missing = judge && missingMetric(judge.name, manifest, rows);
  if (missing !== undefined) notes.push(missing);
  else if (judge !== undefined) notes.push(...judgeNotes(rows, judge));
  else if (metricNames(manifest, rows).length > 1)
    notes.push(`no winner: the run has several metrics; name the one that counts with --metric NAME`);
  const failed = rows.filter((row) => row.state === "failed");
  const [first] = failed;
  if (first !== undefined)
    notes.push(
      `${failed.length} of ${rows.length} failed: ${numbers(failed)}. ` +
        `See rain logs ${manifest.name} --experiment ${first.experiment}; again: rain retry ${manifest.name}`,
    );
  return notes;
}

function judgeNotes(rows: readonly Row[], { name, goal }: Judge): string[] {
  const isNan = (row: Row): boolean => row.state === "finished" && Number.isNaN(metricValue(row, name) ?? 0);
  const nan = rows.filter(isNan);
  const silent = rows.filter((row) => row.state === "finished" && metricValue(row, name) === undefined);
  return [
    `* best ${name}: the ${goal === "min" ? "smallest" : "largest"}`,
    ...(nan.length > 0 ? [`${name} is NaN in ${numbers(nan)}: NaN never wins`] : []),
    ...(silent.length > 0 ? [`no ${name} came from ${numbers(silent)}`] : []),
  ];
}

/** `experiment 3`, `experiments 1, 4, 7`, at most ten of them. */
function numbers(rows: readonly Row[]): string {
  const first = rows.slice(0, 10).map((row) => row.experiment);
  const rest = rows.length > first.length ? ` and ${rows.length - first.length} more` : "";
  return `experiment${rows.length === 1 ? "" : "s"} ${first.join(", ")}${rest}`;
}
