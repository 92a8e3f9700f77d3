import { describe, expect, test } from "vitest";
import { metricNames, parameterNames, trialRows } from "../../../packages/cli/src/runs/rows.ts";
import {
  goalOf,
  groupRepeats,
  judgeOf,
  meanAndSd,
  meanOf,
  missingMetric,
  winner,
  winningGroup,
} from "../../../packages/cli/src/runs/winner.ts";
import { accuracies, manifest, result } from "./rows.ts";

const failure = { reason: "exit", message: "exited with code 1", exitCode: 1 } as const;

describe("rows", () => {
  test("are the trials by number, whatever the order of the results", () => {
    const rows = trialRows([result({ index: 2 }), result({ index: 0 }), result({ index: 1 })]);
    expect(rows.map((row) => row.experiment)).toEqual([0, 1, 2]);
  });

  test("of a trial that was run again the newest task counts, read in any order and twice", () => {
    const first = result({ index: 0, row: { state: "failed", failure } });
    const again = result({ index: 0, task: 5, metrics: { accuracy: 0.5 } });
    for (const results of [
      [first, again],
      [again, first],
      [first, again, first, again],
    ]) {
      const [row, ...more] = trialRows(results);
      expect(more).toEqual([]);
      expect(row).toMatchObject({ task: 5, state: "finished", tasks: 2, failure: undefined });
    }
  });

  test("a task read twice has its last state", () => {
    const before = result({ index: 0, row: { state: "running" } });
    expect(trialRows([before, result({ index: 0 })])[0]?.state).toBe("finished");
  });

  test("tasks that are no trials are left out", () => {
    expect(trialRows([{ ...result({ index: 0 }), user: {} }, result({ index: 1 })])).toHaveLength(1);
    expect(trialRows([{ ...result({ index: 0 }), user: { trial: { index: "no" } } }])).toEqual([]);
  });

  test("metrics of a running trial show, and those of an ended one win over them", () => {
    const running = result({
      index: 0,
      row: {
        state: "running",
        info: undefined,
        metrics: { loss: { last: 2, min: 2, max: 3, count: 2, step: 1 } },
      },
    });
    expect(trialRows([running])[0]?.metrics).toMatchObject({ loss: { last: 2 } });
  });

  test("what a program picked itself is a parameter", () => {
    const picked = [0, 1].map((index) => result({ index, info: { params: { lr: index, kind: "a" } } }));
    const rows = trialRows(picked);
    const run = manifest({ kind: "completions", parameters: [], swept: [] });
    expect(rows[1]?.texts).toEqual({ lr: "1", kind: "a" });
    expect(parameterNames(run, rows, false)).toEqual(["lr"]);
    expect(parameterNames(run, rows, true)).toEqual(["lr", "kind"]);
  });

  test("names that every object has are no parameters and no metrics", () => {
    const rows = trialRows([result({ index: 0, metrics: { constructor: 1 } }), result({ index: 1 })]);
    expect(metricNames(manifest(), rows)).toEqual(["constructor"]);
    expect(winner(rows, { name: "constructor", goal: "max" })?.experiment).toBe(0);
    expect(winner(rows, { name: "toString", goal: "max" })).toBeUndefined();
  });
});

describe("the goal of a metric", () => {
  test.each([
    ["loss", "min"],
    ["val_loss", "min"],
    ["valLoss", "min"],
    ["train/loss", "min"],
    ["logloss", "min"],
    ["loss2", "min"],
    ["test error", "min"],
    ["err", "min"],
    ["rmse", "min"],
    ["wall_time", "min"],
    ["cost", "min"],
    ["accuracy", "max"],
    ["timeliness", "max"],
    ["lossless_ratio", "max"],
    ["f1", "max"],
    ["merry", "max"],
  ] as const)("%s: %s", (name, goal) => {
    expect(goalOf(name)).toBe(goal);
  });

  test("is what was asked, for the metric that was named only", () => {
    expect(goalOf("loss", { name: "loss", goal: "max" })).toBe("max");
    expect(goalOf("loss", { name: "accuracy", goal: "max" })).toBe("min");
  });

  test("the metric that counts: the named one, else the only one, else none", () => {
    const one = trialRows(accuracies(0.1));
    const two = trialRows([result({ index: 0, metrics: { accuracy: 1, loss: 2 } })]);
    expect(judgeOf(manifest(), one)).toEqual({ name: "accuracy", goal: "max" });
    expect(judgeOf(manifest(), two)).toBeUndefined();
    expect(judgeOf(manifest({ metric: { name: "loss" } }), two)).toEqual({ name: "loss", goal: "min" });
    expect(judgeOf(manifest({ metric: { name: "loss" } }), two, "accuracy")?.name).toBe("accuracy");
    expect(judgeOf(manifest(), [])).toBeUndefined();
  });
});

describe("the winner", () => {
  const largest = { name: "accuracy", goal: "max" } as const;
  const smallest = { name: "accuracy", goal: "min" } as const;

  test("has the best value; of equal ones the first", () => {
    const rows = trialRows(accuracies(0.5, 0.9, 0.9, 0.1, 0.1));
    expect(winner(rows, largest)?.experiment).toBe(1);
    expect(winner(rows, smallest)?.experiment).toBe(3);
  });

  test("is never NaN, wherever the NaN stands", () => {
    for (const values of [
      [Number.NaN, 0.5],
      [0.5, Number.NaN],
    ]) {
      for (const judge of [largest, smallest])
        expect(winner(trialRows(accuracies(...values)), judge)?.metrics["accuracy"]?.last).toBe(0.5);
    }
    expect(winner(trialRows(accuracies(Number.NaN, Number.NaN)), largest)).toBeUndefined();
  });

  test("is never a trial that failed or that still runs", () => {
    const failed = result({ index: 0, metrics: { accuracy: 1 }, row: { state: "failed", failure } });
    const running = result({ index: 1, metrics: { accuracy: 0.9 }, row: { state: "running" } });
    const ok = result({ index: 2, metrics: { accuracy: 0.1 } });
    expect(winner(trialRows([failed, running, ok]), largest)?.experiment).toBe(2);
    expect(winner(trialRows([failed, running]), largest)).toBeUndefined();
  });

  test("may be infinite only when nothing better came", () => {
    expect(winner(trialRows(accuracies(Infinity, 3)), smallest)?.experiment).toBe(1);
    expect(winner(trialRows(accuracies(Infinity)), smallest)?.experiment).toBe(0);
  });
});

describe("repeats", () => {
  const rows = trialRows(
    [0.5, 0.7, 0.9, 0.1, 0.1, 1].map((accuracy, index) =>
      result({ index, combination: Math.floor(index / 3), repeat: index % 3, metrics: { accuracy } }),
    ),
  );
  test("mean and deviation of the sample", () => {
    const [first, second] = groupRepeats(rows);
    expect(first && meanOf(first, "accuracy")).toEqual({
      mean: expect.closeTo(0.7, 12),
      sd: expect.closeTo(0.2, 12),
      n: 3,
    });
    expect(second?.rows.map((row) => row.experiment)).toEqual([3, 4, 5]);
    expect(meanAndSd([4])).toEqual({ mean: 4, sd: undefined, n: 1 });
    expect(meanAndSd([1, Number.NaN]).mean).toBeNaN();
  });

  test("the best mean wins, not the best single value", () => {
    expect(winningGroup(groupRepeats(rows), { name: "accuracy", goal: "max" })?.combination).toBe(0);
  });

  test("a combination with a NaN never wins; a failed repeat does not count", () => {
    const some = trialRows([
      result({ index: 0, combination: 0, repeat: 0, metrics: { accuracy: Number.NaN } }),
      result({ index: 1, combination: 0, repeat: 1, metrics: { accuracy: 1 } }),
      result({ index: 2, combination: 1, repeat: 0, metrics: { accuracy: 0.2 } }),
      result({
        index: 3,
        combination: 1,
        repeat: 1,
        metrics: { accuracy: 9 },
        row: { state: "failed", failure },
      }),
    ]);
    const groups = groupRepeats(some);
    const best = winningGroup(groups, { name: "accuracy", goal: "max" });
    expect(best?.combination).toBe(1);
    expect(best && meanOf(best, "accuracy")).toEqual({ mean: 0.2, sd: undefined, n: 1 });
  });
});

describe("a metric that never came", () => {
  test("is told with what is near", () => {
    const text = missingMetric("acuracy", manifest(), trialRows(accuracies(0.1)));
    expect(text).toBe('no trial told the metric "acuracy" (did you mean accuracy?); there is: accuracy');
  });
  test("is told with the way to print one, when there is none at all", () => {
    expect(missingMetric("loss", manifest(), trialRows([result({ index: 0 })]))).toContain(
      "print loss=VALUE",
    );
  });
  test("is not told while it may still come, nor when it came", () => {
    const running = result({ index: 0, row: { state: "running" } });
    expect(missingMetric("loss", manifest(), trialRows([running]))).toBeUndefined();
    expect(missingMetric("accuracy", manifest(), trialRows(accuracies(0.1)))).toBeUndefined();
  });
});
