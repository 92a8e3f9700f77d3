import { SweepError } from "../errors.ts";
import type { Stream } from "../random/stream.ts";

/** For each axis, which of its values. */
export type Indices = readonly number[];

/** Combinations that a filter may have to look at. */
const MAX_SCAN = 10_000_000;

/** The combinations of a sweep, in order; walked again and again, never kept. */
export interface Combinations {
  readonly count: number;
  readonly each: () => Iterable<Indices>;
  readonly at: (index: number) => Indices | undefined;
}

export type Keep = ((indices: Indices) => boolean) | undefined;

const productOf = (lengths: readonly number[]): bigint =>
  lengths.reduce((n, length) => n * BigInt(length), 1n);

/** Digits of `index` where each axis is one digit: the last axis is the fastest. */
function decode(index: bigint, lengths: readonly number[]): number[] {
  const indices: number[] = [];
  let rest = index;
  for (const length of lengths.toReversed()) {
    indices.push(Number(rest % BigInt(length)));
    rest /= BigInt(length);
  }
  return indices.toReversed();
}

/** The next combination in place; false after the last. */
function advance(indices: number[], lengths: readonly number[]): boolean {
  for (let axis = lengths.length - 1; axis >= 0; axis--) {
    const next = (indices[axis] as number) + 1;
    if (next < (lengths[axis] as number)) {
      indices[axis] = next;
      return true;
    }
    indices[axis] = 0;
  }
  return false;
}

function* walkProduct(lengths: readonly number[]): Iterable<Indices> {
  const indices = lengths.map(() => 0);
  do yield [...indices];
  while (advance(indices, lengths));
}

function tooMany(count: bigint, limit: number): SweepError {
  return new SweepError(`the sweep has ${count} combinations, the limit is ${limit}`, {
    hint: "fewer values, or --strategy random_search --trials N",
  });
}

/** All combinations, the first axis slowest. */
export function product(lengths: readonly number[], keep: Keep, limit: number): Combinations {
  const count = productOf(lengths);
  if (count > BigInt(keep === undefined ? limit : MAX_SCAN)) {
    throw tooMany(count, keep === undefined ? limit : MAX_SCAN);
  }
  const all: Combinations = {
    count: Number(count),
    each: () => walkProduct(lengths),
    at: (index) => (index < Number(count) ? decode(BigInt(index), lengths) : undefined),
  };
  return filtered(all, keep);
}

/** The first values of all axes, the second values of all, and so on. */
export function zip(lengths: readonly number[], flags: readonly string[], keep: Keep): Combinations {
  const [count = 1] = lengths;
  if (lengths.some((length) => length !== count)) {
    const each = lengths.map((length, i) => `${flags[i]} has ${length}`).join(", ");
    throw new SweepError(`zip needs the same number of values for each flag: ${each}`, {
      hint: "make them equal, or use --strategy grid_search for all combinations",
    });
  }
  const at = (index: number): Indices | undefined => (index < count ? lengths.map(() => index) : undefined);
  const each = function* (): Iterable<Indices> {
    for (let i = 0; i < count; i++) yield lengths.map(() => i);
  };
  return filtered({ count, each, at }, keep);
}

function filtered(all: Combinations, keep: Keep): Combinations {
  if (keep === undefined) return all;
  const each = function* (): Iterable<Indices> {
    for (const indices of all.each()) if (keep(indices)) yield indices;
  };
  let count = 0;
  for (const _ of each()) count += 1;
  if (count === 0) {
    const message = `none of the ${all.count} combinations passes the filter`;
    throw new SweepError(message, { flag: "--where" });
  }
  return { count, each, at: (index) => nth(each(), index) };
}

function nth<T>(items: Iterable<T>, index: number): T | undefined {
  let i = 0;
  for (const item of items) if (i++ === index) return item;
  return undefined;
}

/**
 * The numbers below `count` in random order without repeats (Fisher and Yates; only moved ones are kept). More
 * draws go on where fewer stopped, so that a search can be extended.
 */
function* shuffled(count: bigint, stream: Stream): Iterable<bigint> {
  const moved = new Map<bigint, bigint>();
  for (let i = 0n; i < count; i++) {
    const j = i + stream.bigInterval(count - 1n - i);
    yield moved.get(j) ?? j;
    if (j !== i) moved.set(j, moved.get(i) ?? i);
    moved.delete(i);
  }
}

/** `trials` of all combinations, drawn without repeats, in the order they were drawn. */
export function randomSearch(
  lengths: readonly number[],
  keep: Keep,
  trials: number,
  stream: Stream,
): Combinations {
  const total = productOf(lengths);
  if (total >= 2n ** 64n) {
    throw new SweepError(`the product has ${total} combinations, the limit is 2**64`, {
      hint: "fewer values",
    });
  }
  if (BigInt(trials) > total) {
    const message = `${trials} trials from a product of ${total} combinations without repeats`;
    throw new SweepError(message, { flag: "--trials", hint: `--trials ${total}, or more values` });
  }
  const found: bigint[] = [];
  let looked = 0;
  for (const index of shuffled(total, stream)) {
    if (found.length === trials || looked === MAX_SCAN) break;
    looked += 1;
    if (keep === undefined || keep(decode(index, lengths))) found.push(index);
  }
  if (found.length < trials) {
    const message = `only ${found.length} of ${looked} combinations pass the filter, ${trials} trials are asked for`;
    throw new SweepError(message, { flag: "--where" });
  }
  const at = (i: number): Indices | undefined => {
    const index = found[i];
    return index === undefined ? undefined : decode(index, lengths);
  };
  const each = function* (): Iterable<Indices> {
    for (const index of found) yield decode(index, lengths);
  };
  return { count: found.length, each, at };
}
