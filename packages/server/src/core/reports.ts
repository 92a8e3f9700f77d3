import {
  isSubtype,
  type AttemptRef,
  type GovernorMessageOf,
  type MetricsBatch,
  type MissingInput,
  type ObjectId,
  type Report,
  type TaskFailure,
} from "@rain/protocol";
import { learn, startedAhead } from "./ahead.ts";
import { Curves } from "./curves.ts";
import { attemptKey, type Kernel } from "./kernel.ts";
import { movePhase, type LiveGovernor } from "./live.ts";
import { isNeeded, type Task } from "./state.ts";

/** What governors say of attempts: that they run, what they measure, and what they came to. */

/** How often a task may be sent to a governor that cannot get its inputs, before it fails. */
const STARVED_LIMIT = 5;

/** The task, if this attempt on this governor is the one that counts: fencing by number. */
export function currentTask(k: Kernel, governor: LiveGovernor, ref: AttemptRef): Task | undefined {
  const task = k.durable.sessions.get(ref.session)?.tasks.get(ref.task);
  if (task?.state.kind !== "open") return undefined;
  return task.state.governor === governor.id && task.state.attempt === ref.attempt ? task : undefined;
}

/** An attempt whose assignment was a hint that the journal lost: nobody else has the task, so it counts. */
export function adopt(k: Kernel, governor: LiveGovernor, ref: AttemptRef, ahead = false): Task | undefined {
  const task = k.durable.sessions.get(ref.session)?.tasks.get(ref.task);
  if (task?.state.kind !== "open" || task.state.governor !== undefined) return undefined;
  if (ref.attempt <= task.state.attempt) return undefined;
  const { session, task: id, attempt } = ref;
  const place = { session, task: id, attempt, governor: governor.id, adopted: true };
  k.commit({ type: "assigned", ...place, ...(ahead ? { ahead } : {}) });
  k.resumeAttempt(task, governor);
  return task;
}

export function started(k: Kernel, governor: LiveGovernor, message: GovernorMessageOf<"started">): void {
  startedAhead(k, governor, message);
  const task = currentTask(k, governor, message);
  const entry = task && k.live.tasks.get(task);
  if (entry?.phase.kind !== "assigned" && entry?.phase.kind !== "running") return;
  movePhase(entry, { kind: "running", governor, since: k.now, startTime: message.at });
}

/** Of the current attempt only, and each point once. A hint: the governor tells them again after a reconnect. */
export function metrics(k: Kernel, governor: LiveGovernor, message: GovernorMessageOf<"metrics">): void {
  const task = currentTask(k, governor, message);
  const batch = task && newsOf(task, message);
  if (!batch) return;
  const { session, task: id, attempt } = message;
  k.commit({ type: "metrics", session, task: id, attempt, ...batch });
}

/** The points of the current attempt that are not known yet. */
const newsOf = (task: Task, batch: MetricsBatch | undefined): MetricsBatch | undefined =>
  batch && Curves.news(task.curves, batch);

export function report(k: Kernel, governor: LiveGovernor, message: Report): void {
  const { session, task: id, attempt } = message;
  const ref = { session, task: id, attempt };
  const task = currentTask(k, governor, ref) ?? adopt(k, governor, ref);
  const held = governor.attempts.get(attemptKey(ref));
  if (held && (message.type === "finish" || message.type === "fail")) learn(k, held, message.info.durationS);
  k.free(governor, ref);
  if (task) {
    switch (message.type) {
      case "finish":
        finish(k, governor, task, message);
        break;
      case "fail":
        fail(k, governor, task, message);
        break;
      case "stopped":
        release(k, task, "nothing", "its governor did not run it");
        break;
      case "starved":
        starve(k, governor, task, message);
        break;
    }
  }
  if (message.type === "finish") takeOrDrop(k, governor, message);
  // Released only when the records above are durable.
  k.ack(governor, ref);
}

function finish(k: Kernel, governor: LiveGovernor, task: Task, message: GovernorMessageOf<"finish">): void {
  const { session, task: id, attempt, outputs, info } = message;
  if (!areThese(outputs, task.spec.outputs)) {
    const failure: TaskFailure = {
      reason: "internal",
      message: `the governor reported the outputs ${numbersOf(outputs).join(", ")}, but the task has ${numbersOf(task.spec.outputs).join(", ")}`,
    };
    k.commit({ type: "failed", session, task: id, failure: complete(failure, governor, attempt), info });
    return;
  }
  const wrong = wrongType(task, outputs);
  if (wrong !== undefined) {
    const failure: TaskFailure = { reason: "content-type", message: wrong };
    k.commit({ type: "failed", session, task: id, failure: complete(failure, governor, attempt), info });
    return;
  }
  giveUpDisplaced(k, governor, task, outputs);
  const metrics = newsOf(task, message.metrics);
  k.commit(
    metrics
      ? { type: "finished", session, task: id, attempt, governor: governor.id, outputs, info, metrics }
      : { type: "finished", session, task: id, attempt, governor: governor.id, outputs, info },
  );
}

type Numbered = readonly { readonly object: ObjectId }[];
const numbersOf = (list: Numbered): ObjectId[] => list.map(({ object }) => object).toSorted((a, b) => a - b);

/** The same objects, in whatever order; nearly always it is the same order. */
function areThese(list: Numbered, others: Numbered): boolean {
  if (list.length !== others.length) return false;
  if (list.length === 0) return true;
  if (list.every(({ object }, place) => object === others[place]?.object)) return true;
  const sorted = numbersOf(others);
  return numbersOf(list).every((object, place) => object === sorted[place]);
}

/** A measured content type must be a subtype of the declared one. */
function wrongType(task: Task, outputs: GovernorMessageOf<"finish">["outputs"]): string | undefined {
  if (outputs.length === 0) return undefined;
  const declared = new Map(task.spec.outputs.map((output) => [output.object, output]));
  for (const { object, contentType } of outputs) {
    const output = declared.get(object);
    if (!output || isSubtype(contentType, output.contentType)) continue;
    return (
      `output ${output.label} is declared as ${JSON.stringify(output.contentType)}, ` +
      `but what was made is ${JSON.stringify(contentType)}`
    );
  }
  return undefined;
}

/**
 * A program that ran again for one lost output made all of them anew, perhaps with other bytes, and a governor has
 * one version of an object. Where that took the place of the last copy, the new version is taken: without this the
 * task would run again for the displaced output, and displace the first.
 */
function giveUpDisplaced(
  k: Kernel,
  governor: LiveGovernor,
  task: Task,
  outputs: GovernorMessageOf<"finish">["outputs"],
): void {
  if (outputs.length === 0) return;
  const displaced: ObjectId[] = [];
  for (const { object: id, sha256 } of outputs) {
    const object = task.session.objects.get(id);
    if (object?.state.kind !== "finished" || object.state.sha256 === sha256) continue;
    k.copies.remove(object, governor);
    const isGone = object.state.data === undefined && !k.live.replicas.has(object);
    if (isGone && isNeeded(object)) displaced.push(id);
  }
  if (displaced.length === 0) return;
  const why = "its program ran again and made other bytes in place of the last copy";
  const { session, spec } = task;
  k.commit({ type: "reopened", session: session.id, task: spec.id, objects: displaced, why });
}

/**
 * Outputs that a governor reports are copies when they have the bytes that count and somebody needs them; all others
 * go. A governor has one version of an object: bytes of another run took the place of the copy that it had.
 */
function takeOrDrop(k: Kernel, governor: LiveGovernor, message: GovernorMessageOf<"finish">): void {
  if (message.outputs.length === 0) return;
  const session = k.durable.sessions.get(message.session);
  for (const { object: id, sha256 } of message.outputs) {
    const object = session?.objects.get(id);
    if (object?.state.kind === "finished" && object.state.sha256 === sha256 && isNeeded(object)) {
      k.copies.add(object, governor);
      k.copies.update(object);
      continue;
    }
    if (object) k.copies.remove(object, governor);
    k.copies.drop(governor, { session: message.session, object: id, sha256 });
  }
  k.copies.rebuildLost();
}

function fail(k: Kernel, governor: LiveGovernor, task: Task, message: GovernorMessageOf<"fail">): void {
  const { session, task: id, attempt, info } = message;
  const left = (task.spec.retries ?? 0) - task.failures;
  const news = newsOf(task, message.metrics);
  if (left > 0) {
    if (news) k.commit({ type: "metrics", session, task: id, attempt, ...news });
    release(k, task, "failure", `${message.failure.message}; ${left} of its retries left`);
    return;
  }
  const failure = complete(message.failure, governor, attempt);
  k.commit({ type: "failed", session, task: id, failure, info, ...(news ? { metrics: news } : {}) });
}

function starve(k: Kernel, governor: LiveGovernor, task: Task, message: GovernorMessageOf<"starved">): void {
  const why = message.missing.map((each) => `o${each.object}: ${each.why}`).join("; ");
  k.log("warn", `task ${task.session.id}/${task.spec.id} could not get its inputs: ${why}`);
  if (task.starved + 1 >= STARVED_LIMIT) {
    const failure: TaskFailure = {
      reason: "input-unavailable",
      message: `inputs could not be brought to a governor in ${STARVED_LIMIT} attempts: ${why}`,
    };
    const { session, spec } = task;
    const done = complete(failure, governor, message.attempt);
    k.commit({ type: "failed", session: session.id, task: spec.id, failure: done, info: {} });
    return;
  }
  for (const each of message.missing) forgetCopies(k, task, each);
  release(k, task, "starved", why);
  k.copies.rebuildLost();
}

/**
 * The copies of an object that could not be read are no copies. Those alone that were tried, when the report tells: an
 * address on the server itself stands for whatever it would have passed on.
 */
function forgetCopies(k: Kernel, task: Task, { object: id, tried }: MissingInput): void {
  const object = task.session.objects.get(id);
  if (!object || (object.state.kind === "finished" && object.state.data)) return;
  const direct = tried?.filter((url) => !url.startsWith("/")) ?? [];
  const wasTried = ({ hello }: LiveGovernor): boolean =>
    direct.length === 0 || (hello !== undefined && direct.some((url) => url.startsWith(`${hello.dataUrl}/`)));
  for (const holder of [...(k.live.replicas.get(object) ?? [])].filter(wasTried)) {
    k.copies.remove(object, holder);
    k.copies.drop(holder, { session: object.session.id, object: object.id });
  }
}

const complete = (failure: TaskFailure, governor: LiveGovernor, attempt: number): TaskFailure => ({
  ...failure,
  attempt,
  governor: governor.hello?.name ?? String(governor.id),
});

export function release(
  k: Kernel,
  task: Task,
  counts: "crash" | "failure" | "starved" | "nothing",
  why: string,
): void {
  const { session, spec, state } = task;
  k.commit({ type: "released", session: session.id, task: spec.id, attempt: state.attempt, counts, why });
}
