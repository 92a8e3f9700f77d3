import { limits, type AttemptRef, type OutputReport, type Report, type TaskFailure } from "@rain/protocol";
import { arrived } from "./assign.ts";
import { isIn, tellStory, type Attempt, type AttemptIn, type StopCause } from "./attempts.ts";
import { isGivenUp, lostGraceMs } from "./lease.ts";
import type { Machine } from "./machine.ts";
import { metricsOfReport, tellMetrics, withCost } from "./metrics.ts";
import { objectKey, type RunMetrics, type RunOutcome } from "./types.ts";

/** From the queue to the report. */

/** So many runs may be collecting their outputs, or as many as there are cpus: what they made is on the disk twice. */
const LEAST_COLLECTING = 4;

/** Starts what fits, in order; one that does not fit yet does not hold up those behind it. */
export function startQueued(m: Machine): void {
  if (!m.mayStart || m.collecting >= Math.max(LEAST_COLLECTING, m.config.hello.capacity.cpus)) return;
  m.mayStart = false;
  let left = 0;
  for (const attempt of m.queue) {
    if (m.pool.fits(attempt.phase.assignment.request)) start(m, attempt);
    else m.queue[left++] = attempt;
  }
  m.queue.length = left;
}

function start(m: Machine, attempt: AttemptIn<"queued">): void {
  const { assignment } = attempt.phase;
  const allocation = m.pool.take(assignment.request);
  const { ref } = attempt;
  const fresh = { startedAt: undefined, deadline: Infinity, stopping: undefined };
  m.attempts.move(attempt, { kind: "running", assignment, allocation, ...fresh }, m.now);
  m.running += 1;
  m.emit({ type: "run", ref, spec: assignment.spec, inputs: assignment.inputs, allocation });
}

export function started(m: Machine, ref: AttemptRef, at: number): void {
  const attempt = running(m, ref);
  const timeoutS = attempt.phase.assignment.spec.timeoutS;
  const deadline = timeoutS === undefined ? Infinity : m.now + timeoutS * 1000;
  m.attempts.move(attempt, { ...attempt.phase, startedAt: at, deadline }, m.now);
  if (timeoutS !== undefined) m.timed.add(attempt);
  m.untold.set(attempt, { tellAt: m.now + TELL_STARTED_MS, at });
}

/** Of a program that is over sooner, only its report is worth a message. */
const TELL_STARTED_MS = 20;

/** Tells the server what has been running for a while. */
export function tellStarted(m: Machine): void {
  for (const [attempt, { tellAt, at }] of m.untold) {
    if (tellAt > m.now) return;
    m.untold.delete(attempt);
    m.send({ type: "started", ...attempt.ref, at });
  }
}

/** Its units are for the next ones while its outputs are collected; its time is not measured any more. */
export function programOver(m: Machine, ref: AttemptRef): void {
  const attempt = running(m, ref);
  const { allocation, assignment, stopping } = attempt.phase;
  if (allocation === undefined) return;
  m.pool.give(assignment.request, allocation);
  m.mayStart = true;
  m.collecting += 1;
  m.timed.delete(attempt);
  const over = { allocation: undefined, deadline: Infinity };
  const stopped = stopping && { ...stopping, forceAt: Infinity };
  m.attempts.move(attempt, { ...attempt.phase, ...over, stopping: stopped }, m.now);
}

export function ended(m: Machine, ref: AttemptRef, outcome: RunOutcome): void {
  const attempt = running(m, ref);
  const { phase } = attempt;
  const outputs = outcome.ok ? outcome.outputs : [];
  const users = outputs.map(({ sha256 }) => m.holdings.produced(sha256));
  const finishes = outcome.ok && phase.stopping === undefined;
  if (finishes) {
    for (const { object, sha256 } of outputs) {
      const made = { session: ref.session, object };
      m.holdings.hold(made, sha256);
      m.fresh.set(objectKey(made), attempt.key);
    }
  }
  if (isGivenUp(attempt)) m.abandon(attempt);
  else m.report(attempt, reportOf(m, attempt, outcome));
  for (const [index, { sha256 }] of outputs.entries()) arrived(m, sha256, users[index] ?? []);
}

/** Points and parameters of a program that runs. */
export function metricsCame(m: Machine, ref: AttemptRef, news: RunMetrics): void {
  tellMetrics(m, running(m, ref), news);
}

function reportOf(m: Machine, attempt: AttemptIn<"running">, outcome: RunOutcome): Report {
  const { phase, ref } = attempt;
  const { request, spec } = phase.assignment;
  const cause = phase.stopping?.cause;
  if (cause === "cancel" || cause === "leaving") {
    attempt.metrics = undefined; // nobody asks for them
    return { type: "stopped", ...ref };
  }
  const info = withCost(m, m.pool.share(request), outcome.info);
  const metrics = outcome.metrics && metricsOfReport(m, attempt, outcome.metrics);
  const rest = metrics === undefined ? { info } : { info, metrics };
  if (cause === "timeout") {
    const message = `ran longer than its limit of ${spec.timeoutS} s (timeoutS) and was ended`;
    const stderr = outcome.ok ? undefined : outcome.failure.stderr;
    return { type: "fail", ...ref, failure: { reason: "timeout", message, stderr }, ...rest };
  }
  if (outcome.ok) return { type: "finish", ...ref, outputs: withinMessage(outcome.outputs), ...rest };
  return { type: "fail", ...ref, failure: shortened(outcome.failure), ...rest };
}

/** Bytes ride along as long as the message has room for them; the server reads the others from here. */
function withinMessage(outputs: readonly OutputReport[]): OutputReport[] {
  let room = limits.inlineBytesPerMessage;
  return outputs.map((output) => {
    const { data, ...measured } = output;
    if (data === undefined || data.length > room) return measured;
    room -= data.length;
    return output;
  });
}

/** Longest message of a failure, characters: a thousand outputs may be missing at once. */
const MESSAGE_LENGTH = 16_384;

function shortened(failure: TaskFailure): TaskFailure {
  const { message } = failure;
  if (message.length <= MESSAGE_LENGTH) return failure;
  const left = message.length - MESSAGE_LENGTH;
  return { ...failure, message: `${message.slice(0, MESSAGE_LENGTH)}... (${left} characters more)` };
}

/** The attempt is not wanted any more: it never starts, or its program is ended and then reported. */
export function stopAttempt(m: Machine, attempt: Attempt, cause: StopCause): void {
  if (isIn(attempt, "reported")) return;
  if (!isIn(attempt, "running")) {
    m.report(attempt, { type: "stopped", ...attempt.ref });
    return;
  }
  const before = attempt.phase.stopping;
  const soon = m.now + (cause === "lost" ? lostGraceMs(m) : m.config.killGraceMs);
  // Infinity: KILL was sent already.
  const forceAt =
    before === undefined ? soon : before.forceAt === Infinity ? Infinity : Math.min(before.forceAt, soon);
  const stopping = { cause, forceAt };
  if (attempt.phase.allocation === undefined) {
    // Nothing runs that could be ended: it is reported when its outputs are collected.
    m.attempts.move(attempt, { ...attempt.phase, stopping: { cause, forceAt: Infinity } }, m.now);
    return;
  }
  m.attempts.move(attempt, { ...attempt.phase, deadline: Infinity, stopping }, m.now);
  m.timed.add(attempt);
  if (!before) m.emit({ type: "terminate", ref: attempt.ref, force: false });
}

/** KILL instead of TERM. */
export function force(m: Machine, attempt: AttemptIn<"running">): void {
  const { phase } = attempt;
  if (!phase.stopping || phase.stopping.forceAt === Infinity) return;
  const stopping = { ...phase.stopping, forceAt: Infinity };
  m.attempts.move(attempt, { ...phase, stopping }, m.now);
  m.timed.delete(attempt);
  m.emit({ type: "terminate", ref: attempt.ref, force: true });
}

/** Ends programs whose time is over. */
export function checkTimes(m: Machine): void {
  for (const attempt of m.timed) {
    if (!isIn(attempt, "running")) continue;
    const { deadline, stopping } = attempt.phase;
    if (stopping) {
      if (stopping.forceAt <= m.now) force(m, attempt);
    } else if (deadline <= m.now) {
      stopAttempt(m, attempt, "timeout");
    }
  }
}

/** When `checkTimes` or `tellStarted` has something to do; Infinity for never. */
export function nextTime(m: Machine): number {
  const [untold] = m.untold.values();
  let next = untold?.tellAt ?? Infinity;
  for (const { phase } of m.timed) {
    if (phase.kind === "running") next = Math.min(next, phase.stopping?.forceAt ?? phase.deadline);
  }
  return next;
}

/** The server would refuse this report for ever: the attempt failed, and what it came to is lost. */
export function replaceReport(m: Machine, ref: AttemptRef, why: string): void {
  const attempt = m.attempts.get(ref);
  if (!attempt || !isIn(attempt, "reported")) return;
  const { report } = attempt.phase;
  const failure: TaskFailure = {
    reason: "internal",
    message: `the governor's report (${report.type}) breaks the protocol, which is a bug: ${why.slice(0, MESSAGE_LENGTH)}`,
  };
  m.log("error", `attempt ${attempt.key}: ${failure.message}`);
  for (const { object } of report.type === "finish" ? report.outputs : []) {
    const made = { session: ref.session, object };
    if (m.fresh.get(objectKey(made)) === attempt.key) m.fresh.delete(objectKey(made));
    m.holdings.drop(made);
  }
  attempt.phase = { kind: "reported", report: { type: "fail", ...attempt.ref, failure, info: {} } };
  m.send(attempt.phase.report);
}

function running(m: Machine, ref: AttemptRef): AttemptIn<"running"> {
  const attempt = m.attempts.get(ref);
  if (attempt && isIn(attempt, "running")) return attempt;
  const story = attempt ? `; its story: ${tellStory(attempt)}` : "";
  throw new Error(
    `news of a run of attempt ${ref.session}/${ref.task}/${ref.attempt}, which is not running${story}`,
  );
}
