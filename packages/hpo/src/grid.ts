/**
 * The combinations of a grid by their numbers. `python/rain_hpo.py` does the same in the same order: a program in
 * either language picks the same combination for the same number.
 */

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };
/** Values of each parameter. */
export type Grid = Readonly<Record<string, readonly Json[]>>;
export type Combination = Readonly<Record<string, Json>>;

/** How combinations are taken from the grid. */
export const GridSearch = "grid_search";
export const RandomSearch = "random_search";
export type Strategy = typeof GridSearch | typeof RandomSearch;

/** Most combinations of a grid that is searched at random: their order is kept in memory. */
const MAX_SHUFFLED = 10_000_000;

/** Throws a TypeError or RangeError that says what is wrong with a grid. */
export function checkGrid(grid: Grid): void {
  if (typeof grid !== "object" || grid === null || Array.isArray(grid))
    throw new TypeError("pick: grid must be an object of lists, such as { lr: [0.1, 0.01], layers: [2, 4] }");
  for (const [name, values] of Object.entries(grid)) {
    if (!Array.isArray(values)) throw new TypeError(`pick: grid: ${name} must be a list of values`);
    if (values.length === 0) throw new RangeError(`pick: grid: ${name} has no values`);
  }
}

/** How many combinations a grid has: the product of the numbers of values. */
export const countOf = (grid: Grid): number =>
  Object.values(grid).reduce((count, values) => count * values.length, 1);

/** Combination `number`, counted with the first parameter slowest. */
export function combinationAt(grid: Grid, number: number): Combination {
  const picked: [string, Json][] = [];
  let rest = number;
  for (const [name, values] of Object.entries(grid).toReversed()) {
    picked.push([name, values[rest % values.length] as Json]);
    rest = Math.floor(rest / values.length);
  }
  return Object.fromEntries(picked.toReversed());
}

/** The place in the grid of the `order`-th combination that is taken; undefined when there are no more. */
export function placeOf(grid: Grid, strategy: Strategy, order: number, seed: string): number | undefined {
  const count = countOf(grid);
  if (order >= count) return undefined;
  switch (strategy) {
    case GridSearch:
      return order;
    case RandomSearch:
      return shuffled(count, seed)[order];
    default:
      throw new TypeError(`pick: there is no strategy ${String(strategy)}; use GridSearch or RandomSearch`);
  }
}

/** The numbers below `count` in an order that the seed decides: Fisher and Yates with xorshift32. */
function shuffled(count: number, seed: string): Uint32Array {
  if (count > MAX_SHUFFLED)
    throw new RangeError(
      `pick: the grid has ${count} combinations; RandomSearch takes at most ${MAX_SHUFFLED}: give fewer values`,
    );
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  let state = hash(seed) || 1;
  for (let last = count - 1; last > 0; last -= 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const other = (state >>> 0) % (last + 1);
    const value = order[last] as number;
    order[last] = order[other] as number;
    order[other] = value;
  }
  return order;
}

/** FNV-1a of the text's UTF-8. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 0x01000193);
  return value >>> 0;
}
