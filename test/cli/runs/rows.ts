import { asObjectId, asTaskId, type MetricSummaries, type ResultRow } from "@rain/protocol";
import type { RunManifest } from "../../../packages/cli/src/runs/manifest.ts";

/** Runs and results of tests, as the server would tell them. */

export const manifest = (fields: Partial<RunManifest> = {}): RunManifest => ({
  v: 1,
  kind: "sweep",
  name: "calm-otter-001",
  created: 1_700_000_000_000,
  program: ["python3", "train.py"],
  words: ["--lr", "[0.1, 0.2, 0.3]", "--data", "digits.csv"],
  seed: 7,
  strategy: "grid_search",
  parameters: ["lr", "data"],
  swept: ["lr"],
  config: "",
  count: 3,
  ...fields,
});

/** Metrics of one value each. */
const metrics = (values: Readonly<Record<string, number>>): MetricSummaries =>
  Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, { last: value, min: value, max: value, count: 1 }]),
  );

interface Given {
  readonly index: number;
  readonly task?: number;
  readonly texts?: Readonly<Record<string, string>>;
  readonly combination?: number;
  readonly repeat?: number;
  readonly metrics?: Readonly<Record<string, number>>;
  readonly info?: ResultRow["info"];
  readonly row?: Partial<ResultRow>;
}

/** The result of trial `index`; its task has the same number unless another is given. */
export function result({ index, task = index, texts = {}, info, row, ...given }: Given): ResultRow {
  const params = Object.fromEntries(
    Object.entries(texts).map(([key, text]) => [key, Number.isNaN(Number(text)) ? text : Number(text)]),
  );
  const { combination, repeat } = given;
  return {
    task: asTaskId(task),
    state: "finished",
    attempt: 1,
    name: `calm-otter-001-exp${index}`,
    user: {
      trial: {
        index,
        params,
        texts,
        ...(combination === undefined ? {} : { combination }),
        ...(repeat === undefined ? {} : { repeat }),
      },
    },
    governor: "local-1",
    info: { durationS: 1.25, ...(given.metrics && { metrics: metrics(given.metrics) }), ...info },
    outputs: [
      { object: asObjectId(task * 2), label: "stdout", kind: "blob", state: "finished", size: 10 },
      { object: asObjectId(task * 2 + 1), label: "artifacts", kind: "directory", state: "finished" },
    ],
    ...row,
  };
}

/** Trials with a learning rate and a value of `accuracy` each. */
export const accuracies = (...values: readonly number[]): ResultRow[] =>
  values.map((accuracy, index) =>
    result({ index, texts: { lr: String((index + 1) / 10), data: "digits.csv" }, metrics: { accuracy } }),
  );
