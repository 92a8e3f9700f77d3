import { describe, expect, test } from "vitest";
import { escapeText } from "../../packages/cli/src/escape.ts";
import { formatLogLine } from "../../packages/cli/src/logging.ts";
import {
  formatAmount,
  formatBytes,
  formatDuration,
  print,
  table,
  useColour,
} from "../../packages/cli/src/output.ts";
import { statusText } from "../../packages/cli/src/commands/status.ts";
import { memoryIo } from "./io.ts";

const columns = [
  { title: "ID", align: "right" },
  { title: "NAME", flexible: true },
  { title: "STATE" },
] as const;

describe("tables", () => {
  test("columns are as wide as their cells, the last has no trailing blanks", () => {
    const text = table(
      columns,
      [
        ["1", "a", "open"],
        ["12", "long name", "x"],
      ],
      memoryIo(),
    );
    expect(text.split("\n")).toEqual(["ID  NAME       STATE", " 1  a          open", "12  long name  x"]);
  });

  test("a terminal's width is kept by cutting flexible columns", () => {
    const rows = [["1", "n".repeat(200), "finished"]];
    for (const width of [40, 60, 80]) {
      const lines = table(columns, rows, memoryIo(width)).split("\n");
      expect(Math.max(...lines.map((line) => [...line].length))).toBe(width);
      expect(lines[1]).toContain("n…");
      expect(lines[1]).toContain("finished");
    }
  });

  test("a pipe gets everything", () => {
    expect(table(columns, [["1", "n".repeat(200), "x"]], memoryIo())).toContain("n".repeat(200));
  });

  test("a terminal too narrow for anything still gets a table", () => {
    expect(table(columns, [["1", "a name", "open"]], memoryIo(5))).toContain("open");
  });

  test("case 50: names are inert: no escape, line break or direction character passes", () => {
    const name = "\u001b[31mred\u001b]0;title\u0007\nnext\u202Erev\u009b2J";
    const text = table(columns, [["1", name, "open"]], memoryIo());
    expect(text.split("\n")).toHaveLength(2);
    expect(text.replaceAll("\n", "")).toMatch(/^[\x20-\x7e]*$/);
    expect(text).toContain("\\u001b[31mred");
  });

  test("no colour unless the terminal wants it", () => {
    expect(useColour(true, {})).toBe(true);
    expect(useColour(true, { NO_COLOR: "1" })).toBe(false);
    expect(useColour(true, { TERM: "dumb" })).toBe(false);
    expect(useColour(false, {})).toBe(false);
    expect(useColour(undefined, {})).toBe(false);
    expect(table(columns, [], { ...memoryIo(), colour: true })).toContain("\u001b[1m");
  });
});

describe("JSON", () => {
  test("stays the same value when control characters are escaped", () => {
    const io = memoryIo();
    const value = { name: "a\u009b\u202e\u007f\n\u001b", list: [1, null] };
    print(io, "json", value, () => "");
    expect(JSON.parse(io.out())).toEqual(value);
    expect(io.out()).not.toMatch(/[\u007f-\u009f\u202e]/);
    expect(io.out().endsWith("}\n")).toBe(true);
  });

  test("plain text ends with one line break", () => {
    const io = memoryIo();
    print(io, "plain", {}, () => "text");
    print(io, "plain", {}, () => "");
    expect(io.out()).toBe("text\n");
  });
});

test("amounts for people", () => {
  expect([0, 1, 1023, 1024, 1536, 2 ** 30 * 8, 2 ** 40 * 300].map(formatBytes)).toEqual([
    "0",
    "1B",
    "1023B",
    "1K",
    "1.5K",
    "8G",
    "300T",
  ]);
  expect(formatBytes(2 ** 20 - 1)).toBe("1M".replace("1M", formatBytes(2 ** 20)).replace("1M", "1.0M"));
  expect([0, 59.9, 61, 3_700, 90_000].map(formatDuration)).toEqual(["0s", "59s", "1m 1s", "1h 1m", "1d 1h"]);
  expect([4, 0.5, 1 / 3].map(formatAmount)).toEqual(["4", "0.5", "0.33"]);
});

test("a log line is one line; more lines are indented", () => {
  const line = formatLogLine(new Date(0), "warn", "first\u001b[2J\nsecond");
  expect(line).toBe("1970-01-01T00:00:00.000Z warn  first\\u001b[2J\n    second\n");
  expect(escapeText("plain text, ünïcödé 漢字")).toBe("plain text, ünïcödé 漢字");
});

test("the status of an empty server, and of one with work", () => {
  const server = { url: "http://127.0.0.1:1", pid: 7, version: "1.2.3", clusterId: "c", uptimeS: 61 };
  const empty = statusText({ server, governors: [], sessions: [] }, memoryIo(80));
  expect(empty).toContain("version 1.2.3, up 1m 1s, pid 7");
  expect(empty).toContain("No governors");
  const zero = {
    waiting: 0,
    ready: 0,
    assigned: 0,
    running: 0,
    finished: 0,
    failed: 0,
    cancelled: 0,
    aborted: 0,
  };
  const amounts = { cpus: 4, gpus: 0, memory: 2 ** 33, named: {} };
  const busy = statusText(
    {
      server: { ...server, pid: null },
      governors: [
        {
          id: 1,
          name: "local-1",
          state: "connected",
          capacity: amounts,
          used: { ...amounts, cpus: 2, memory: 0 },
          labels: { zone: "a" },
          environments: [],
          executors: [],
          costPerHour: null,
          draining: false,
          drainStatus: null,
          memoryLimit: "watch",
          processLimit: 10_000,
          tasks: ["1/0"],
          objects: 3,
        },
      ],
      sessions: [
        {
          id: 1,
          name: "n".repeat(90),
          state: "open",
          onError: "fail",
          detached: false,
          connected: true,
          counts: { ...zero, running: 1, finished: 2 },
          failure: null,
        },
      ],
    },
    memoryIo(80),
  );
  expect(busy).toContain("2/4");
  expect(busy).toContain("0/8G");
  expect(busy).toContain("1 running, 2 finished");
  expect(Math.max(...busy.split("\n").map((line) => [...line].length))).toBeLessThanOrEqual(80);
});
