/**
 * Turns the results of the sweep into text and pictures: CSV, SVG, a table and a
 * heat map for the terminal. Pure functions: data in, strings out.
 */

/**
 * One finished training.
 *
 * @typedef {object} Result
 * @property {number} size
 * @property {number} dropout
 * @property {number} accuracy
 * @property {number | undefined} durationS
 * @property {string | undefined} governor
 */

/** @typedef {[red: number, green: number, blue: number]} Rgb */

/** Viridis: even steps look even, it works in grey and for colour-blind readers. @type {Rgb[]} */
const VIRIDIS = [
  [68, 1, 84],
  [72, 40, 120],
  [62, 73, 137],
  [49, 104, 142],
  [38, 130, 142],
  [31, 158, 137],
  [53, 183, 121],
  [110, 206, 88],
  [181, 222, 43],
  [253, 231, 37],
];
/** A cell without a number. @type {Rgb} */
const NO_COLOUR = [221, 221, 221];
const SHADES = ["·", "░", "▒", "▓", "█"];
const MISSING = "–";

// --------------------------------------------------------------------- shape

/**
 * The results as a grid: sorted axes, and the result at each crossing.
 *
 * @param {readonly Result[]} results
 */
function grid(results) {
  /** @param {(result: Result) => number} axis */
  const values = (axis) => [...new Set(results.map(axis))].toSorted((a, b) => a - b);
  const byKey = new Map(results.map((result) => [`${result.size} ${result.dropout}`, result]));
  const accuracies = results.map((result) => result.accuracy).filter(Number.isFinite);
  return {
    sizes: values((result) => result.size),
    dropouts: values((result) => result.dropout),
    low: Math.min(...accuracies),
    high: Math.max(...accuracies),
    /**
     * @param {number} size
     * @param {number} dropout
     * @returns {number} NaN where there is none
     */
    at: (size, dropout) => byKey.get(`${size} ${dropout}`)?.accuracy ?? NaN,
  };
}

/**
 * The highest accuracy; among equals the smaller network, then the smaller dropout.
 * NaN never wins.
 *
 * @param {readonly Result[]} results
 * @returns {Result | undefined}
 */
export function best(results) {
  return results
    .filter((result) => Number.isFinite(result.accuracy))
    .toSorted((a, b) => b.accuracy - a.accuracy || a.size - b.size || a.dropout - b.dropout)[0];
}

/** @param {number} accuracy */
export function formatAccuracy(accuracy) {
  return Number.isFinite(accuracy) ? accuracy.toFixed(4) : MISSING;
}

// ----------------------------------------------------------------------- CSV

/** @param {string} cell */
function csvCell(cell) {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

/**
 * @param {readonly Result[]} results
 * @returns {string} with a header, ordered by size and dropout
 */
export function toCsv(results) {
  const rows = results
    .toSorted((a, b) => a.size - b.size || a.dropout - b.dropout)
    .map(({ size, dropout, accuracy, durationS, governor }) =>
      [String(size), String(dropout), String(accuracy), durationS?.toFixed(3) ?? "", governor ?? ""]
        .map(csvCell)
        .join(","),
    );
  return ["size,dropout,accuracy,duration_s,governor", ...rows].map((line) => `${line}\n`).join("");
}

// -------------------------------------------------------------------- colour

/** @param {number} accuracy */
function logError(accuracy) {
  return Math.log(Math.max(1 - accuracy, 1e-4));
}

/**
 * Where an accuracy lies between low and high: 0 to 1. The scale is the logarithm
 * of the error rate: 0.97 and 0.98 stay apart even if one cell is at 0.6.
 *
 * @param {number} accuracy
 * @param {{ low: number, high: number }} range
 */
function position(accuracy, { low, high }) {
  return high > low ? (logError(low) - logError(accuracy)) / (logError(low) - logError(high)) : 1;
}

/**
 * The accuracy at a place of the scale; undoes `position`.
 *
 * @param {number} at   0 to 1
 * @param {{ low: number, high: number }} range
 */
function accuracyAt(at, { low, high }) {
  return 1 - Math.exp(logError(low) + (logError(high) - logError(low)) * at);
}

/**
 * @param {number} at   0 to 1
 * @returns {Rgb}
 */
function viridis(at) {
  const place = Math.min(Math.max(at, 0), 1) * (VIRIDIS.length - 1);
  const index = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const [from, to] = /** @type {[Rgb, Rgb]} */ (VIRIDIS.slice(index, index + 2));
  /** @param {0 | 1 | 2} channel */
  const mix = (channel) => Math.round(from[channel] + (to[channel] - from[channel]) * (place - index));
  return [mix(0), mix(1), mix(2)];
}

/**
 * Is black text easier to read on this colour than white (WCAG contrast)?
 *
 * @param {Rgb} rgb
 */
function wantsBlackText(rgb) {
  const [r, g, b] = /** @type {Rgb} */ (
    rgb.map((channel) => (channel <= 10 ? channel / 255 / 12.92 : ((channel / 255 + 0.055) / 1.055) ** 2.4))
  );
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179;
}

/** @param {Rgb} rgb */
function hex(rgb) {
  return `#${rgb.map((channel) => channel.toString(16).padStart(2, "0")).join("")}`;
}

/**
 * The nearest colour of the terminal's 6 x 6 x 6 cube.
 *
 * @param {Rgb} rgb
 */
function cubeColour(rgb) {
  const levels = [0, 95, 135, 175, 215, 255];
  const [r, g, b] = /** @type {Rgb} */ (
    rgb.map((channel) => {
      const distances = levels.map((level) => Math.abs(level - channel));
      return distances.indexOf(Math.min(...distances));
    })
  );
  return 16 + 36 * r + 6 * g + b;
}

/** @param {number} at   0 to 1 */
function terminalColours(at) {
  const rgb = viridis(at);
  return `\u001B[48;5;${cubeColour(rgb)};38;5;${wantsBlackText(rgb) ? 16 : 231}m`;
}

// ------------------------------------------------------------------ terminal

/**
 * Sizes down, dropouts across.
 *
 * @param {readonly Result[]} results
 */
export function toTable(results) {
  const { sizes, dropouts, at } = grid(results);
  const top = best(results);
  const lines = sizes.map((size) => {
    const cells = dropouts.map((dropout) => {
      const mark = size === top?.size && dropout === top.dropout ? "*" : " ";
      return (formatAccuracy(at(size, dropout)) + mark).padStart(9);
    });
    return String(size).padStart(6) + " │" + cells.join("");
  });
  const head = dropouts.map((dropout) => `${dropout} `.padStart(9)).join("");
  const rule = "─".repeat(7) + "┼" + "─".repeat(9 * dropouts.length);
  return [`  size │${head} dropout`, rule, ...lines].map((line) => `${line}\n`).join("");
}

/**
 * Colour blocks with the value in them, or shades of grey characters.
 *
 * @param {readonly Result[]} results
 * @param {{ colour: boolean }} options
 */
export function toHeatMap(results, { colour }) {
  const map = grid(results);
  const blank = " ".repeat(7);
  /** @param {number} value */
  const block = (value) => {
    if (!Number.isFinite(value)) return [blank, MISSING.padStart(4).padEnd(7), blank];
    const at = position(value, map);
    if (!colour) return Array(2).fill(shade(at).repeat(7));
    return [blank, ` ${value.toFixed(3)} `, blank].map((text) => `${terminalColours(at)}${text}\u001B[0m`);
  };
  const lines = map.sizes.flatMap((size) => {
    const blocks = map.dropouts.map((dropout) => block(map.at(size, dropout)));
    const height = colour ? 3 : 2;
    return Array.from({ length: height }, (_, row) => {
      const label = row === 1 ? String(size) : "";
      return `${label.padStart(6)}  ${blocks.map((rows) => rows[row] ?? "").join(colour ? "" : " ")}`;
    });
  });
  const gap = colour ? "" : " ";
  const foot = map.dropouts.map((dropout) => centre(String(dropout), 7)).join(gap);
  const text = ["  size", ...lines, `        ${foot}  dropout`, `        ${legend(map, colour)}`];
  return text.map((line) => `${line.trimEnd()}\n`).join("");
}

/** @param {number} at   0 to 1 */
function shade(at) {
  return SHADES[Math.min(Math.floor(at * SHADES.length), SHADES.length - 1)] ?? "";
}

/**
 * @param {string} text
 * @param {number} width
 */
function centre(text, width) {
  return text.padStart(Math.floor((width + text.length) / 2)).padEnd(width);
}

/**
 * @param {{ low: number, high: number }} range
 * @param {boolean} colour
 */
function legend({ low, high }, colour) {
  const steps = colour ? 24 : SHADES.length;
  const bar = Array.from({ length: steps }, (_, i) => {
    const at = i / (steps - 1);
    return colour ? `${terminalColours(at)} \u001B[0m` : shade(at).repeat(3);
  });
  return `${formatAccuracy(low)} ${bar.join("")} ${formatAccuracy(high)}  accuracy (log scale)`;
}

// ----------------------------------------------------------------------- SVG

const CELL = { width: 92, height: 60 };
const MARGIN = { left: 88, top: 84, right: 132, bottom: 72 };

/** @param {string} text */
function escapeXml(text) {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} content
 * @param {string} [attributes]
 */
function svgText(x, y, content, attributes = "") {
  return `<text x="${x}" y="${y}" ${attributes}>${escapeXml(content)}</text>`;
}

/**
 * @param {ReturnType<typeof grid>} map
 * @param {Result | undefined} top   gets a frame
 */
function svgCells(map, top) {
  /** @type {string[]} */
  const cells = [];
  let frame = "";
  map.sizes.forEach((size, row) => {
    map.dropouts.forEach((dropout, column) => {
      const x = MARGIN.left + column * CELL.width;
      const y = MARGIN.top + row * CELL.height;
      const value = map.at(size, dropout);
      const rgb = Number.isFinite(value) ? viridis(position(value, map)) : NO_COLOUR;
      const box = `x="${x}" y="${y}" width="${CELL.width}" height="${CELL.height}"`;
      cells.push(
        `<rect ${box} fill="${hex(rgb)}"><title>size ${size}, dropout ${dropout}: ${formatAccuracy(value)}</title></rect>`,
        svgText(
          x + CELL.width / 2,
          y + CELL.height / 2 + 5,
          formatAccuracy(value),
          `class="value" fill="${wantsBlackText(rgb) ? "#000000" : "#ffffff"}"`,
        ),
      );
      if (size === top?.size && dropout === top.dropout) {
        frame = `<rect x="${x + 2}" y="${y + 2}" width="${CELL.width - 4}" height="${CELL.height - 4}" fill="none" stroke="#d7191c" stroke-width="4"/>`;
      }
    });
  });
  return [...cells, frame];
}

/** @param {ReturnType<typeof grid>} map */
function svgAxes(map) {
  const width = map.dropouts.length * CELL.width;
  const height = map.sizes.length * CELL.height;
  const middle = MARGIN.top + height / 2;
  return [
    ...map.sizes.map((size, row) =>
      svgText(
        MARGIN.left - 12,
        MARGIN.top + (row + 0.5) * CELL.height + 5,
        String(size),
        'text-anchor="end"',
      ),
    ),
    ...map.dropouts.map((dropout, column) =>
      svgText(
        MARGIN.left + (column + 0.5) * CELL.width,
        MARGIN.top + height + 24,
        String(dropout),
        'text-anchor="middle"',
      ),
    ),
    svgText(MARGIN.left + width / 2, MARGIN.top + height + 52, "dropout probability", 'class="axis"'),
    svgText(26, middle, "hidden units", `class="axis" transform="rotate(-90 26 ${middle})"`),
  ];
}

/**
 * The colour bar with its ticks.
 *
 * @param {ReturnType<typeof grid>} map
 */
function svgScale(map) {
  const x = MARGIN.left + map.dropouts.length * CELL.width + 28;
  const height = map.sizes.length * CELL.height;
  const stops = VIRIDIS.map(
    (rgb, i) => `<stop offset="${((i / (VIRIDIS.length - 1)) * 100).toFixed(1)}%" stop-color="${hex(rgb)}"/>`,
  );
  const ticks = (map.high > map.low ? [0, 0.25, 0.5, 0.75, 1] : [1]).flatMap((at) => {
    const y = MARGIN.top + height * (1 - at);
    return [
      `<path d="M${x + 18} ${y}h5" stroke="#333333"/>`,
      svgText(x + 28, y + 4, accuracyAt(at, map).toFixed(3), 'class="tick"'),
    ];
  });
  return [
    `<defs><linearGradient id="scale" x1="0" y1="1" x2="0" y2="0">${stops.join("")}</linearGradient></defs>`,
    `<rect x="${x}" y="${MARGIN.top}" width="18" height="${height}" fill="url(#scale)" stroke="#333333" stroke-width="0.5"/>`,
    svgText(x - 4, MARGIN.top - 14, "accuracy (log)", 'class="tick"'),
    ...ticks,
  ];
}

/**
 * A picture that stands alone: no fonts, styles or scripts from elsewhere.
 *
 * @param {readonly Result[]} results
 * @param {{ title: string }} options
 */
export function toSvg(results, { title }) {
  const map = grid(results);
  const top = best(results);
  const width = MARGIN.left + map.dropouts.length * CELL.width + MARGIN.right;
  const height = MARGIN.top + map.sizes.length * CELL.height + MARGIN.bottom;
  const summary = top
    ? `best: ${formatAccuracy(top.accuracy)} with ${top.size} hidden units and dropout ${top.dropout} (framed)`
    : "no results";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" fill="#222222" role="img" aria-labelledby="title summary">`,
    `<title id="title">${escapeXml(title)}</title><desc id="summary">${escapeXml(summary)}</desc>`,
    "<style>text{font:15px system-ui,'DejaVu Sans',Helvetica,Arial,sans-serif}" +
      ".title{font-size:20px;font-weight:bold}.axis{font-size:16px;text-anchor:middle}.tick{font-size:13px}" +
      ".value{font-size:16px;text-anchor:middle}</style>",
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    svgText(MARGIN.left, 36, title, 'class="title"'),
    svgText(MARGIN.left, 60, summary),
    ...svgCells(map, top),
    ...svgAxes(map),
    ...(top ? svgScale(map) : []),
    "</svg>\n",
  ].join("\n");
}
