import type { Json } from "@rain/protocol";
import type { RunManifest } from "./manifest.ts";
import { metricNames, metricValue, own, parameterNames, type Row } from "./rows.ts";

/** Results as data: every trial, every parameter, full digits. CSV, JSON and Parquet have the same columns. */

type Cell = string | number | boolean | undefined;
export interface DataColumn {
  readonly name: string;
  readonly type: "text" | "integer" | "number" | "boolean";
  readonly values: readonly Cell[];
  /** Of a parameter: as it stood on the command line, so that 1e-3 stays 1e-3. */
  readonly texts?: readonly (string | undefined)[];
}

/** What every table has before the parameters, and after the metrics. */
const before: readonly [string, DataColumn["type"], (row: Row) => Cell][] = [
  ["experiment", "integer", (row) => row.experiment],
];
const after: readonly [string, DataColumn["type"], (row: Row) => Cell][] = [
  ["state", "text", (row) => row.state],
  ["duration_s", "number", (row) => row.durationS],
  ["cost", "number", (row) => row.cost],
  ["cached", "boolean", (row) => row.cached],
  ["attempt", "integer", (row) => row.attempt],
  ["governor", "text", (row) => row.governor],
  ["error", "text", (row) => row.failure?.message],
];
const ofRepeats: typeof before = [
  ["combination", "integer", (row) => row.combination],
  ["repeat", "integer", (row) => row.repeat],
];

/**
 * The columns of the results. A parameter or metric with the name of another column is written `param.NAME` or
 * `metric.NAME`.
 */
export function dataColumns(manifest: RunManifest, rows: readonly Row[]): DataColumn[] {
  const taken = new Set<string>();
  const claim = (name: string, prefix: string): string => {
    let free = name;
    while (taken.has(free)) free = `${prefix}.${free}`;
    taken.add(free);
    return free;
  };
  for (const [name] of [...before, ...ofRepeats, ...after]) taken.add(name);
  const fixed = (of: typeof before): DataColumn[] =>
    of.map(([name, type, cell]) => ({ name, type, values: rows.map(cell) }));
  const parameters = parameterNames(manifest, rows, true).map((key) => {
    const type = parameterType(rows, key);
    const values = rows.map((row) => parameterCell(row, key, type));
    const texts = rows.map((row) => own(row.texts, key));
    return { name: claim(key, "param"), type, values, texts };
  });
  const metrics = metricNames(manifest, rows).map((key): DataColumn => {
    const values = rows.map((row) => metricValue(row, key));
    return { name: claim(key, "metric"), type: "number", values };
  });
  const repeats = (manifest.repeat ?? 1) > 1 ? fixed(ofRepeats) : [];
  return [...fixed(before), ...repeats, ...parameters, ...metrics, ...fixed(after)];
}

/** The type that holds the values of a parameter in all trials; text when they are of several kinds. */
function parameterType(rows: readonly Row[], key: string): DataColumn["type"] {
  const values = rows.map((row) => own(row.params, key)).filter((value) => value !== undefined);
  const all = (is: (value: Json) => boolean): boolean => values.length > 0 && values.every(is);
  if (all(Number.isSafeInteger)) return "integer";
  if (all((value) => typeof value === "number")) return "number";
  return all((value) => typeof value === "boolean") ? "boolean" : "text";
}

function parameterCell(row: Row, key: string, type: DataColumn["type"]): Cell {
  if (type === "text") return own(row.texts, key);
  const value = own(row.params, key);
  return typeof value === "number" || typeof value === "boolean" ? value : undefined;
}

/**
 * CSV by RFC 4180: commas, CRLF, quotes where a value needs them. A missing value is empty; NaN, Infinity and
 * -Infinity are written so; a parameter as it stood on the command line.
 */
export function toCsv(manifest: RunManifest, rows: readonly Row[]): string {
  const columns = dataColumns(manifest, rows);
  const records = [
    columns.map(({ name }) => name),
    ...rows.map((_, index) => columns.map(({ texts, values }) => (texts ?? values)[index])),
  ];
  return records.map((record) => `${record.map(csvField).join(",")}\r\n`).join("");
}

function csvField(value: Cell): string {
  const text = value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The bytes of a Parquet file. Missing values are null; integers are INT64, other numbers DOUBLE. */
export async function toParquet(manifest: RunManifest, rows: readonly Row[]): Promise<Uint8Array> {
  const { parquetWriteBuffer } = await import("hyparquet-writer");
  const columns = dataColumns(manifest, rows);
  const types = { text: "STRING", integer: "INT64", number: "DOUBLE", boolean: "BOOLEAN" } as const;
  return new Uint8Array(
    parquetWriteBuffer({
      columnData: columns.map(({ name, type, values }) => ({
        name,
        type: types[type],
        data: values.map((value) =>
          value === undefined ? null : type === "integer" ? BigInt(value) : value,
        ),
      })),
      kvMetadata: [{ key: "rain.run", value: manifest.name }],
    }),
  );
}

/** A number in `-o json`, which has no NaN: that and the infinities are texts. */
export type NumberJson = number | "NaN" | "Infinity" | "-Infinity";
export const numberJson = (value: number): NumberJson =>
  Number.isFinite(value) ? value : Number.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";

/** A trial in `-o json`. */
export interface RowJson {
  readonly experiment: number;
  readonly combination: number;
  readonly repeat: number;
  /** Its newest task, as SESSION/TASK. */
  readonly task: string;
  readonly attempt: number;
  readonly state: Row["state"];
  readonly cached: boolean;
  readonly params: Row["params"];
  /** The last value of each metric. */
  readonly metrics: Readonly<Record<string, NumberJson>>;
  readonly durationS: number | null;
  readonly cost: number | null;
  readonly governor: string | null;
  readonly failure: {
    readonly reason: string;
    readonly message: string;
    readonly exitCode: number | null;
  } | null;
}

export const rowJson = (session: number, row: Row): RowJson => ({
  experiment: row.experiment,
  combination: row.combination,
  repeat: row.repeat,
  task: `${session}/${row.task}`,
  attempt: row.attempt,
  state: row.state,
  cached: row.cached,
  params: row.params,
  metrics: Object.fromEntries(
    Object.entries(row.metrics).map(([name, { last }]) => [name, numberJson(last)]),
  ),
  durationS: row.durationS ?? null,
  cost: row.cost ?? null,
  governor: row.governor ?? null,
  failure: row.failure
    ? {
        reason: row.failure.reason,
        message: row.failure.message,
        exitCode: row.failure.exitCode ?? null,
      }
    : null,
});
