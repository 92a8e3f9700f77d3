// The one table that a run prints.

/** @typedef {import("./figures.mjs").Figure} Figure */
/**
 * One line of the table: a figure with the benchmark that made it and the load of the machine.
 * @typedef {Figure & { readonly benchmark: string, readonly load: readonly [number, number] }} Row
 */

/** @param {number} value */
function formatNumber(value) {
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return value.toFixed(size >= 1 ? 2 : 3);
}

/** @param {Row} row */
function spread({ rounds }) {
  if (rounds.length < 2) return "";
  return `${formatNumber(Math.min(...rounds))} .. ${formatNumber(Math.max(...rounds))}`;
}

/** @param {readonly Row[]} rows */
function missingPeers(rows) {
  const commands = /** @type {Map<string, Set<string>>} */ (new Map());
  for (const { peer } of rows) {
    if (peer === undefined || !("missing" in peer)) continue;
    const names = commands.get(peer.missing) ?? new Set();
    commands.set(peer.missing, names.add(peer.name));
  }
  return [...commands].map(
    ([command, names]) => `${[...names].join(", ")}: not installed; \`${command}\` does it`,
  );
}

/**
 * The rows that have a peer, for a document.
 * @param {readonly Row[]} rows
 */
export function formatMarkdown(rows) {
  const lines = rows.flatMap(({ figure, value, unit, peer, load }) =>
    peer === undefined || !("value" in peer)
      ? []
      : [
          `| ${figure} | ${formatNumber(value)} ${unit} | ${peer.name}: ${formatNumber(peer.value)} | ` +
            `${(value / peer.value).toFixed(2)} | ${load.map((each) => each.toFixed(1)).join(" > ")} |`,
        ],
  );
  return [
    "| figure | Rain | held against | ratio | load |",
    "| --- | --- | --- | --- | --- |",
    ...lines,
  ].join("\n");
}

const titles = ["BENCHMARK", "FIGURE", "MEDIAN", "UNIT", "ROUNDS", "PEER OR LIMIT", "PEER", "RATIO", "LOAD"];
/** Columns of numbers, aligned at the right. */
const numbers = new Set([2, 6, 7]);

/** @param {readonly Row[]} rows */
export function formatTable(rows) {
  const notes = /** @type {string[]} */ ([]);
  const lines = rows.map((row) => {
    const { peer, note } = row;
    if (note !== undefined && !notes.includes(note)) notes.push(note);
    const mark = note === undefined ? "" : ` [${notes.indexOf(note) + 1}]`;
    return [
      row.benchmark,
      row.figure + mark,
      formatNumber(row.value),
      row.unit,
      spread(row),
      peer?.name ?? "",
      peer === undefined ? "" : "value" in peer ? formatNumber(peer.value) : "not installed",
      peer === undefined || !("value" in peer) ? "" : (row.value / peer.value).toFixed(2),
      row.load.map((load) => load.toFixed(1)).join(" > "),
    ];
  });
  const widths = titles.map((title, at) =>
    Math.max(title.length, ...lines.map((line) => line[at]?.length ?? 0)),
  );
  const text = [titles, ...lines].map((line) =>
    line
      .map((cell, at) => (numbers.has(at) ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
  return [...text, "", ...notes.map((note, at) => `[${at + 1}] ${note}`), ...missingPeers(rows)].join("\n");
}
