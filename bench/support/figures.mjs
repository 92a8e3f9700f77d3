// What a benchmark hands back, and the arithmetic that all of them share.

/** @typedef {{ readonly name: string, readonly value: number }} Limit */
/**
 * A peer that is not installed here, and the command that installs it.
 * @typedef {{ readonly name: string, readonly missing: string }} Missing
 */
/**
 * A measured number.
 * @typedef {object} Figure
 * @property {string} figure what was measured
 * @property {number} value median of the rounds, in `unit`
 * @property {string} unit
 * @property {readonly number[]} rounds what each round gave; empty for a figure that is no median
 * @property {Limit | Missing} [peer] what it is held against: same unit, same run
 * @property {string} [note]
 */

/**
 * @param {readonly number[]} values
 * @param {number} part 0.5 is the median, 0.99 the 99th percentile
 */
export function quantile(values, part) {
  const sorted = values.toSorted((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(part * sorted.length) - 1))];
  if (value === undefined) throw new Error("nothing was measured");
  return value;
}

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[sorted.length >> 1];
  if (upper === undefined) throw new Error("nothing was measured");
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[(sorted.length >> 1) - 1] ?? upper)) / 2;
}

/** @param {number} bytes */
export const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/**
 * Runs the subjects in turn, round after round, and gives the values of each. Every other round goes backwards, so
 * that a machine that becomes slower or faster meanwhile is no advantage for the first or the last.
 * @template {string} Name
 * @param {number} rounds
 * @param {Readonly<Record<Name, () => number | Promise<number>>>} subjects
 * @returns {Promise<Record<Name, number[]>>}
 */
export async function alternate(rounds, subjects) {
  const names = /** @type {Name[]} */ (Object.keys(subjects));
  const values = /** @type {Record<Name, number[]>} */ ({});
  for (const name of names) values[name] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      values[name].push(await subjects[name]());
    }
  }
  return values;
}

/**
 * Milliseconds that `work` takes.
 * @param {() => unknown} work
 */
export async function time(work) {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}
