import type { Stream } from "./stream.ts";

/** Running sums, divided by the last: what numpy's `choice` searches. */
function cumulative(p: readonly number[]): number[] {
  let sum = 0;
  const sums = p.map((value) => (sum += value));
  return sums.map((value) => value / sum);
}

/** The first index whose sum is above u. */
function search(sums: readonly number[], u: number): number {
  let low = 0;
  let high = sums.length;
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (u < (sums[mid] as number)) high = mid;
    else low = mid + 1;
  }
  return low;
}

function weightedWithoutRepeats(s: Stream, p: readonly number[], count: number): number[] {
  const weights = [...p];
  const found = new Set<number>();
  while (found.size < count) {
    const draws = Array.from({ length: count - found.size }, () => s.double());
    for (const index of found) weights[index] = 0;
    const sums = cumulative(weights);
    for (const u of draws) found.add(search(sums, u));
  }
  return [...found];
}

/** Indices below `population`, as numpy's legacy `choice` draws them. */
export function choose(
  s: Stream,
  population: number,
  count: number,
  replace: boolean,
  p: readonly number[] | undefined,
): number[] {
  if (!replace) return p ? weightedWithoutRepeats(s, p, count) : permutation(s, population).slice(0, count);
  if (!p) return Array.from({ length: count }, () => s.interval(population - 1));
  const sums = cumulative(p);
  return Array.from({ length: count }, () => search(sums, s.double()));
}

/** 0 to n - 1, shuffled. */
export function permutation(s: Stream, n: number): number[] {
  const items = Array.from({ length: n }, (_, i) => i);
  s.shuffle(items);
  return items;
}
