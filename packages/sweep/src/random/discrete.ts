import { exp } from "../libm/exp.ts";
import { log } from "../libm/log.ts";
import { pow } from "../libm/pow.ts";
import { gamma } from "./continuous.ts";
import { logGamma, poisson } from "./poisson.ts";
import type { Stream } from "./stream.ts";

// As in continuous.ts: the order of draws and operations is numpy's.

const MAX_INT64 = 2 ** 63;

export const negativeBinomial = (s: Stream, n: number, p: number): number =>
  poisson(s, gamma(s, n, (1 - p) / p));

export function geometric(s: Stream, p: number): number {
  if (p < 1 / 3) return Math.ceil(Math.log1p(-s.double()) / log(1 - p));
  let x = 1;
  let product = p;
  let sum = p;
  const q = 1 - p;
  const u = s.double();
  while (u > sum) {
    product *= q;
    sum += product;
    x++;
  }
  return x;
}

export function zipf(s: Stream, a: number): number {
  const am1 = a - 1;
  const b = pow(2, am1);
  for (;;) {
    const u = 1 - s.double();
    const v = s.double();
    const x = Math.floor(pow(u, -1 / am1));
    if (x >= MAX_INT64 || x < 1) continue;
    const t = pow(1 + 1 / x, am1);
    if ((v * x * (t - 1)) / (b - 1) <= t / b) return x;
  }
}

export function logseries(s: Stream, p: number): number {
  const r = log(1 - p);
  for (;;) {
    const v = s.double();
    if (v >= p) return 1;
    const u = s.double();
    const q = 1 - exp(r * u);
    if (v <= q * q) {
      const result = Math.floor(1 + log(v) / log(q));
      if (result < 1 || v === 0) continue;
      return result;
    }
    return v >= q ? 1 : 2;
  }
}

function fewSamples(s: Stream, good: number, bad: number, sample: number): number {
  const d1 = bad + good - sample;
  const d2 = Math.min(bad, good);
  let y = d2;
  let k = sample;
  while (y > 0) {
    const u = s.double();
    y -= Math.floor(u + y / (d1 + k));
    k--;
    if (k === 0) break;
  }
  const z = Math.trunc(d2 - y);
  return good > bad ? sample - z : z;
}

const D1 = 1.7155277699214135;
const D2 = 0.8989161620588988;

/** Ratio of uniforms (HRUA). */
function manySamples(s: Stream, good: number, bad: number, sample: number): number {
  const smaller = Math.min(good, bad);
  const larger = Math.max(good, bad);
  const population = good + bad;
  const m = Math.min(sample, population - sample);
  const d4 = smaller / population;
  const d6 = m * d4 + 0.5;
  const d7 = Math.sqrt(((population - m) * sample * d4 * (1 - d4)) / (population - 1) + 0.5);
  const d8 = D1 * d7 + D2;
  const weight = (z: number): number =>
    logGamma(z + 1) + logGamma(smaller - z + 1) + logGamma(m - z + 1) + logGamma(larger - m + z + 1);
  const d10 = weight(Math.floor(((m + 1) * (smaller + 1)) / (population + 2)));
  const d11 = Math.min(Math.min(m, smaller) + 1, Math.floor(d6 + 16 * d7));
  let z = 0;
  for (;;) {
    const x = s.double();
    const y = s.double();
    const w = d6 + (d8 * (y - 0.5)) / x;
    if (w < 0 || w >= d11) continue;
    z = Math.floor(w);
    const t = d10 - weight(z);
    if (x * (4 - x) - 3 <= t) break;
    if (x * (x - t) >= 1) continue;
    if (2 * log(x) <= t) break;
  }
  if (good > bad) z = m - z;
  return m < sample ? good - z : z;
}

export function hypergeometric(s: Stream, good: number, bad: number, sample: number): number {
  if (sample > 10) return manySamples(s, good, bad, sample);
  return sample > 0 ? fewSamples(s, good, bad, sample) : 0;
}
