import { escapeText } from "../escape.ts";
import { cellText, isLogarithmic, mapNotes, mapTitle, shareOf, type Heatmap } from "./heatmap.ts";

/** A heatmap, or a line or bars of one parameter, as an SVG file that needs nothing beside itself. */

/** Text for XML. Control characters, which XML does not allow, are shown as on the terminal. */
const escapeXml = (text: string): string =>
  escapeText(text)
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");

type Attributes = Readonly<Record<string, string | number>>;
const round = (value: number): string => String(Math.round(value * 100) / 100);
const attributes = (of: Attributes): string =>
  Object.entries(of)
    .map(([name, value]) => ` ${name}="${typeof value === "number" ? round(value) : escapeXml(value)}"`)
    .join("");
const tag = (name: string, of: Attributes, content = ""): string =>
  content === "" ? `<${name}${attributes(of)}/>` : `<${name}${attributes(of)}>${content}</${name}>`;
const label = (x: number, y: number, text: string, of: Attributes = {}): string =>
  tag("text", { x, y, ...of }, escapeXml(text));

/** Dark blue over green to yellow, even in brightness, so that it reads in print and for the colour-blind. */
const stops: readonly (readonly [number, number, number])[] = [
  [68, 1, 84],
  [59, 82, 139],
  [33, 145, 140],
  [94, 201, 98],
  [253, 231, 37],
];
function colourOf(share: number): string {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(at));
  const mix = (channel: 0 | 1 | 2): number => {
    const [from, to] = [stops[low]?.[channel] ?? 0, stops[low + 1]?.[channel] ?? 0];
    return Math.round(from + (to - from) * (at - low));
  };
  return `#${([0, 1, 2] as const).map((channel) => mix(channel).toString(16).padStart(2, "0")).join("")}`;
}

const characterWidth = 7;
const widthOf = (texts: readonly string[]): number =>
  Math.max(0, ...texts.map((text) => [...escapeText(text)].length)) * characterWidth;
const longest = 24;
const cut = (text: string): string => {
  const characters = [...text];
  return characters.length > longest ? `${characters.slice(0, longest - 1).join("")}…` : text;
};

const styles =
  "text{font:12px system-ui,sans-serif;fill:#222}.title{font-size:15px;font-weight:600}.name{font-weight:600}.note{fill:#666}";

export function heatmapSvg(map: Heatmap): string {
  const { width, height, body } = map.y === undefined ? curve(map) : grid(map);
  const notes = mapNotes(map);
  const full = height + notes.length * 18;
  const lines = notes.map((note, index) => label(16, height + index * 18 + 4, note, { class: "note" }));
  const box = { width: round(width), height: round(full), viewBox: `0 0 ${round(width)} ${round(full)}` };
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<svg xmlns="http://www.w3.org/2000/svg"${attributes({ ...box, role: "img" })}>`,
    tag("title", {}, escapeXml(mapTitle(map))),
    tag("style", {}, styles),
    tag("rect", { width: "100%", height: "100%", fill: "#fff" }),
    label(16, 26, mapTitle(map), { class: "title" }),
    ...body,
    ...lines,
    "</svg>",
    "",
  ].join("\n");
}

interface Drawing {
  readonly width: number;
  readonly height: number;
  readonly body: readonly string[];
}
const top = 44;

function grid(map: Heatmap): Drawing {
  const { x, y, cells, best } = map;
  if (y === undefined) return { width: 0, height: 0, body: [] };
  const xLabels = x.labels.map(cut);
  const yLabels = y.labels.map(cut);
  const isDense = x.labels.length * y.labels.length > 400;
  const cellWidth = isDense ? 16 : Math.max(52, Math.min(90, widthOf(xLabels) + 8));
  const cellHeight = isDense ? 16 : 30;
  const left = 16 + Math.max(widthOf(yLabels), widthOf([y.name])) + 10;
  const areTilted = widthOf(xLabels) + 4 > cellWidth;
  const gridWidth = cellWidth * x.labels.length;
  const gridHeight = cellHeight * y.labels.length;
  const body: string[] = [label(left - 8, top + 8, y.name, { class: "name", "text-anchor": "end" })];
  const from = top + 16;
  for (const [atY, line] of cells.entries()) {
    const middle = from + (atY + 0.5) * cellHeight;
    body.push(label(left - 8, middle + 4, yLabels[atY] ?? "", { "text-anchor": "end" }));
    for (const [atX, value] of line.entries()) {
      const place = { x: left + atX * cellWidth, y: from + atY * cellHeight };
      body.push(cell(map, value, place, { width: cellWidth, height: cellHeight }, isDense));
    }
  }
  if (best !== undefined)
    body.push(
      tag("rect", {
        x: left + best.x * cellWidth + 1.5,
        y: from + best.y * cellHeight + 1.5,
        width: cellWidth - 3,
        height: cellHeight - 3,
        fill: "none",
        stroke: "#d62728",
        "stroke-width": 3,
      }),
    );
  const foot = from + gridHeight;
  body.push(...axisLabels(xLabels, (at) => left + (at + 0.5) * cellWidth, foot, areTilted));
  const below = foot + (areTilted ? widthOf(xLabels) * 0.6 + 24 : 20) + 18;
  body.push(label(left + gridWidth / 2, below, x.name, { class: "name", "text-anchor": "middle" }));
  body.push(...colourBar(map, left + gridWidth + 24, from, Math.max(gridHeight, 120)));
  return {
    width: Math.max(left + gridWidth + 130, 32 + mapTitle(map).length * 9),
    height: Math.max(below, from + Math.max(gridHeight, 120)) + 26,
    body,
  };
}

function cell(
  map: Heatmap,
  value: number | undefined,
  place: { readonly x: number; readonly y: number },
  size: { readonly width: number; readonly height: number },
  isDense: boolean,
): string {
  const share = shareOf(map, value);
  const fill = share === undefined ? "#eee" : colourOf(share);
  const box = tag("rect", { ...place, ...size, fill, stroke: "#fff" }, tag("title", {}, cellText(value)));
  if (isDense) return box;
  const at = { x: place.x + size.width / 2, y: place.y + size.height / 2 + 4 };
  const ink = share === undefined ? "#666" : share < 0.6 ? "#fff" : "#222";
  return box + label(at.x, at.y, cellText(value), { "text-anchor": "middle", style: `fill:${ink}` });
}

/** Labels under an axis, those that do not run into the one before. */
function axisLabels(
  labels: readonly string[],
  xOf: (at: number) => number,
  y: number,
  areTilted: boolean,
): string[] {
  const room = areTilted ? 16 : widthOf(labels) + 4;
  const drawn: string[] = [];
  let last = -Infinity;
  for (const [at, text] of labels.entries()) {
    const x = xOf(at);
    if (x - last < room) continue;
    last = x;
    const turn = { "text-anchor": "end", transform: `rotate(-35 ${round(x)} ${round(y + 14)})` };
    drawn.push(
      areTilted ? label(x, y + 14, text, turn) : label(x, y + 16, text, { "text-anchor": "middle" }),
    );
  }
  return drawn;
}

function colourBar({ judge, range }: Heatmap, x: number, y: number, height: number): string[] {
  if (range === undefined) return [];
  const steps = 40;
  const blocks = Array.from({ length: steps }, (_, index) =>
    tag("rect", {
      x,
      y: y + (index * height) / steps,
      width: 14,
      height: height / steps + 0.5,
      fill: colourOf(1 - (index + 0.5) / steps),
    }),
  );
  const marks = [0, 0.25, 0.5, 0.75, 1].map((share) =>
    label(x + 20, y + (1 - share) * height + 4, cellText(range.min + share * (range.max - range.min))),
  );
  return [...blocks, ...marks, label(x, y - 8, cut(judge.name), { class: "name" })];
}

// ------------------------------------------------------------------------------------------------- one parameter

const plotWidth = 560;
const plotHeight = 280;

/** One parameter: a line over numbers, bars over words. */
function curve(map: Heatmap): Drawing {
  const { x, cells, best, judge, range } = map;
  const values = cells[0] ?? [];
  const isLine = x.numbers !== undefined && !x.isBinned && x.numbers.length > 1;
  const [low, high] = valueSpan(range, isLine);
  const yOf = (value: number): number => top + 16 + (1 - (value - low) / (high - low)) * plotHeight;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (high - low));
  const left = 16 + widthOf(ticks.map(cellText)) + 14;
  const xOf = horizontal(x.numbers, isLine, values.length, left);
  const foot = top + 16 + plotHeight;
  const labels = x.labels.map(cut);
  const spacing = labels.length > 1 ? plotWidth / labels.length : plotWidth;
  const areTilted = widthOf(labels) + 4 > spacing;
  const below = foot + (areTilted ? widthOf(labels) * 0.6 + 24 : 20) + 18;
  const body = [
    ...ticks.flatMap((value) => [
      tag("line", { x1: left, x2: left + plotWidth, y1: yOf(value), y2: yOf(value), stroke: "#ddd" }),
      label(left - 8, yOf(value) + 4, cellText(value), { "text-anchor": "end" }),
    ]),
    label(16, top + 2, judge.name, { class: "name" }),
    ...(isLine ? line(values, xOf, yOf, best?.x) : barsOf(values, xOf, yOf, spacing, best?.x)),
    ...axisLabels(labels, xOf, foot, areTilted),
    label(left + plotWidth / 2, below, x.name, { class: "name", "text-anchor": "middle" }),
  ];
  return { width: Math.max(left + plotWidth + 32, 32 + mapTitle(map).length * 9), height: below + 26, body };
}

/** A line shows differences, bars lengths: bars include 0. */
function valueSpan(range: Heatmap["range"], isLine: boolean): readonly [number, number] {
  if (range === undefined) return [0, 1];
  const [min, max] = isLine ? [range.min, range.max] : [Math.min(0, range.min), Math.max(0, range.max)];
  const pad = max === min ? Math.abs(max) * 0.1 || 1 : (max - min) * (isLine ? 0.05 : 0);
  return [min - pad, max + pad];
}

function horizontal(
  numbers: readonly number[] | undefined,
  isLine: boolean,
  count: number,
  left: number,
): (at: number) => number {
  if (!isLine || numbers === undefined) return (at) => left + ((at + 0.5) / Math.max(1, count)) * plotWidth;
  const isLog = isLogarithmic(numbers);
  const scaled = numbers.map((value) => (isLog ? Math.log(value) : value));
  const [min, max] = [Math.min(...scaled), Math.max(...scaled)];
  return (at) => left + 20 + (((scaled[at] ?? 0) - min) / (max - min || 1)) * (plotWidth - 40);
}

type Scale = (value: number) => number;

const mark = { stroke: "#d62728", "stroke-width": 3 };

function line(
  values: readonly (number | undefined)[],
  xOf: Scale,
  yOf: Scale,
  best: number | undefined,
): string[] {
  const points = values.flatMap((value, at) =>
    value === undefined || !Number.isFinite(value) ? [] : [{ at, x: xOf(at), y: yOf(value), value }],
  );
  return [
    tag("polyline", {
      points: points.map(({ x, y }) => `${round(x)},${round(y)}`).join(" "),
      fill: "none",
      stroke: colourOf(0.25),
      "stroke-width": 2,
    }),
    ...points.map(({ at, x, y, value }) => {
      const dot = { cx: x, cy: y, r: at === best ? 6 : 4, fill: colourOf(0.25) };
      return tag("circle", { ...dot, ...(at === best && mark) }, tag("title", {}, cellText(value)));
    }),
  ];
}

function barsOf(
  values: readonly (number | undefined)[],
  xOf: Scale,
  yOf: Scale,
  spacing: number,
  best: number | undefined,
): string[] {
  const width = Math.min(60, spacing * 0.7);
  const base = yOf(0);
  const bars = values.flatMap((value, at) => {
    if (value === undefined || !Number.isFinite(value)) return [];
    const top = Math.min(base, yOf(value));
    const box = { x: xOf(at) - width / 2, y: top, width, height: Math.abs(base - yOf(value)) };
    const look = { fill: colourOf(0.25), ...(at === best && mark) };
    return [tag("rect", { ...box, ...look }, tag("title", {}, cellText(value)))];
  });
  const ends = [xOf(0) - spacing / 2, xOf(Math.max(0, values.length - 1)) + spacing / 2] as const;
  return [...bars, tag("line", { x1: ends[0], x2: ends[1], y1: base, y2: base, stroke: "#444" })];
}
