import { taskStates, type TaskCounts, type TaskState } from "@rain/protocol";
import { describe, expect, test } from "vitest";
import { markProgram } from "../../packages/cli/src/runs/argv.ts";
import { endLine, liveLines, Screen } from "../../packages/cli/src/runs/live.ts";
import { trialRows, type Row } from "../../packages/cli/src/runs/rows.ts";
import { main } from "../../packages/cli/src/main.ts";
import { memoryIo } from "./io.ts";
import { manifest, result } from "./runs/rows.ts";

const NOW = 1_700_000_100_000;

/** A run of so many trials: some ended, then some that run, the others wait. */
function makeRun(count: number, ended: number, running: number): { rows: Row[]; counts: TaskCounts } {
  const stateOf = (index: number): TaskState =>
    index < ended ? "finished" : index < ended + running ? "running" : "waiting";
  const results = Array.from({ length: count }, (_, index) =>
    result({
      index,
      texts: { lr: String(index / 10), data: "digits.csv" },
      ...(index < ended && { metrics: { accuracy: ((index * 37) % 100) / 100 } }),
      ...(index < ended
        ? { info: { startTime: NOW - 5_000 + index, durationS: 1.5 }, row: { state: stateOf(index) } }
        : { row: { state: stateOf(index), info: {} } }),
    }),
  );
  const counts = Object.fromEntries(taskStates.map((state) => [state, 0])) as Record<TaskState, number>;
  for (const { state } of results) counts[state] += 1;
  return { rows: trialRows(results), counts };
}
const terminal = (columns: number, rows: number): ReturnType<typeof memoryIo> => ({
  ...memoryIo(columns),
  rows,
});
const lines = (count: number, ended: number, running: number, io = terminal(80, 24)): string[] =>
  liveLines({ manifest: manifest(), ...makeRun(count, ended, running) }, io, NOW);

describe("the live table", () => {
  test("shows how the run stands, its trials, and the best so far", () => {
    const [head, title, ...rows] = lines(5, 3, 1);
    expect(head).toBe("calm-otter-001: 3 of 5 ended, 1 running; best accuracy 0.74 (experiment 2)");
    expect(title?.trim().split(/ +/)).toEqual(["EXPERIMENT", "lr", "STATE", "accuracy", "TIME"]);
    expect(rows.map((row) => row.trim().split(/ +/))).toEqual([
      ["0", "0", "finished", "0", "1.5s"],
      ["1", "0.1", "finished", "0.37", "1.5s"],
      ["*", "2", "0.2", "finished", "0.74", "1.5s"],
      ["3", "0.3", "running", "-", "-"],
      ["4", "0.4", "waiting", "-", "-"],
    ]);
  });

  test("fits any terminal, with the best, those that run and those that ended last", () => {
    for (const [columns, rows] of [
      [80, 24],
      [40, 10],
      [20, 5],
      [200, 60],
    ] as const) {
      const all = lines(5_000, 300, 4, terminal(columns, rows));
      expect(all.length).toBeLessThan(rows);
      expect(Math.max(...all.map((line) => [...line].length))).toBeLessThan(columns);
    }
    const text = lines(5_000, 300, 4);
    const numbers = text.slice(2, -1).map((line) => Number(line.replace("*", " ").trim().split(/ +/)[0]));
    for (const one of [300, 301, 302, 303, 299, 298]) expect(numbers).toContain(one);
    const best = text.find((line) => line.startsWith("*"));
    expect(best).toMatch(/^\* +27 .*0\.99/);
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    expect(text.at(-1)).toBe(`... and ${5_000 - numbers.length} more`);
  });

  test("is drawn over itself, and is gone at the end", () => {
    const io = terminal(80, 24);
    const screen = new Screen(io);
    screen.draw(["one", "two"]);
    screen.draw(["three"]);
    screen.clear();
    screen.clear();
    expect(io.out()).toBe(
      "one\u001b[K\ntwo\u001b[K\n\u001b[J\u001b[2A\rthree\u001b[K\n\u001b[J\u001b[1A\r\u001b[J",
    );
  });

  test("names of programs do not move the cursor", () => {
    const [row] = trialRows([
      result({ index: 0, texts: { lr: "\u001b[2J\n" }, metrics: { "a\u001b[1m": 1 } }),
    ]);
    const rows = row === undefined ? [] : [row];
    const { counts } = makeRun(1, 1, 0);
    const text = liveLines({ manifest: manifest(), rows, counts }, terminal(200, 24), NOW).join("");
    expect(text).not.toContain("\u001b");
    expect(row && endLine(manifest(), row)).toBe(
      "experiment 0 finished in 1.3s: lr=\\u001b[2J\\n, a\\u001b[1m 1",
    );
  });
});

test("one line for a trial that has ended", () => {
  const [failed, cached] = trialRows([
    result({
      index: 0,
      texts: { lr: "0.1" },
      row: { state: "failed", failure: { reason: "exit", message: "exit code 3" } },
    }),
    result({ index: 1, texts: { lr: "0.2" }, metrics: { loss: Number.NaN }, info: { cached: true } }),
  ]);
  expect(failed && endLine(manifest(), failed)).toBe("experiment 0 failed in 1.3s: lr=0.1, exit code 3");
  expect(cached && endLine(manifest(), cached)).toBe("experiment 1 cached: lr=0.2, loss NaN");
});

test("the program's words are parted from rain's", () => {
  const common = [{ short: "-o", long: "--output", required: true }];
  const own = [
    { long: "--cpus", required: true },
    { long: "--dry-run", required: false },
    { long: "--max_nodes", required: true },
    { long: "--trials", required: true },
  ];
  const marked = (...argv: string[]): string[] => markProgram(argv, common, own);
  expect(marked("-o", "json", "run", "--cpus", "2", "--dry-run", "t.py", "-o", "x", "--", "y")).toEqual([
    "-o",
    "json",
    "run",
    "--cpus",
    "2",
    "--dry-run",
    "--",
    "t.py",
    "-o",
    "x",
    "--",
    "y",
  ]);
  expect(marked("run", "-ojson", "--cpus=2", "t.py", "--cpus", "3")).toEqual([
    "run",
    "-ojson",
    "--cpus=2",
    "--",
    "t.py",
    "--cpus",
    "3",
  ]);
  expect(marked("run", "--max-nodes", "5", "--num_trials=3", "--dry_run", "t.py")).toEqual([
    "run",
    "--max_nodes",
    "5",
    "--trials=3",
    "--dry-run",
    "--",
    "t.py",
  ]);
  for (const same of [
    ["status", "--cpus", "run", "x"],
    ["run", "--cpu", "2", "t.py"],
    ["run", "--cpus", "2", "--", "t.py", "--", "x"],
    ["run"],
    ["run", "--cpus"],
  ])
    expect(marked(...same)).toEqual(same);
});

test("on a terminal without a server the user is asked, and may say no", async () => {
  const asked: string[] = [];
  const io = {
    ...memoryIo(80),
    ask: (question: string) => {
      asked.push(question);
      return Promise.resolve(false);
    },
  };
  const before = process.env["RAIN_HOME"];
  process.env["RAIN_HOME"] = "/nonexistent/rain";
  try {
    expect(await main(["run", "--no-localdir", "/bin/sh"], io, {})).toBe(69);
  } finally {
    if (before === undefined) delete process.env["RAIN_HOME"];
    else process.env["RAIN_HOME"] = before;
  }
  expect(asked).toEqual([expect.stringContaining("rain start --simple")]);
  expect(io.err()).toContain("no server is running");
});
