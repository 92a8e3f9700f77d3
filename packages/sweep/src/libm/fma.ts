const SPLIT = 2 ** 27 + 1;

const double = new Float64Array(1);
const words = new Uint32Array(double.buffer);
/** Which of the two words of a double holds its sign and exponent: depends on the machine's byte order. */
const HIGH = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 1 : 0;
const LOW = 1 - HIGH;

export const highWord = (x: number): number => {
  double[0] = x;
  return words[HIGH] as number;
};
export const lowWord = (x: number): number => {
  double[0] = x;
  return words[LOW] as number;
};
/** The double of these two words; both are taken modulo 2^32. */
export const fromWords = (high: number, low: number): number => {
  words[HIGH] = high;
  words[LOW] = low;
  return double[0] as number;
};

/** a * b - p exactly, where p is the rounded product (Dekker). */
function productError(a: number, b: number, p: number): number {
  const ca = SPLIT * a;
  const ah = ca - (ca - a);
  const al = a - ah;
  const cb = SPLIT * b;
  const bh = cb - (cb - b);
  const bl = b - bh;
  return ah * bh - p + ah * bl + al * bh + al * bl;
}

/** a + b - s exactly, where s is the rounded sum (Knuth). */
function sumError(a: number, b: number, s: number): number {
  const bb = s - a;
  return a - (s - bb) + (b - bb);
}

/** a + b rounded to odd: an inexact sum ends in a 1 bit, so that a second rounding cannot go wrong. */
function addOdd(a: number, b: number): number {
  const s = a + b;
  const error = sumError(a, b, s);
  if (error === 0) return s;
  const low = lowWord(s);
  if ((low & 1) === 1) return s;
  const high = highWord(s);
  if (s > 0 === error > 0) return fromWords(high, low | 1);
  return low === 0 ? fromWords(high - 1, 0xffffffff) : fromWords(high, low - 1);
}

/**
 * a * b + c with one rounding (Boldo and Melquiond), as the machine instruction computes it. Right while no
 * intermediate result overflows or is subnormal, which holds for every use in this folder.
 */
export function fma(a: number, b: number, c: number): number {
  const product = a * b;
  const rest = productError(a, b, product);
  const low = c + rest;
  const lowRest = sumError(c, rest, low);
  const high = product + low;
  const highRest = sumError(product, low, high);
  return high + addOdd(highRest, lowRest);
}
