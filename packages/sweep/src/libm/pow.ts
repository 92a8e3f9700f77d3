// The floating-point operations of glibc's pow and their order, since "bit for bit" means just that; the constants are
// those of its table. Both are from Arm's optimized routines: see NOTICE.md.
import { expWithTail } from "./exp.ts";
import { fma, fromWords, highWord, lowWord } from "./fma.ts";
import { LN2, POLY, TABLE } from "./pow-table.ts";

const at = (table: Float64Array, i: number): number => table[i] as number;
const OFFSET = 0x3fe69555;

/** y * log(x) in two parts, for a positive finite x. */
function scaledLog(x: number, y: number): [high: number, tail: number] {
  let high = highWord(x);
  let low = lowWord(x);
  if (high < 0x00100000) {
    const scaled = x * 2 ** 52;
    high = highWord(scaled) - (52 << 20);
    low = lowWord(scaled);
  }
  const offset = (high - OFFSET) | 0;
  const i = 3 * ((offset >>> 13) & 127);
  const k = offset >> 20;
  const z = fromWords(high - (offset & 0xfff00000), low);
  const r = fma(z, at(TABLE, i), -1);
  const t1 = fma(k, at(LN2, 0), at(TABLE, i + 1));
  const t2 = t1 + r;
  const lo1 = fma(k, at(LN2, 1), at(TABLE, i + 2));
  const lo2 = t1 - t2 + r;
  const ar = at(POLY, 0) * r;
  const ar2 = r * ar;
  const hi = t2 + ar2;
  const lo3 = fma(ar, r, -ar2);
  const lo4 = t2 - hi + ar2;
  const upper = fma(ar2, fma(r, at(POLY, 6), at(POLY, 5)), fma(r, at(POLY, 4), at(POLY, 3)));
  const poly = fma(ar2, upper, fma(r, at(POLY, 2), at(POLY, 1)));
  const lo = fma(r * ar2, poly, lo1 + lo2 + lo3 + lo4);
  const log = hi + lo;
  const logTail = hi - log + lo;
  const product = y * log;
  return [product, fma(y, logTail, fma(y, log, -product))];
}

/**
 * x to the power of y, bit for bit that of glibc (2.28 and newer) on machines with fused multiply-add, for a
 * positive finite x and a y of ordinary size; the rest (zero, infinity, negative x) has exact answers or is
 * JavaScript's.
 */
export function pow(x: number, y: number): number {
  if (x === 1 || y === 0) return 1;
  const ordinary = x > 0 && x < Infinity && Math.abs(y) >= 2 ** -65 && Math.abs(y) < 2 ** 63;
  if (!ordinary) return x ** y;
  const [high, tail] = scaledLog(x, y);
  return expWithTail(high, tail);
}
