import { escapeText } from "../escape.ts";
import { bold, type Io } from "../output.ts";
import { cellText, mapNotes, mapTitle, shareOf, type Heatmap } from "./heatmap.ts";

/** A heatmap for the terminal: numbers with a shade before them, or on a colour where there is colour. */

const shades = ["·", "░", "▒", "▓", "█"] as const;
const shadeOf = (share: number | undefined): string =>
  share === undefined ? " " : (shades[Math.min(4, Math.floor(share * 5))] ?? " ");

/** Xterm colours from dark blue over green to yellow, with the colour of the text on each. */
const colours = [17, 18, 24, 30, 36, 71, 107, 143, 185, 227] as const;
function paint(text: string, share: number): string {
  const index = Math.min(colours.length - 1, Math.floor(share * colours.length));
  return `\u001b[48;5;${colours[index] ?? 0};38;5;${index < 5 ? 231 : 16}m${text}\u001b[39;49m`;
}

const widestLabel = 20;
const cut = (text: string, width: number): string => {
  const characters = [...text];
  return characters.length > width ? `${characters.slice(0, width - 1).join("")}…` : text;
};

const lengthOf = (text: string): number => [...text].length;
const padStart = (text: string, width: number): string =>
  " ".repeat(Math.max(0, width - lengthOf(text))) + text;

/** How many columns of numbers fit beside the labels of the y axis, as a first guess before the map is made. */
export const placesAcross = (io: Io): number =>
  io.columns === undefined ? 40 : Math.max(2, Math.floor((io.columns - widestLabel - 2) / 10));

export function heatmapText(map: Heatmap, io: Io): string {
  const body = map.y === undefined ? bars(map, io) : grid(map, io);
  const { judge, range } = map;
  const goal = judge.goal === "min" ? "smallest" : "largest";
  const legend =
    range === undefined
      ? []
      : [
          `${cellText(range.min)} ${ramp(io)} ${cellText(range.max)}   * best ${escapeText(judge.name)}: the ${goal}`,
        ];
  const notes = [...legend, ...mapNotes(map).map(escapeText)];
  return [bold(escapeText(mapTitle(map)), io), "", ...body, "", ...notes].join("\n");
}

const ramp = (io: Io): string =>
  io.colour ? colours.map((_, index) => paint(" ", index / colours.length)).join("") : shades.join("");

function grid(map: Heatmap, io: Io): string[] {
  const { x, y, cells, best } = map;
  if (y === undefined) return [];
  const side = Math.max(
    lengthOf(escapeText(y.name)),
    ...y.labels.map((label) => lengthOf(cut(escapeText(label), widestLabel))),
  );
  const texts = cells.map((line, atY) =>
    line.map((value, atX) => `${cellText(value)}${best?.x === atX && best.y === atY ? "*" : ""}`),
  );
  const titles = x.labels.map((label) => cut(escapeText(label), widestLabel));
  const widths = titles.map((title, atX) =>
    Math.max(lengthOf(title), ...texts.map((line) => lengthOf(line[atX] ?? ""))),
  );
  const shown = fitting(
    widths.map((width) => width + 3),
    (io.columns ?? Infinity) - side,
  );
  const head = titles.slice(0, shown).map((title, atX) => `   ${padStart(title, widths[atX] ?? 0)}`);
  const lines = cells.map((line, atY) => {
    const label = padStart(cut(escapeText(y.labels[atY] ?? ""), widestLabel), side);
    const fields = line.slice(0, shown).map((value, atX) => {
      const share = shareOf(map, value);
      const text = padStart(texts[atY]?.[atX] ?? "", widths[atX] ?? 0);
      return io.colour && share !== undefined
        ? ` ${paint(` ${text} `, share)}`
        : ` ${shadeOf(share)} ${text}`;
    });
    return label + fields.join("");
  });
  const left = x.labels.length - shown;
  return [
    `${" ".repeat(side)}   ${escapeText(x.name)}`,
    `${padStart(escapeText(y.name), side)}${head.join("")}`,
    ...lines,
    ...(left > 0 ? [`(${left} more of ${escapeText(x.name)} do not fit: --svg FILE has all)`] : []),
  ];
}

/** How many of these widths fit into the room, one at least. */
function fitting(widths: readonly number[], room: number): number {
  let used = 0;
  for (const [index, width] of widths.entries()) {
    used += width;
    if (used > room) return Math.max(1, index);
  }
  return widths.length;
}

/** One parameter: a bar for each value; the bars begin at 0, or at the smallest value when that is less. */
function bars(map: Heatmap, io: Io): string[] {
  const { x, cells, best, range } = map;
  const values = cells[0] ?? [];
  const labels = x.labels.map((label) => cut(escapeText(label), widestLabel));
  const side = Math.max(lengthOf(escapeText(x.name)), ...labels.map(lengthOf));
  const texts = values.map((value, at) => `${cellText(value)}${best?.x === at ? "*" : " "}`);
  const numbers = Math.max(0, ...texts.map(lengthOf));
  const room = Math.max(4, Math.min(60, (io.columns ?? 80) - side - numbers - 4));
  const [low, high] = [Math.min(0, range?.min ?? 0), Math.max(0, range?.max ?? 0)];
  return [
    padStart(escapeText(x.name), side),
    ...values.map((value, at) => {
      const share = value === undefined || !Number.isFinite(value) ? 0 : (value - low) / (high - low || 1);
      const bar = "█".repeat(Math.round(share * room));
      return `${padStart(labels[at] ?? "", side)}  ${padStart(texts[at] ?? "", numbers)}  ${bar}`.trimEnd();
    }),
  ];
}
