import { describe, expect, test } from "vitest";
import { trialRows } from "../../../packages/cli/src/runs/rows.ts";
import { compareTexts, formatValue, resultTable, sortRows } from "../../../packages/cli/src/runs/table.ts";
import { memoryIo } from "../io.ts";
import { accuracies, manifest, result } from "./rows.ts";

const failure = { reason: "exit", message: "exited with code 1", exitCode: 1 } as const;
const widest = (text: string): number => Math.max(...text.split("\n").map((line) => [...line].length));

describe("the table of results", () => {
  test("has a column for each parameter that varies, and marks the winner", () => {
    const rows = trialRows([...accuracies(0.5, 0.9123456789, Number.NaN)]);
    expect(resultTable(manifest(), rows, memoryIo()).split("\n")).toEqual([
      "   EXPERIMENT   lr  accuracy  STATE     DURATION",
      "            0  0.1       0.5  finished      1.3s",
      "*           1  0.2  0.912346  finished      1.3s",
      "            2  0.3       NaN  finished      1.3s",
      "",
      "* best accuracy: the largest",
      "accuracy is NaN in experiment 2: NaN never wins",
    ]);
  });

  test("--all adds the other parameters; a cost has a column; a cached trial says so", () => {
    const more = [{ cost: 0.0123456 }, { cached: true, cost: 0 }];
    const rows = trialRows(
      accuracies(0.5, 0.6).map((row, index) => ({ ...row, info: { ...row.info, ...more[index] } })),
    );
    const text = resultTable(manifest(), rows, memoryIo(), { all: true });
    expect(text).toContain("digits.csv");
    expect(text).toMatch(/COST\n.*0\.0123\n.*cached .* 0\n/);
  });

  test("failed trials are named with the way on", () => {
    const failed = result({ index: 3, row: { state: "failed", failure, info: {} } });
    const text = resultTable(manifest(), trialRows([...accuracies(0.5), failed]), memoryIo());
    expect(text).toContain("1 of 2 failed: experiment 3.");
    expect(text).toContain("rain retry calm-otter-001");
    expect(text).toMatch(/ 3 +- +- +failed +-/);
  });

  test("repeats are one line: mean and deviation; --all shows each", () => {
    const run = manifest({ repeat: 2 });
    const rows = trialRows(
      [0.5, 0.7, 0.9, 0.9].map((accuracy, index) =>
        result({
          index,
          combination: Math.floor(index / 2),
          repeat: index % 2,
          texts: { lr: String(Math.floor(index / 2)) },
          metrics: { accuracy },
          info: { durationS: index, cost: 1 },
        }),
      ),
    );
    const lines = resultTable(run, rows, memoryIo()).split("\n");
    expect(lines[1]).toMatch(/^ +0-1 +0 +0\.6 ± 0\.14 +finished +0\.5s +2\.00$/);
    expect(lines[2]).toMatch(/^\* +2-3 +1 +0\.9 ± 0 /);
    expect(resultTable(run, rows, memoryIo(), { all: true })).toMatch(/\n\* +2 /);
  });

  test.each([30, 40, 60, 80, 120])("fits %d columns, and says what it left out", (columns) => {
    const names = Array.from({ length: 12 }, (_, index) => `parameter_${index}`);
    const rows = trialRows(
      Array.from({ length: 3 }, (_, index) =>
        result({
          index,
          texts: Object.fromEntries(names.map((name) => [name, `value ${index} of ${name}`])),
          metrics: { accuracy: index, validation_accuracy_top_5: index / 7 },
        }),
      ),
    );
    const run = manifest({ parameters: names, swept: names, metric: { name: "accuracy" } });
    const text = resultTable(run, rows, memoryIo(columns));
    const [grid = ""] = text.split("\n\n");
    expect(widest(grid)).toBeLessThanOrEqual(Math.max(columns, 40));
    expect(grid).toContain("accuracy");
    expect(text).toContain("left out for want of room: DURATION");
    expect(resultTable(run, rows, memoryIo())).toContain("value 2 of parameter_11");
  });

  test("names and values of others are inert", () => {
    const rows = trialRows([
      result({ index: 0, texts: { "l\u001b[31mr": "a\nb\u202e" }, metrics: { "x\u009b2J": 1 } }),
    ]);
    const key = "l\u001b[31mr";
    const text = resultTable(
      manifest({ swept: [key], parameters: [key], metric: { name: "y\u001b" } }),
      rows,
      memoryIo(),
    );
    expect(text.replaceAll("\n", "")).toMatch(/^[\x20-\x7e]*$/);
    expect(text.split("\n")[1]).toContain("a\\nb\\u202e");
  });

  test("several metrics and none named: no winner, and the remedy", () => {
    const rows = trialRows([result({ index: 0, metrics: { accuracy: 1, loss: 2 } })]);
    const text = resultTable(manifest(), rows, memoryIo());
    expect(text).toContain("--metric NAME");
    expect(text).not.toContain("*");
    expect(resultTable(manifest(), rows, memoryIo(), { metric: "loss" })).toContain(
      "* best loss: the smallest",
    );
  });

  test("more lines than asked for are counted", () => {
    const text = resultTable(manifest(), trialRows(accuracies(1, 2, 3)), memoryIo(), { limit: 1 });
    expect(text).toContain("... and 2 more");
  });

  test("no trials yet", () => {
    expect(resultTable(manifest(), [], memoryIo(80))).toMatch(/^EXPERIMENT/);
  });
});

describe("order", () => {
  const numbers = (by: string): number[] =>
    sortRows(
      trialRows([
        result({ index: 0, texts: { lr: "10" }, metrics: { loss: Number.NaN, accuracy: 1 } }),
        result({ index: 1, texts: { lr: "9" }, metrics: { loss: 1, accuracy: 3 } }),
        result({ index: 2, texts: { lr: "auto" }, metrics: { loss: 0.5 } }),
        result({ index: 3, texts: {}, metrics: { loss: 1, accuracy: 2 } }),
      ]),
      by,
      manifest(),
    ).map((row) => row.experiment);
  test("by a metric: the best first, then NaN, then those without; equal ones by number", () => {
    expect(numbers("loss")).toEqual([2, 1, 3, 0]);
    expect(numbers("accuracy")).toEqual([1, 3, 0, 2]);
  });
  test("by a parameter: numbers as numbers", () => {
    expect(numbers("lr")).toEqual([1, 0, 2, 3]);
    expect(["1e-3", "0.5", "b", "a", "-1"].toSorted(compareTexts)).toEqual(["-1", "1e-3", "0.5", "a", "b"]);
  });
});

test("measured numbers for people", () => {
  expect([1, 0.1 + 0.2, 1e-9, 123456789, 1 / 3, 1e300, Number.NaN, -Infinity].map(formatValue)).toEqual([
    "1",
    "0.3",
    "1e-9",
    "123456789",
    "0.333333",
    "1e+300",
    "NaN",
    "-Infinity",
  ]);
});
