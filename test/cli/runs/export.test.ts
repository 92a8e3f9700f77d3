import { parquetReadObjects } from "hyparquet";
import { describe, expect, test } from "vitest";
import { asObjectId, asTaskId, type TaskSpec } from "@rain/protocol";
import { commandLine } from "../../../packages/cli/src/runs/command-line.ts";
import { dataColumns, numberJson, rowJson, toCsv, toParquet } from "../../../packages/cli/src/runs/export.ts";
import { LinePrefixer } from "../../../packages/cli/src/runs/prefix.ts";
import { trialRows } from "../../../packages/cli/src/runs/rows.ts";
import { accuracies, manifest, result } from "./rows.ts";

const failure = { reason: "exit", message: 'said "no", and ended\r\nwith code 1', exitCode: 1 } as const;
const some = trialRows([
  result({ index: 0, texts: { lr: "1e-3", data: 'a,"b"' }, metrics: { accuracy: Number.NaN } }),
  result({
    index: 1,
    texts: { lr: "0.5", data: "two\nlines" },
    metrics: { accuracy: -Infinity },
    info: { cost: 0.25, cached: true },
  }),
  result({
    index: 2,
    texts: { lr: "2", data: "c" },
    row: { state: "failed", failure, info: undefined, governor: undefined },
  }),
]);

describe("CSV", () => {
  test("is RFC 4180: quotes, CRLF, empty for what is missing; numbers as they were written", () => {
    expect(toCsv(manifest(), some)).toBe(
      [
        "experiment,lr,data,accuracy,state,duration_s,cost,cached,attempt,governor,error",
        '0,1e-3,"a,""b""",NaN,finished,1.25,,false,1,local-1,',
        '1,0.5,"two\nlines",-Infinity,finished,1.25,0.25,true,1,local-1,',
        '2,2,c,,failed,,,false,1,,"said ""no"", and ended\r\nwith code 1"',
        "",
      ].join("\r\n"),
    );
  });

  test("names that are there already get a prefix, so that no two columns are the same", () => {
    const rows = trialRows([
      result({ index: 0, texts: { state: "on", x: "1" }, metrics: { x: 2, state: 3 } }),
    ]);
    const run = manifest({ parameters: ["state", "x"], swept: ["x"] });
    const names = dataColumns(run, rows).map(({ name }) => name);
    expect(names.slice(0, 5)).toEqual(["experiment", "param.state", "x", "metric.x", "metric.state"]);
    expect(new Set(names).size).toBe(names.length);
  });

  test("a run with repeats has columns for them", () => {
    const [header] = toCsv(manifest({ repeat: 2 }), some).split("\r\n");
    expect(header?.startsWith("experiment,combination,repeat,lr,")).toBe(true);
  });
});

test("Parquet reads back with its types, nulls and NaN", async () => {
  const flags = trialRows(
    [true, false].map((flag, index) => {
      const row = result({ index, texts: { layers: String(index + 2), flag: String(flag) } });
      const trial = { index, params: { layers: index + 2, flag }, texts: { flag: String(flag) } };
      return { ...row, user: { trial } };
    }),
  );
  const run = manifest({ parameters: ["layers", "flag"], swept: ["layers"] });
  const read = async (bytes: Uint8Array): Promise<Record<string, unknown>[]> => {
    const file = new Uint8Array(bytes).buffer;
    return await parquetReadObjects({ file });
  };
  expect((await read(await toParquet(run, flags))).map(({ layers, flag }) => [layers, flag])).toEqual([
    [2n, true],
    [3n, false],
  ]);
  const rows = await read(await toParquet(manifest(), some));
  expect(rows[0]).toMatchObject({ lr: 0.001, data: 'a,"b"', accuracy: Number.NaN, cost: null });
  expect(rows[1]).toMatchObject({ accuracy: -Infinity, cost: 0.25, cached: true });
  expect(rows[2]).toMatchObject({ state: "failed", accuracy: null, governor: null, lr: 2 });
  expect(await read(await toParquet(manifest(), []))).toEqual([]);
});

test("JSON has no NaN: it and the infinities are texts", () => {
  expect([1, Number.NaN, Infinity, -Infinity].map(numberJson)).toEqual([1, "NaN", "Infinity", "-Infinity"]);
  const [first, , third] = some;
  expect(first && rowJson(4, first)).toMatchObject({ task: "4/0", metrics: { accuracy: "NaN" }, cost: null });
  expect(third && rowJson(4, third)).toMatchObject({
    failure: { reason: "exit", exitCode: 1 },
    durationS: null,
  });
  const [row] = trialRows(accuracies(1));
  expect(row && JSON.parse(JSON.stringify(rowJson(1, row)))).toEqual(row && rowJson(1, row));
});

describe("the command line of a trial", () => {
  const spec = (work: TaskSpec["work"], more: Partial<TaskSpec> = {}): TaskSpec => ({
    id: asTaskId(0),
    work,
    inputs: [],
    outputs: [],
    request: { cpus: 1, gpus: 0, memory: 0, named: {} },
    ...more,
  });
  test("can be pasted: every word is quoted as a shell needs it, with the seed", () => {
    const env = { RAIN_SEED: "7", RAIN_RUN: "x", OMP: "1 2" };
    expect(
      commandLine(spec({ type: "execute", args: ["python3", "a b.py", "--x", "it's", "$HOME"], env })),
    ).toBe(`RAIN_SEED=7 OMP='1 2' python3 'a b.py' --x 'it'"'"'s' '$HOME'`);
  });
  test("inputs are their places, a shell's line stays as it is, other work has none", () => {
    const inputs = [{ object: asObjectId(3), label: "data", path: "in/data.csv" }];
    const args = ["cat", { input: 0 }];
    expect(commandLine(spec({ type: "execute", args }, { inputs }))).toBe("cat in/data.csv");
    expect(commandLine(spec({ type: "execute", args: ["a | b"], shell: true }))).toBe("a | b");
    expect(commandLine(spec({ type: "concat" }))).toBeUndefined();
  });
});

test("lines of several logs begin with their number, however the bytes come", () => {
  const all = "one\ntwo\n\nthree";
  for (let size = 1; size <= all.length; size += 1) {
    const lines = new LinePrefixer("7: ");
    let text = "";
    for (let at = 0; at < all.length; at += size)
      text += lines.push(Buffer.from(all.slice(at, at + size))).toString();
    expect(text + lines.end().toString()).toBe("7: one\n7: two\n7: \n7: three\n");
  }
  const long = new LinePrefixer("> ");
  expect(long.push(Buffer.alloc(70_000, "x")).length).toBe(70_003);
});
