// The floating-point operations of glibc's exp and their order, since "bit for bit" means just that; the constants are
// those of its table. Both are from Arm's optimized routines: see NOTICE.md.
import { fma, fromWords, highWord, lowWord } from "./fma.ts";
import { POLY, REDUCE, TABLE } from "./exp-table.ts";

const at = (table: Float64Array, i: number): number => table[i] as number;

/** scale * (1 + tmp) where scale, of these words, has left the range of normal doubles. */
function nearTheLimits(tmp: number, high: number, low: number, k: number): number {
  if (k >= 0) {
    const scale = fromWords(high - (1009 << 20), low);
    return 2 ** 1009 * fma(tmp, scale, scale);
  }
  const scale = fromWords(high + (1022 << 20), low);
  const product = tmp * scale;
  let y = scale + product;
  if (y < 1) {
    // Rounds y where its subnormal result ends, so that scaling it down does not round a second time.
    const rest = scale - y + product;
    const one = 1 + y;
    y = one + (1 - one + y + rest) - 1;
    if (y === 0) return 0;
  }
  return 2 ** -1022 * y;
}

/** exp(x + tail) for a tail far smaller than x. */
export function expWithTail(x: number, tail: number): number {
  const size = Math.abs(x);
  if (size < 2 ** -54) return 1 + x;
  if (size >= 1024) return x > 0 ? Infinity : 0;
  const shift = at(REDUCE, 3);
  const kd = fma(x, at(REDUCE, 0), shift) - shift;
  const k = kd | 0;
  let r = fma(kd, at(REDUCE, 2), fma(kd, at(REDUCE, 1), x));
  r += tail;
  const i = 2 * (k & 127);
  const base = at(TABLE, i + 1);
  const high = highWord(base) + ((k << 13) | 0);
  const low = lowWord(base);
  const r2 = r * r;
  const near = fma(r2, fma(r, at(POLY, 1), at(POLY, 0)), r + at(TABLE, i));
  const tmp = fma(r2 * r2, fma(r, at(POLY, 3), at(POLY, 2)), near);
  if (size >= 512) return nearTheLimits(tmp, high, low, k);
  const scale = fromWords(high, low);
  return fma(tmp, scale, scale);
}

/** e^x, bit for bit that of glibc (2.28 and newer) on machines with fused multiply-add. */
export const exp = (x: number): number => (Number.isNaN(x) ? NaN : expWithTail(x, 0));
