// The floating-point operations of glibc's log and their order, since "bit for bit" means just that; the constants are
// those of its table. Both are from Arm's optimized routines: see NOTICE.md.
import { fma, fromWords, highWord, lowWord } from "./fma.ts";
import { LN2, POLY, POLY_NEAR_ONE, TABLE } from "./log-table.ts";

const at = (table: Float64Array, i: number): number => table[i] as number;
/** The high word of the start of the reduced interval [0.6875, 1.375). */
const OFFSET = 0x3fe60000;

function logNearOne(x: number): number {
  const b = POLY_NEAR_ONE;
  const r = x - 1;
  const r2 = r * r;
  const r3 = r * r2;
  const low = fma(at(b, 3), r2, fma(at(b, 2), r, at(b, 1)));
  const mid = fma(at(b, 6), r2, fma(at(b, 5), r, at(b, 4)));
  const top = fma(at(b, 10), r3, fma(at(b, 9), r2, fma(at(b, 8), r, at(b, 7))));
  const poly = fma(fma(top, r3, mid), r3, low);
  const w = r * 2 ** 27;
  const rHigh = r + w - w;
  const rLow = r - rHigh;
  const square = rHigh * rHigh * at(b, 0);
  const high = r + square;
  const rest = fma(at(b, 0) * rLow, r + rHigh, r - high + square);
  return high + fma(poly, r3, rest);
}

/**
 * Natural logarithm, bit for bit that of glibc (2.28 and newer) on machines with fused multiply-add. V8's own
 * differs in the last bit of some values, which would change what a seed gives.
 */
export function log(x: number): number {
  if (x === 1) return 0;
  if (x >= 1 - 2 ** -4 && x < 1 + 1.03515625 * 2 ** -4) return logNearOne(x);
  if (!(x > 0)) return x === 0 ? -Infinity : NaN;
  if (x === Infinity) return x;
  let high = highWord(x);
  let low = lowWord(x);
  if (high < 0x00100000) {
    const scaled = x * 2 ** 52;
    high = highWord(scaled) - (52 << 20);
    low = lowWord(scaled);
  }
  const offset = (high - OFFSET) | 0;
  const i = (offset >>> 13) & 127;
  const k = offset >> 20;
  const z = fromWords(high - (offset & 0xfff00000), low);
  const r = fma(z, at(TABLE, 2 * i), -1);
  const w = fma(k, at(LN2, 0), at(TABLE, 2 * i + 1));
  const sum = w + r;
  const rest = fma(k, at(LN2, 1), w - sum + r);
  const r2 = r * r;
  const upper = fma(fma(at(POLY, 4), r, at(POLY, 3)), r2, fma(at(POLY, 2), r, at(POLY, 1)));
  return fma(r * r2, upper, fma(at(POLY, 0), r2, rest)) + sum;
}
