import { exp } from "../libm/exp.ts";
import { log } from "../libm/log.ts";
import type { Stream } from "./stream.ts";

const STIRLING = [
  8.333333333333333e-2, -2.777777777777778e-3, 7.936507936507937e-4, -5.952380952380952e-4,
  8.417508417508418e-4, -1.917526917526918e-3, 6.41025641025641e-3, -2.955065359477124e-2,
  1.796443723688307e-1, -1.3924322169059,
];

/** The logarithm of the gamma function, as numpy's distributions compute it. */
export function logGamma(x: number): number {
  if (x === 1 || x === 2) return 0;
  const n = x < 7 ? Math.trunc(7 - x) : 0;
  let x0 = x + n;
  const x2 = (1 / x0) * (1 / x0);
  let sum = STIRLING[9] as number;
  for (let k = 8; k >= 0; k--) {
    sum *= x2;
    sum += STIRLING[k] as number;
  }
  let result = sum / x0 + 0.5 * 1.8378770664093453 + (x0 - 0.5) * log(x0) - x0;
  for (let k = 1; k <= n; k++) {
    result -= log(x0 - 1);
    x0 -= 1;
  }
  return result;
}

function byProduct(s: Stream, lam: number): number {
  const limit = exp(-lam);
  let x = 0;
  let product = 1;
  for (;;) {
    product *= s.double();
    if (product <= limit) return x;
    x += 1;
  }
}

/** Transformed rejection (Hoermann 1993). */
function byRejection(s: Stream, lam: number): number {
  const logLam = log(lam);
  const b = 0.931 + 2.53 * Math.sqrt(lam);
  const a = -0.059 + 0.02483 * b;
  const inverseAlpha = 1.1239 + 1.1328 / (b - 3.4);
  const vr = 0.9277 - 3.6224 / (b - 2);
  for (;;) {
    const u = s.double() - 0.5;
    const v = s.double();
    const us = 0.5 - Math.abs(u);
    const k = Math.floor(((2 * a) / us + b) * u + lam + 0.43);
    if (us >= 0.07 && v <= vr) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (log(v) + log(inverseAlpha) - log(a / (us * us) + b) <= -lam + k * logLam - logGamma(k + 1)) return k;
  }
}

export function poisson(s: Stream, lam: number): number {
  if (lam >= 10) return byRejection(s, lam);
  return lam === 0 ? 0 : byProduct(s, lam);
}
