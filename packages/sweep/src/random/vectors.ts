import { standardGamma } from "./continuous.ts";
import type { Stream } from "./stream.ts";

export function dirichlet(s: Stream, alpha: readonly number[]): number[] {
  const values = alpha.map((a) => standardGamma(s, a));
  let sum = 0;
  for (const value of values) sum += value;
  const inverse = 1 / sum;
  return values.map((value) => value * inverse);
}

type Matrix = number[][];
const cell = (m: Matrix, i: number, j: number): number => (m[i] as number[])[j] as number;

function rotate(m: Matrix, p: number, q: number, c: number, s: number): void {
  for (const row of m) {
    const a = row[p] as number;
    const b = row[q] as number;
    row[p] = c * a - s * b;
    row[q] = s * a + c * b;
  }
}

const transpose = (m: Matrix): Matrix => m.map((_, i) => m.map((row) => row[i] as number));

/** Eigenvalues and eigenvectors (as columns) of a symmetric matrix, by Jacobi's rotations. */
function eigen(matrix: readonly (readonly number[])[]): { values: number[]; vectors: Matrix } {
  let a: Matrix = matrix.map((row) => [...row]);
  const n = a.length;
  const vectors: Matrix = a.map((_, i) => a.map((_row, j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const apq = cell(a, p, q);
        off += Math.abs(apq);
        if (apq === 0) continue;
        const theta = (cell(a, q, q) - cell(a, p, p)) / (2 * apq);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
        const c = 1 / Math.hypot(t, 1);
        rotate(a, p, q, c, t * c);
        a = transpose(a);
        rotate(a, p, q, c, t * c);
        rotate(vectors, p, q, c, t * c);
      }
    }
    if (off === 0) break;
  }
  return { values: a.map((row, i) => row[i] as number), vectors };
}

/** The smallest eigenvalue relative to the largest, for the check that a covariance is one. */
export function isPositiveSemidefinite(cov: readonly (readonly number[])[]): boolean {
  const { values } = eigen(cov);
  return Math.min(...values) >= -1e-8 * Math.max(1, ...values.map(Math.abs));
}

/**
 * Draws `count` vectors. The distribution is numpy's, the values are not: they depend there on the signs that
 * LAPACK's singular value decomposition happens to choose.
 */
export function multivariateNormal(
  s: Stream,
  mean: readonly number[],
  cov: readonly (readonly number[])[],
  count: number,
): number[][] {
  const { values, vectors } = eigen(cov);
  const order = values.map((_, i) => i).toSorted((a, b) => (values[b] as number) - (values[a] as number));
  return Array.from({ length: count }, () => {
    const z = mean.map(() => s.gauss());
    const scaled = z.map((x, k) => x * Math.sqrt(Math.max(0, values[order[k] as number] as number)));
    return mean.map((m, i) => {
      let sum = m;
      for (const [k, x] of scaled.entries()) sum += x * cell(vectors, i, order[k] as number);
      return sum;
    });
  });
}
