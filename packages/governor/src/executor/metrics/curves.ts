import { forbiddenKeys } from "@rain/protocol/codec";
import {
  limits,
  metricName,
  type MetricPoint,
  type MetricSummaries,
  type MetricSummary,
} from "@rain/protocol";
import type { LineMetrics } from "./parse.ts";

/** Every point of a metric up to this number; then every second one, and half as many after each STRIDE_POINTS more. */
const ALL_POINTS = 1_000;
const STRIDE_POINTS = 500;

interface Curve {
  summary: { last: number; min: number; max: number; count: number; step: number | undefined };
  /** Points that were kept, and the number of the last of them. */
  kept: number;
  keptAt: number;
  at: number;
}

/**
 * The curves of one attempt: which points are kept, and exact figures over all values. A point that was kept stays:
 * long curves become sparser as they go. Points beyond the limit of all curves together are not kept either; the nearer
 * it is, the sparser all of them become. Pure.
 */
export class Curves {
  readonly #curves = new Map<string, Curve>();
  readonly #maxPoints: number;
  #points = 0;
  #fresh: MetricPoint[] = [];
  /** Values whose metrics are left out, and the first such name. */
  #leftOut = 0;
  #leftOutName = "";

  /** `maxPoints`: of all curves; default `limits.metricPoints`. */
  constructor(maxPoints: number = limits.metricPoints) {
    // The last point of each curve has its place.
    this.#maxPoints = maxPoints - limits.metricNames;
  }

  /** Takes the values of a line. `at`: milliseconds since 1970. */
  add({ step, values }: LineMetrics, at: number): void {
    for (const [name, value] of values) this.#value(name, value, step, at);
  }

  /** Points that were kept since the last call. */
  take(): MetricPoint[] {
    const taken = this.#fresh;
    this.#fresh = [];
    return taken;
  }

  /** No value comes any more: every curve ends with its last one. */
  finish(): void {
    for (const [name, { summary, keptAt, at }] of this.#curves)
      if (keptAt !== summary.count) this.#fresh.push(point(name, summary.last, summary.step, at));
  }

  get summaries(): MetricSummaries | undefined {
    if (this.#curves.size === 0) return undefined;
    return Object.fromEntries([...this.#curves].map(([name, { summary }]) => [name, plain(summary)]));
  }

  /** What people should know of what is missing. */
  get notes(): string[] {
    if (this.#leftOut === 0) return [];
    const name = JSON.stringify(this.#leftOutName.slice(0, limits.metricNameBytes));
    return [
      `metrics: ${this.#leftOut} values are left out, the first of ${name}: an attempt may have ${limits.metricNames} ` +
        `names of up to ${limits.metricNameBytes} characters`,
    ];
  }

  #value(name: string, value: number, step: number | undefined, at: number): void {
    const curve = this.#curves.get(name) ?? this.#begin(name);
    if (curve === undefined) {
      if (this.#leftOut === 0) this.#leftOutName = name;
      this.#leftOut += 1;
      return;
    }
    const { summary } = curve;
    summary.last = value;
    summary.step = step;
    summary.count += 1;
    if (!(summary.min <= value) && !Number.isNaN(value)) summary.min = value;
    if (!(summary.max >= value) && !Number.isNaN(value)) summary.max = value;
    curve.at = at;
    if (this.#points >= this.#maxPoints || summary.count - curve.keptAt < this.#stride(curve)) return;
    curve.kept += 1;
    curve.keptAt = summary.count;
    this.#points += 1;
    this.#fresh.push(point(name, value, step, at));
  }

  #begin(name: string): Curve | undefined {
    if (this.#curves.size >= limits.metricNames || forbiddenKeys.has(name)) return undefined;
    if (name === "" || !metricName.safeParse(name).success) return undefined;
    const summary = { last: Number.NaN, min: Number.NaN, max: Number.NaN, count: 0, step: undefined };
    const curve = { summary, kept: 0, keptAt: 0, at: 0 };
    this.#curves.set(name, curve);
    return curve;
  }

  /** One point of how many values is kept. */
  #stride({ kept }: Curve): number {
    const own = kept < ALL_POINTS ? 0 : 1 + Math.floor((kept - ALL_POINTS) / STRIDE_POINTS);
    const left = (this.#maxPoints - this.#points) / this.#maxPoints;
    return 2 ** (own + Math.floor(Math.log2(1 / left)));
  }
}

function point(name: string, value: number, step: number | undefined, at: number): MetricPoint {
  return step === undefined ? { name, value, at } : { name, value, step, at };
}

const plain = ({ step, ...summary }: Curve["summary"]): MetricSummary =>
  step === undefined ? summary : { ...summary, step };
