import { nearMisses, oneOf } from "@rain/sweep";
import { usageError } from "../failure.ts";
import type { RunManifest } from "./manifest.ts";
import { metricNames, metricValue, own, parameterNames, type Row } from "./rows.ts";
import { compareTexts, formatValue, numberOf } from "./table.ts";
import { meanAndSd, type Judge } from "./winner.ts";

/** A metric over one or two parameters, before anything is drawn. */

export interface MapAxis {
  readonly name: string;
  /** Of each place, in order. */
  readonly labels: readonly string[];
  /** Numbers of the places, where all values are numbers: the value, or the middle of its range. */
  readonly numbers: readonly number[] | undefined;
  /** Each place is a range of values, since there are too many for a place each. */
  readonly isBinned: boolean;
}

export interface Heatmap {
  readonly run: string;
  readonly judge: Judge;
  readonly x: MapAxis;
  /** Absent for a run of one parameter. */
  readonly y: MapAxis | undefined;
  /** By y, then by x; undefined where no trial finished with the metric, NaN where one told NaN. */
  readonly cells: readonly (readonly (number | undefined)[])[];
  /** The place of the best value. */
  readonly best: { readonly x: number; readonly y: number } | undefined;
  /** Smallest and largest value that is a finite number. */
  readonly range: { readonly min: number; readonly max: number } | undefined;
  /** What else varied: each cell is the mean over it. */
  readonly meanOver: readonly string[];
}

export interface HeatmapOptions {
  readonly x?: string | undefined;
  readonly y?: string | undefined;
  /** The most places of each axis. */
  readonly places: { readonly x: number; readonly y: number };
}

/** The mean of the metric at each place. Throws for a parameter that the run has not, and for a run without any. */
export function makeHeatmap(
  manifest: RunManifest,
  rows: readonly Row[],
  judge: Judge,
  options: HeatmapOptions,
): Heatmap {
  const { x, y } = chooseAxes(manifest, rows, options);
  const counted = rows.filter(
    (row) => row.state === "finished" && metricValue(row, judge.name) !== undefined,
  );
  const xs = placeValues(counted, x, options.places.x);
  const ys = y === undefined ? undefined : placeValues(counted, y, options.places.y);
  const sums: number[][][] = Array.from({ length: ys?.axis.labels.length ?? 1 }, () =>
    Array.from({ length: xs.axis.labels.length }, () => []),
  );
  for (const row of counted) {
    const [atX, atY] = [xs.placeOf(row), ys === undefined ? 0 : ys.placeOf(row)];
    const value = metricValue(row, judge.name);
    if (atX !== undefined && atY !== undefined && value !== undefined) sums[atY]?.[atX]?.push(value);
  }
  const cells = sums.map((line) =>
    line.map((values) => (values.length === 0 ? undefined : meanAndSd(values).mean)),
  );
  const others = parameterNames(manifest, rows, false).filter((key) => key !== x && key !== y);
  return {
    run: manifest.name,
    judge,
    x: xs.axis,
    y: ys?.axis,
    cells,
    best: bestPlace(cells, judge),
    range: rangeOf(cells),
    meanOver: [...others, ...((manifest.repeat ?? 1) > 1 ? ["repeats"] : [])],
  };
}

function chooseAxes(
  manifest: RunManifest,
  rows: readonly Row[],
  { x, y }: HeatmapOptions,
): { readonly x: string; readonly y: string | undefined } {
  const all = parameterNames(manifest, rows, true);
  for (const [flag, name] of [
    ["--x", x],
    ["--y", y],
  ] as const)
    if (name !== undefined && !all.includes(name)) throw unknownName(`${flag}: no parameter`, name, all);
  const free = parameterNames(manifest, rows, false).filter((key) => key !== x && key !== y);
  // The parameter that comes first varies slowest, and goes down the side.
  const side = y ?? (x !== undefined || free.length > 1 ? free.shift() : undefined);
  const across = x ?? free.shift();
  if (across === undefined) {
    if (side !== undefined) return { x: side, y: undefined };
    throw usageError(
      `no parameter of ${manifest.name} varies: a heatmap needs one or two; --x names one all the same`,
    );
  }
  return { x: across, y: side === across ? undefined : side };
}

/** The usage error for a name that is none of these, with those near. */
export function unknownName(what: string, name: string, names: readonly string[]): Error {
  const near = nearMisses(name, names);
  const known =
    names.length === 0 ? "there is none" : `there ${names.length === 1 ? "is" : "are"} ${names.join(", ")}`;
  return usageError(
    `${what} ${JSON.stringify(name)}: ${near.length > 0 ? `did you mean ${oneOf(near)}?` : known}`,
  );
}

/** Throws unless some trial told the metric. */
export function checkMetric(name: string, manifest: RunManifest, rows: readonly Row[]): void {
  const names = metricNames(manifest, rows);
  if (!names.includes(name)) throw unknownName("--metric: no trial told the metric", name, names);
}

interface Places {
  readonly axis: MapAxis;
  readonly placeOf: (row: Row) => number | undefined;
}

/** A place for each value; of too many numbers one for each range. */
function placeValues(rows: readonly Row[], name: string, most: number): Places {
  const texts = [...new Set(rows.map((row) => own(row.texts, name) ?? ""))];
  const numbers = texts.map(numberOf).filter((value) => value !== undefined);
  const isNumeric = texts.length > 0 && numbers.length === texts.length && numbers.every(Number.isFinite);
  if (isNumeric && new Set(numbers).size > most) return bin(name, numbers, most);
  // Words stay in the order of the trials: small, medium, large.
  const labels = isNumeric ? texts.toSorted(compareTexts) : texts;
  const places = new Map(labels.map((text, index) => [text, index]));
  return {
    axis: {
      name,
      labels,
      numbers: isNumeric ? labels.map(Number) : undefined,
      isBinned: false,
    },
    placeOf: (row) => places.get(own(row.texts, name) ?? ""),
  };
}

/** Do the values span so much that equal ratios tell more than equal steps? */
export const isLogarithmic = (values: readonly number[]): boolean => {
  const [min, max] = [Math.min(...values), Math.max(...values)];
  return min > 0 && max / min > 50;
};

/** Ranges of equal width, or of equal ratio. */
function bin(name: string, values: readonly number[], count: number): Places {
  const isLog = isLogarithmic(values);
  const scale = (value: number): number => (isLog ? Math.log(value) : value);
  const unscale = (value: number): number => (isLog ? Math.exp(value) : value);
  const from = scale(Math.min(...values));
  const step = (scale(Math.max(...values)) - from) / count;
  const edge = (index: number): number => unscale(from + index * step);
  const short = (value: number): string => String(Number(value.toPrecision(2)));
  const places = Array.from({ length: count }, (_, index) => index);
  return {
    axis: {
      name,
      labels: places.map((index) => `${short(edge(index))}..${short(edge(index + 1))}`),
      numbers: places.map((index) => unscale(from + (index + 0.5) * step)),
      isBinned: true,
    },
    placeOf: (row) => {
      const value = numberOf(own(row.texts, name) ?? "");
      return value === undefined
        ? undefined
        : Math.min(count - 1, Math.max(0, Math.floor((scale(value) - from) / step)));
    },
  };
}

function bestPlace(cells: Heatmap["cells"], { goal }: Judge): Heatmap["best"] {
  let best: { x: number; y: number; value: number } | undefined;
  for (const [y, line] of cells.entries())
    for (const [x, value] of line.entries()) {
      if (value === undefined || Number.isNaN(value)) continue;
      if (best === undefined || (goal === "min" ? value < best.value : value > best.value))
        best = { x, y, value };
    }
  return best && { x: best.x, y: best.y };
}

function rangeOf(cells: Heatmap["cells"]): Heatmap["range"] {
  const values = cells
    .flat()
    .filter((value) => value !== undefined)
    .filter(Number.isFinite);
  if (values.length === 0) return undefined;
  return { min: Math.min(...values), max: Math.max(...values) };
}

/** Where a value lies between the smallest (0) and the largest (1); undefined for one without a place there. */
export function shareOf(map: Heatmap, value: number | undefined): number | undefined {
  if (value === undefined || map.range === undefined || !Number.isFinite(value)) return undefined;
  const { min, max } = map.range;
  return max === min ? 0.5 : (value - min) / (max - min);
}

/** What a reader must know beside the picture. */
export function mapNotes(map: Heatmap): string[] {
  const binned = [map.x, ...(map.y ? [map.y] : [])].filter((axis) => axis.isBinned);
  return [
    ...(map.meanOver.length > 0 ? [`each value is the mean over ${map.meanOver.join(", ")}`] : []),
    ...binned.map(({ name }) => `${name} has too many values for a place each: each place is a range`),
    ...(map.range === undefined ? [`no trial finished with ${map.judge.name}`] : []),
  ];
}

export const mapTitle = ({ run, judge, x, y }: Heatmap): string =>
  `${run}: ${judge.name} by ${x.name}${y === undefined ? "" : ` and ${y.name}`}`;

/** The number in a cell: four digits. */
export const cellText = (value: number | undefined): string =>
  value === undefined
    ? "-"
    : Number.isFinite(value) && !Number.isInteger(value)
      ? String(Number(value.toPrecision(4)))
      : formatValue(value);
