import { exp } from "../libm/exp.ts";
import { log } from "../libm/log.ts";
import type { Stream } from "./stream.ts";

// As numpy's legacy generator draws them, its known mistakes included: the values must be the same.

function byInversion(s: Stream, n: number, p: number): number {
  const q = 1 - p;
  const qn = exp(n * log(q));
  const np = n * p;
  const bound = Math.trunc(Math.min(n, np + 10 * Math.sqrt(np * q + 1)));
  let x = 0;
  let px = qn;
  let u = s.double();
  while (u > px) {
    x++;
    if (x > bound) {
      x = 0;
      px = qn;
      u = s.double();
    } else {
      u -= px;
      px = ((n - x + 1) * p * px) / (x * q);
    }
  }
  return x;
}

/** What depends on n and p only. */
interface Btpe {
  readonly n: number;
  readonly r: number;
  readonly q: number;
  readonly m: number;
  readonly p1: number;
  readonly xm: number;
  readonly xl: number;
  readonly xr: number;
  readonly c: number;
  readonly laml: number;
  readonly lamr: number;
  readonly p2: number;
  readonly p3: number;
  readonly p4: number;
}

function prepare(n: number, p: number): Btpe {
  const r = Math.min(p, 1 - p);
  const q = 1 - r;
  const fm = n * r + r;
  const m = Math.floor(fm);
  const p1 = Math.floor(2.195 * Math.sqrt(n * r * q) - 4.6 * q) + 0.5;
  const xm = m + 0.5;
  const xl = xm - p1;
  const xr = xm + p1;
  const c = 0.134 + 20.5 / (15.3 + m);
  const left = (fm - xl) / (fm - xl * r);
  const laml = left * (1 + left / 2);
  const right = (xr - fm) / (xr * q);
  const lamr = right * (1 + right / 2);
  const p2 = p1 * (1 + 2 * c);
  const p3 = p2 + c / laml;
  return { n, r, q, m, p1, xm, xl, xr, c, laml, lamr, p2, p3, p4: p3 + c / lamr };
}

/** A candidate: `sure` needs no test; undefined means that it fell outside. */
function propose(s: Stream, b: Btpe): { y: number; v: number; sure: boolean } | undefined {
  const u = s.double() * b.p4;
  const v = s.double();
  if (u <= b.p1) return { y: Math.floor(b.xm - b.p1 * v + u), v, sure: true };
  if (u <= b.p2) {
    const x = b.xl + (u - b.p1) / b.c;
    const height = v * b.c + 1 - Math.abs(b.m - x + 0.5) / b.p1;
    return height > 1 ? undefined : { y: Math.floor(x), v: height, sure: false };
  }
  if (u <= b.p3) {
    const y = Math.floor(b.xl + log(v) / b.laml);
    return y < 0 || v === 0 ? undefined : { y, v: v * (u - b.p2) * b.laml, sure: false };
  }
  const y = Math.floor(b.xr - log(v) / b.lamr);
  return y > b.n || v === 0 ? undefined : { y, v: v * (u - b.p3) * b.lamr, sure: false };
}

function ratioAccepts(b: Btpe, y: number, v: number): boolean {
  const s = b.r / b.q;
  const a = s * (b.n + 1);
  let f = 1;
  for (let i = b.m + 1; i <= y; i++) f *= a / i - s;
  for (let i = y + 1; i <= b.m; i++) f /= a / i - s;
  return v <= f;
}

const stirling = (x: number, square: number): number =>
  (13680 - (462 - (132 - (99 - 140 / square) / square) / square) / square) / x / 166320;

function stirlingAccepts(b: Btpe, y: number, v: number, k: number): boolean {
  const nrq = b.n * b.r * b.q;
  const rho = (k / nrq) * ((k * (k / 3 + 0.625) + 0.16666666666666666) / nrq + 0.5);
  const t = (-k * k) / (2 * nrq);
  const a = log(v);
  if (a < t - rho) return true;
  if (a > t + rho) return false;
  const x1 = y + 1;
  const f1 = b.m + 1;
  const z = b.n + 1 - b.m;
  const w = b.n - y + 1;
  const bound =
    b.xm * log(f1 / x1) +
    (b.n - b.m + 0.5) * log(z / w) +
    (y - b.m) * log((w * b.r) / (x1 * b.q)) +
    stirling(f1, f1 * f1) +
    stirling(z, z * z) +
    stirling(x1, x1 * x1) +
    stirling(w, w * w);
  return a <= bound;
}

/** BTPE (Kachitvichyanukul and Schmeiser 1988). */
function byRejection(s: Stream, n: number, p: number): number {
  const b = prepare(n, p);
  for (;;) {
    const candidate = propose(s, b);
    if (candidate === undefined) continue;
    const { y, v, sure } = candidate;
    if (sure) return y;
    const k = Math.abs(y - b.m);
    const far = k > 20 && k < (n * b.r * b.q) / 2 - 1;
    if (far ? stirlingAccepts(b, y, v, k) : ratioAccepts(b, y, v)) return y;
  }
}

export function binomial(s: Stream, n: number, p: number): number {
  if (p <= 0.5) return p * n <= 30 ? byInversion(s, n, p) : byRejection(s, n, p);
  const q = 1 - p;
  return n - (q * n <= 30 ? byInversion(s, n, q) : byRejection(s, n, q));
}

export function multinomial(s: Stream, n: number, pvals: readonly number[]): number[] {
  const counts = pvals.map(() => 0);
  let remaining = 1;
  let left = n;
  const last = pvals.length - 1;
  for (let j = 0; j < last; j++) {
    const p = pvals[j] as number;
    const count = binomial(s, left, p / remaining);
    counts[j] = count;
    left -= count;
    if (left <= 0) break;
    remaining -= p;
    if (remaining <= 0) break;
  }
  if (left > 0) counts[last] = left;
  return counts;
}
