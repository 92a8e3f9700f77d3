import type { AttemptRef, MetricPoint, MetricsBatch, TaskInfo, UserAttributes } from "@rain/protocol";
import type { Attempt } from "./attempts.ts";
import type { Machine } from "./machine.ts";
import type { RunMetrics } from "./types.ts";

/** Metrics that an attempt has told so far; kept until its report is acknowledged, to be told again. */
export interface ToldMetrics {
  readonly points: MetricPoint[];
  params: UserAttributes | undefined;
}

/** Points of one message. */
const CHUNK = 1_000;

/** Tells news of an attempt that runs. */
export function tellMetrics(m: Machine, attempt: Attempt, { points, params }: RunMetrics): void {
  const told = (attempt.metrics ??= { points: [], params: undefined });
  const from = told.points.length;
  told.points.push(...points);
  told.params = params ?? told.params;
  send(m, attempt.ref, told.points, from, params);
}

/** All that an attempt has told and its report does not hold; to be said again to a server that may not have it. */
export function tellMetricsAgain(m: Machine, { ref, metrics }: Attempt): void {
  if (metrics !== undefined) send(m, ref, metrics.points, 0, metrics.params);
}

/** The points that the report of an attempt takes along: the last ones, so that a short run needs no other message. */
export function metricsOfReport(m: Machine, attempt: Attempt, news: RunMetrics): MetricsBatch | undefined {
  const inReport = news.points.slice(-CHUNK);
  const before = news.points.slice(0, news.points.length - inReport.length);
  if (before.length > 0) tellMetrics(m, attempt, { points: before });
  if (inReport.length === 0) return undefined;
  const batch = { from: attempt.metrics?.points.length ?? 0, points: inReport };
  return news.params === undefined ? batch : { ...batch, params: news.params };
}

function send(
  m: Machine,
  ref: AttemptRef,
  points: readonly MetricPoint[],
  start: number,
  params: UserAttributes | undefined,
): void {
  let from = start;
  const first = params === undefined ? {} : { params };
  do {
    const chunk = points.slice(from, from + CHUNK);
    if (chunk.length === 0 && params === undefined) return;
    m.send({ type: "metrics", ...ref, from, points: chunk, ...(from === start ? first : {}) });
    from += CHUNK;
  } while (from < points.length);
}

/** What the attempt cost: the share of this machine that it had, times what an hour of it costs. */
export function withCost(m: Machine, share: number, info: TaskInfo): TaskInfo {
  const { costPerHour } = m.config.hello;
  if (costPerHour === undefined || info.durationS === undefined) return info;
  return { ...info, cost: (info.durationS / 3_600) * costPerHour * share };
}
