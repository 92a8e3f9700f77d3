import { exp } from "../libm/exp.ts";
import { log } from "../libm/log.ts";
import { pow } from "../libm/pow.ts";
import { poisson } from "./poisson.ts";
import type { Stream } from "./stream.ts";

// Each function draws one value as numpy's legacy generator does (legacy-distributions.c and distributions.c):
// the order of the draws and of the operations is what makes the values the same bit for bit. No refactoring.

export const uniform = (s: Stream, low: number, high: number): number => low + (high - low) * s.double();
export const normal = (s: Stream, loc: number, scale: number): number => loc + scale * s.gauss();
export const lognormal = (s: Stream, mean: number, sigma: number): number => exp(normal(s, mean, sigma));
export const standardExponential = (s: Stream): number => -log(1 - s.double());
export const exponential = (s: Stream, scale: number): number => scale * standardExponential(s);

function smallGamma(s: Stream, shape: number): number {
  for (;;) {
    const u = s.double();
    const v = standardExponential(s);
    if (u <= 1 - shape) {
      const x = pow(u, 1 / shape);
      if (x <= v) return x;
    } else {
      const y = -log((1 - u) / shape);
      const x = pow(1 - shape + shape * y, 1 / shape);
      if (x <= v + y) return x;
    }
  }
}

export function standardGamma(s: Stream, shape: number): number {
  if (shape === 1) return standardExponential(s);
  if (shape === 0) return 0;
  if (shape < 1) return smallGamma(s, shape);
  const b = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * b);
  for (;;) {
    let x = 0;
    let v = 0;
    do {
      x = s.gauss();
      v = 1 + c * x;
    } while (v <= 0);
    v = v * v * v;
    const u = s.double();
    if (u < 1 - 0.0331 * (x * x) * (x * x)) return b * v;
    if (log(u) < 0.5 * x * x + b * (1 - v + log(v))) return b * v;
  }
}

export const gamma = (s: Stream, shape: number, scale: number): number => scale * standardGamma(s, shape);
export const chisquare = (s: Stream, df: number): number => 2 * standardGamma(s, df / 2);
export const pareto = (s: Stream, a: number): number => exp(standardExponential(s) / a) - 1;
export const weibull = (s: Stream, a: number): number => (a === 0 ? 0 : pow(standardExponential(s), 1 / a));
export const power = (s: Stream, a: number): number => pow(1 - exp(-standardExponential(s)), 1 / a);
export const rayleigh = (s: Stream, scale: number): number => scale * Math.sqrt(-2 * Math.log1p(-s.double()));
export const standardCauchy = (s: Stream): number => s.gauss() / s.gauss();

export function standardT(s: Stream, df: number): number {
  const top = s.gauss();
  const bottom = standardGamma(s, df / 2);
  return (Math.sqrt(df / 2) * top) / Math.sqrt(bottom);
}

export function f(s: Stream, dfnum: number, dfden: number): number {
  const top = chisquare(s, dfnum) * dfden;
  return top / (chisquare(s, dfden) * dfnum);
}

export function noncentralChisquare(s: Stream, df: number, nonc: number): number {
  if (nonc === 0) return chisquare(s, df);
  if (df > 1) {
    const central = chisquare(s, df - 1);
    const n = s.gauss() + Math.sqrt(nonc);
    return central + n * n;
  }
  const i = poisson(s, nonc / 2);
  return chisquare(s, df + 2 * i);
}

export function noncentralF(s: Stream, dfnum: number, dfden: number, nonc: number): number {
  const top = noncentralChisquare(s, dfnum, nonc) * dfden;
  return top / (chisquare(s, dfden) * dfnum);
}

function smallBeta(s: Stream, a: number, b: number): number {
  for (;;) {
    const u = s.double();
    const v = s.double();
    const x = pow(u, 1 / a);
    const y = pow(v, 1 / b);
    if (x + y > 1) continue;
    if (x + y > 0) return x / (x + y);
    let logX = log(u) / a;
    let logY = log(v) / b;
    const logM = Math.max(logX, logY);
    logX -= logM;
    logY -= logM;
    return exp(logX - log(exp(logX) + exp(logY)));
  }
}

export function beta(s: Stream, a: number, b: number): number {
  if (a <= 1 && b <= 1) return smallBeta(s, a, b);
  const ga = standardGamma(s, a);
  const gb = standardGamma(s, b);
  return ga / (ga + gb);
}

export function laplace(s: Stream, loc: number, scale: number): number {
  for (;;) {
    const u = s.double();
    if (u >= 0.5) return loc - scale * log(2 - u - u);
    if (u > 0) return loc + scale * log(u + u);
  }
}

export function gumbel(s: Stream, loc: number, scale: number): number {
  for (;;) {
    const u = 1 - s.double();
    if (u < 1) return loc - scale * log(-log(u));
  }
}

export function logistic(s: Stream, loc: number, scale: number): number {
  for (;;) {
    const u = s.double();
    if (u > 0) return loc + scale * log(u / (1 - u));
  }
}

export function triangular(s: Stream, left: number, mode: number, right: number): number {
  const base = right - left;
  const leftBase = mode - left;
  const u = s.double();
  if (u <= leftBase / base) return left + Math.sqrt(u * (leftBase * base));
  return right - Math.sqrt((1 - u) * ((right - mode) * base));
}

export function wald(s: Stream, mean: number, scale: number): number {
  const half = mean / (2 * scale);
  let y = s.gauss();
  y = mean * y * y;
  const x = mean + half * (y - Math.sqrt(4 * scale * y + y * y));
  const u = s.double();
  return u <= mean / (mean + x) ? x : (mean * mean) / x;
}

function concentration(kappa: number): number {
  if (kappa < 1e-5) return 1 / kappa + kappa;
  const r = 1 + Math.sqrt(1 + 4 * kappa * kappa);
  const rho = (r - Math.sqrt(2 * r)) / (2 * kappa);
  return (1 + rho * rho) / (2 * rho);
}

export function vonmises(stream: Stream, mu: number, kappa: number): number {
  if (kappa < 1e-8) return Math.PI * (2 * stream.double() - 1);
  const s = concentration(kappa);
  let w = 0;
  for (;;) {
    const z = Math.cos(Math.PI * stream.double());
    w = (1 + s * z) / (s + z);
    const y = kappa * (s - w);
    const v = stream.double();
    if (y * (2 - y) - v >= 0 || log(y / v) + 1 - y >= 0) break;
  }
  const u = stream.double();
  const angle = (u < 0.5 ? -Math.acos(w) : Math.acos(w)) + mu;
  const wrapped = ((Math.abs(angle) + Math.PI) % (2 * Math.PI)) - Math.PI;
  return angle < 0 ? -wrapped : wrapped;
}
