/** Primitive polynomial and first direction numbers of dimensions 2 to 21 (Joe and Kuo, new-joe-kuo-6.21201). */
const DIMENSIONS: readonly (readonly [degree: number, coefficients: number, ...m: number[]])[] = [
  [1, 0, 1],
  [2, 1, 1, 3],
  [3, 1, 1, 3, 1],
  [3, 2, 1, 1, 1],
  [4, 1, 1, 1, 3, 3],
  [4, 4, 1, 3, 5, 13],
  [5, 2, 1, 1, 5, 5, 17],
  [5, 4, 1, 1, 5, 5, 5],
  [5, 7, 1, 1, 7, 11, 19],
  [5, 11, 1, 1, 5, 1, 1],
  [5, 13, 1, 1, 1, 3, 11],
  [5, 14, 1, 3, 5, 5, 31],
  [6, 1, 1, 3, 3, 9, 7, 49],
  [6, 13, 1, 1, 1, 15, 21, 21],
  [6, 16, 1, 3, 1, 13, 27, 49],
  [6, 19, 1, 1, 1, 15, 7, 5],
  [6, 22, 1, 3, 1, 15, 13, 25],
  [6, 25, 1, 1, 5, 5, 19, 61],
  [7, 1, 1, 3, 7, 11, 23, 15, 103],
  [7, 4, 1, 3, 7, 13, 13, 15, 69],
];

/** How many qmc and logqmc flags one sweep may have. */
export const SOBOL_DIMENSIONS: number = DIMENSIONS.length + 1;

/** The 32 direction numbers of a dimension, from 0. */
function directions(dimension: number): Uint32Array {
  const v = new Uint32Array(32);
  const row = DIMENSIONS[dimension - 1];
  if (row === undefined) return v.map((_, i) => 2 ** (31 - i));
  const [degree, coefficients, ...m] = row;
  for (let i = 0; i < 32; i++) {
    if (i < degree) {
      v[i] = (m[i] as number) * 2 ** (31 - i);
      continue;
    }
    let value = (v[i - degree] as number) ^ ((v[i - degree] as number) >>> degree);
    for (let k = 1; k < degree; k++) {
      if (((coefficients >>> (degree - 1 - k)) & 1) === 1) value ^= v[i - k] as number;
    }
    v[i] = value;
  }
  return v;
}

/**
 * The first `count` Sobol points of one dimension (from 0, below SOBOL_DIMENSIONS), in (0, 1). `shift`, 32
 * random bits, moves all points by the same bits: the points stay as evenly spread, another seed gives others.
 */
export function sobol(dimension: number, count: number, shift: number): Float64Array {
  const v = directions(dimension);
  const points = new Float64Array(count);
  let x = 0;
  for (let i = 0; i < count; i++) {
    points[i] = (((x ^ shift) >>> 0) + 0.5) / 2 ** 32;
    x ^= v[31 - Math.clz32(~i & (i + 1))] as number;
  }
  return points;
}
