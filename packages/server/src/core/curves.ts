import {
  limits,
  utf8Length,
  type Attempt,
  type MetricPoint,
  type MetricsBatch,
  type MetricSummary,
  type MetricSummaries,
  type UserAttributes,
} from "@rain/protocol";

/** A reply with points may have about so many bytes; longer curves are thinned out for it. */
const REPLY_BYTES = 3_000_000;
/** What a point takes on the wire beside its name. */
const POINT_BYTES = 56;
/** Names that no map of a message may have. */
const UNFIT = new Set(["__proto__", "constructor", "prototype"]);

/** The curves of an attempt as plain columns: for a snapshot. */
export interface CurveColumns {
  readonly attempt: Attempt;
  readonly next: number;
  readonly names: readonly string[];
  /** For each point: index of its name, value, step (NaN: none), time. */
  readonly name: readonly number[];
  readonly value: readonly number[];
  readonly step: readonly number[];
  readonly at: readonly number[];
  readonly params?: UserAttributes | undefined;
}

/** The metrics of one attempt, in columns: a point takes 28 bytes and no object of its own. */
export class Curves {
  readonly attempt: Attempt;
  /** Number of the point that comes next: those before it are known. */
  next = 0;
  params: UserAttributes | undefined;
  readonly #names: string[] = [];
  readonly #name: number[] = [];
  readonly #value: number[] = [];
  readonly #step: number[] = [];
  readonly #at: number[] = [];
  readonly #summaries: Map<string, MetricSummary> = new Map();

  constructor(attempt: Attempt) {
    this.attempt = attempt;
  }

  /** What of a batch is not known yet; undefined when all of it is. */
  static news(known: Curves | undefined, batch: MetricsBatch): MetricsBatch | undefined {
    const next = known?.next ?? 0;
    const skip = Math.max(0, next - batch.from);
    const from = batch.from + skip;
    const points = batch.points.slice(skip, skip + Math.max(0, limits.metricPoints - from));
    const isSame = JSON.stringify(batch.params) === JSON.stringify(known?.params);
    const params = isSame ? undefined : batch.params;
    if (points.length === 0 && params === undefined) return undefined;
    return { from, points, ...(params === undefined ? {} : { params }) };
  }

  /** Takes what `news` let through. */
  add({ from, points, params }: MetricsBatch): void {
    if (params !== undefined) this.params = params;
    if (points.length > 0) this.next = from + points.length;
    for (const point of points) this.#take(point);
  }

  #take({ name, value, step = NaN, at }: MetricPoint): void {
    const before = this.#summaries.get(name);
    if (before === undefined && (this.#names.length >= limits.metricNames || UNFIT.has(name))) return;
    const known = this.#names.indexOf(name);
    this.#name.push(known >= 0 ? known : this.#names.push(name) - 1);
    this.#value.push(value);
    this.#step.push(step);
    this.#at.push(at);
    this.#summaries.set(name, summarise(before, value, step));
  }

  /** Undefined when no point came. */
  get summaries(): MetricSummaries | undefined {
    return this.#summaries.size === 0 ? undefined : Object.fromEntries(this.#summaries);
  }

  /** The points in the order in which they came. Where one message cannot hold them, evenly fewer of each curve. */
  points(): MetricPoint[] {
    const widths = this.#names.map((name) => POINT_BYTES + utf8Length(name));
    const bytes = this.#name.reduce((sum, name) => sum + (widths[name] ?? 0), 0);
    const stride = Math.ceil(bytes / REPLY_BYTES);
    const seen = this.#names.map(() => 0);
    const points: MetricPoint[] = [];
    for (const [index, name] of this.#name.entries()) {
      const number = seen[name] ?? 0;
      seen[name] = number + 1;
      const isLast = number + 1 === this.#summaries.get(this.#names[name] ?? "")?.count;
      if (stride <= 1 || number % stride === 0 || isLast) points.push(this.#point(index));
    }
    return points;
  }
  #point(index: number): MetricPoint {
    const step = this.#step[index] ?? NaN;
    return {
      name: this.#names[this.#name[index] ?? 0] ?? "",
      value: this.#value[index] ?? NaN,
      ...(Number.isNaN(step) ? {} : { step }),
      at: this.#at[index] ?? 0,
    };
  }

  dump(): CurveColumns {
    const { attempt, next, params } = this;
    return {
      attempt,
      next,
      names: [...this.#names],
      name: [...this.#name],
      value: [...this.#value],
      step: [...this.#step],
      at: [...this.#at],
      params,
    };
  }
  static load(columns: CurveColumns): Curves {
    const curves = new Curves(columns.attempt);
    curves.next = columns.next;
    curves.params = columns.params;
    for (const [index, name] of columns.name.entries()) {
      curves.#take({
        name: columns.names[name] ?? "",
        value: columns.value[index] ?? NaN,
        step: columns.step[index] ?? NaN,
        at: columns.at[index] ?? 0,
      });
    }
    return curves;
  }
}

function summarise(before: MetricSummary | undefined, value: number, step: number): MetricSummary {
  const among = (pick: (a: number, b: number) => number, least: number | undefined): number =>
    least === undefined || Number.isNaN(least) ? value : Number.isNaN(value) ? least : pick(least, value);
  return {
    last: value,
    min: among(Math.min, before?.min),
    max: among(Math.max, before?.max),
    count: (before?.count ?? 0) + 1,
    ...(Number.isNaN(step) ? {} : { step }),
  };
}
