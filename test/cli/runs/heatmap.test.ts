import { describe, expect, test } from "vitest";
import { heatmapSvg } from "../../../packages/cli/src/runs/heatmap-svg.ts";
import { heatmapText } from "../../../packages/cli/src/runs/heatmap-text.ts";
import { makeHeatmap, mapNotes, type Heatmap } from "../../../packages/cli/src/runs/heatmap.ts";
import type { RunManifest } from "../../../packages/cli/src/runs/manifest.ts";
import { trialRows, type Row } from "../../../packages/cli/src/runs/rows.ts";
import { memoryIo } from "../io.ts";
import { manifest, result } from "./rows.ts";

const judge = { name: "accuracy", goal: "max" } as const;
const places = { x: 40, y: 40 };

/** A run over the product of these texts, its metric given by the trial's number. */
function sweep(
  axes: Readonly<Record<string, readonly string[]>>,
  metric: (index: number) => number | undefined,
): { run: RunManifest; rows: Row[] } {
  const names = Object.keys(axes);
  let trials: Record<string, string>[] = [{}];
  for (const name of names)
    trials = trials.flatMap((texts) => (axes[name] ?? []).map((text) => ({ ...texts, [name]: text })));
  const rows = trialRows(
    trials.map((texts, index) => {
      const accuracy = metric(index);
      return result({ index, texts, ...(accuracy !== undefined && { metrics: { accuracy } }) });
    }),
  );
  return { run: manifest({ parameters: names, swept: names }), rows };
}

const grid = { layers: ["2", "10", "4"], lr: ["0.1", "1e-3"] };

describe("the places of a heatmap", () => {
  test("first parameter down, second across, numbers by size", () => {
    const { run, rows } = sweep(grid, (index) => index);
    const map = makeHeatmap(run, rows, judge, { places });
    expect([map.y?.name, map.x.name]).toEqual(["layers", "lr"]);
    expect(map.y?.labels).toEqual(["2", "4", "10"]);
    expect(map.x.labels).toEqual(["1e-3", "0.1"]);
    expect(map.cells).toEqual([
      [1, 0],
      [5, 4],
      [3, 2],
    ]);
    expect(map.best).toEqual({ x: 0, y: 1 });
    expect(map.range).toEqual({ min: 0, max: 5 });
    expect(mapNotes(map)).toEqual([]);
  });

  test("--x and --y name them; one name is enough", () => {
    const { run, rows } = sweep(grid, (index) => index);
    const axes = (x?: string, y?: string): (string | undefined)[] => {
      const map = makeHeatmap(run, rows, judge, { x, y, places });
      return [map.x.name, map.y?.name];
    };
    expect(axes("layers")).toEqual(["layers", "lr"]);
    expect(axes(undefined, "lr")).toEqual(["layers", "lr"]);
    expect(axes("layers", "lr")).toEqual(["layers", "lr"]);
    expect(() => axes("layer")).toThrow('--x: no parameter "layer": did you mean layers?');
    expect(() => axes(undefined, "zzzzz")).toThrow("there are layers, lr");
  });

  test("of more parameters each place is the mean, and that is said", () => {
    const { run, rows } = sweep({ ...grid, seed: ["0", "1"] }, (index) => index);
    const map = makeHeatmap(run, rows, judge, { places });
    expect(map.cells[0]).toEqual([2.5, 0.5]);
    expect(mapNotes(map)).toEqual(["each value is the mean over seed"]);
  });

  test("NaN stays NaN, is never best, and what did not finish is empty", () => {
    const { run, rows } = sweep(
      { lr: ["1", "2", "3", "4"] },
      (index) => [Number.NaN, 1, undefined, 3][index],
    );
    const failed = rows.map((row) => (row.experiment === 3 ? { ...row, state: "failed" as const } : row));
    const map = makeHeatmap(run, failed, judge, { places });
    expect(map.y).toBeUndefined();
    expect(map.x.labels).toEqual(["1", "2"]);
    expect(map.cells).toEqual([[Number.NaN, 1]]);
    expect(map.best).toEqual({ x: 1, y: 0 });
  });

  test("words stay in the order of the trials", () => {
    const { run, rows } = sweep({ size: ["small", "medium", "large"] }, (index) => index);
    expect(makeHeatmap(run, rows, judge, { places }).x.labels).toEqual(["small", "medium", "large"]);
  });

  test("too many numbers share places: ranges of equal ratio over decades, and that is said", () => {
    const values = Array.from({ length: 100 }, (_, index) => String(10 ** (-5 + index / 25)));
    const { run, rows } = sweep({ lr: values }, (index) => index);
    const map = makeHeatmap(run, rows, judge, { places: { x: 4, y: 4 } });
    expect(map.x.labels).toHaveLength(4);
    expect(map.x.isBinned).toBe(true);
    expect(map.cells[0]?.map((value) => Math.round(value ?? 0))).toEqual([12, 37, 62, 87]);
    expect(mapNotes(map)[0]).toContain("range");
  });

  test("a run in which nothing varies has none", () => {
    const { rows } = sweep({ lr: ["1"] }, (index) => index);
    const run = manifest({ parameters: ["lr"], swept: [] });
    expect(() => makeHeatmap(run, rows, judge, { places })).toThrow("no parameter");
    expect(makeHeatmap(run, rows, judge, { x: "lr", places }).cells).toEqual([[0]]);
  });
});

const bigMap = (): Heatmap => {
  const { run, rows } = sweep(
    { lr: ["0.1", "0.2", "0.3"], size: Array.from({ length: 12 }, (_, index) => `size-${index}`) },
    (index) => index / 7,
  );
  return makeHeatmap(run, rows, judge, { places });
};

describe("on the terminal", () => {
  test("numbers with a shade, the best marked", () => {
    const { run, rows } = sweep(grid, (index) => index / 10);
    expect(heatmapText(makeHeatmap(run, rows, judge, { places }), memoryIo()).split("\n")).toEqual([
      "calm-otter-001: accuracy by lr and layers",
      "",
      "         lr",
      "layers   1e-3   0.1",
      "     2 ░  0.1 ·   0",
      "     4 █ 0.5* █ 0.4",
      "    10 ▓  0.3 ▒ 0.2",
      "",
      "0 ·░▒▓█ 0.5   * best accuracy: the largest",
    ]);
  });

  test.each([30, 60, 80])("fits %d columns", (columns) => {
    const text = heatmapText(bigMap(), memoryIo(columns));
    const lines = text.split("\n").slice(2, 7);
    expect(Math.max(...lines.map((line) => [...line].length))).toBeLessThanOrEqual(columns);
    expect(text).toContain("do not fit: --svg FILE has all");
  });

  test("one parameter: a bar each", () => {
    const { run, rows } = sweep({ lr: ["1", "2", "3"] }, (index) => [2, 4, -1][index]);
    const lines = heatmapText(makeHeatmap(run, rows, judge, { places }), memoryIo(40)).split("\n");
    const length = (line = ""): number => [...line].filter((one) => one === "█").length;
    expect(lines[4]).toContain("4*");
    expect(length(lines[4])).toBeGreaterThan(length(lines[3]));
    expect(length(lines[5])).toBe(0);
  });

  test("colour only where there is colour", () => {
    const { run, rows } = sweep(grid, (index) => index);
    const map = makeHeatmap(run, rows, judge, { places });
    expect(heatmapText(map, memoryIo())).not.toContain("\u001b");
    expect(heatmapText(map, { ...memoryIo(), colour: true })).toContain("\u001b[48;5;17");
  });
});

describe("as SVG", () => {
  test("is whole, has every value and names the axes", () => {
    const svg = heatmapSvg(bigMap());
    expect(svg.startsWith("<?xml")).toBe(true);
    expect(svg.trimEnd().endsWith("</svg>")).toBe(true);
    for (const text of [">lr<", ">size<", ">size-11<", ">0.3<", ">5<", ">accuracy<"])
      expect(svg).toContain(text);
    expect(svg).not.toMatch(/href|url\(|<script|<image/);
    expect(svg.match(/<rect[^>]*stroke="#d62728"/g)).toHaveLength(1);
    expect(svg).not.toContain("NaN");
  });

  test("names and values from outside are text, never markup", () => {
    const evil = `</text><script>alert("1")</script>&'\u0000\u001b`;
    const { run, rows } = sweep({ [evil]: ["1", evil], y: ["<b>", "2"] }, (index) => index);
    const svg = heatmapSvg(makeHeatmap(run, rows, judge, { places }));
    expect(svg).not.toContain("<script");
    expect(svg).not.toContain("<b>");
    // eslint-disable-next-line no-control-regex
    expect(svg).not.toMatch(/[\u0000-\u0008\u000b-\u001f]/);
    expect(svg).toContain("&lt;script&gt;");
    expect(isWellFormed(svg)).toBe(true);
  });

  test("one parameter: a line over numbers, bars over words", () => {
    const numbers = sweep({ lr: ["1e-4", "1e-3", "1e-2"] }, (index) => index);
    const svg = heatmapSvg(makeHeatmap(numbers.run, numbers.rows, judge, { places }));
    expect(svg).toContain("<polyline");
    const words = sweep({ size: ["s", "m"] }, (index) => index - 1);
    const bars = heatmapSvg(makeHeatmap(words.run, words.rows, judge, { places }));
    expect(bars).not.toContain("<polyline");
    expect(isWellFormed(svg) && isWellFormed(bars)).toBe(true);
  });

  test("nothing finished: an empty picture that says so", () => {
    const { run, rows } = sweep(grid, () => undefined);
    const map = makeHeatmap(run, rows, judge, { places });
    for (const text of [heatmapSvg(map), heatmapText(map, memoryIo(80))])
      expect(text).toContain("no trial finished with accuracy");
  });
});

/** Every tag that opens closes, in order, and attributes hold no markup. */
function isWellFormed(xml: string): boolean {
  const open: string[] = [];
  for (const [, closing, name, , selfClosing] of xml.matchAll(
    /<(\/?)([a-z]+)((?:\s[a-zA-Z][a-zA-Z0-9-]*="[^"<]*")*)\s*(\/?)>/g,
  )) {
    if (closing === "/") {
      if (open.pop() !== name) return false;
    } else if (selfClosing !== "/") open.push(name ?? "");
  }
  const text = xml.replaceAll(/<(\/?)([a-z]+)((?:\s[a-zA-Z][a-zA-Z0-9-]*="[^"<]*")*)\s*(\/?)>/g, "");
  return open.length === 0 && !/[<>]/.test(text.replace(/<\?xml[^>]*\?>/, ""));
}
