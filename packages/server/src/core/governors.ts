import {
  isSubtype,
  RainError,
  toWireError,
  unpackFinishes,
  type AttemptRef,
  type GovernorMessage,
  type GovernorMessageOf,
  type MetricsBatch,
  type MissingInput,
  type ObjectId,
  type Report,
  type TaskFailure,
} from "@rain/protocol";
import { clearAhead, learn, mayHaveRun, promote, putAhead, startedAhead } from "./ahead.ts";
import { Curves } from "./curves.ts";
import { attemptKey, type Kernel } from "./kernel.ts";
import { uncopied } from "./drain.ts";
import { knows, movePhase, newGovernor, type LiveGovernor } from "./live.ts";
import { minus, toAmounts } from "./resources.ts";
import { isNeeded, type DataObject, type Task } from "./state.ts";
import type { ConnectionId } from "./types.ts";

/** How often a task may be sent to a governor that cannot get its inputs, before it fails. */
const STARVED_LIMIT = 5;

/** What governors say: registration, reports, copies, signs of life; and what follows when one is lost. */
export function handleGovernorMessage(k: Kernel, connection: ConnectionId, message: GovernorMessage): void {
  if (message.type === "register") {
    register(k, connection, message);
    return;
  }
  const governor = k.live.byConnection.get(connection);
  // A connection that was replaced by a newer registration may still deliver: nothing on it counts.
  if (!governor || governor.connection !== connection) return;
  governor.lastHeard = k.now;
  switch (message.type) {
    case "holding":
      holding(k, governor, message);
      break;
    case "started":
      started(k, governor, message);
      break;
    case "metrics":
      metrics(k, governor, message);
      break;
    case "finish":
    case "fail":
    case "stopped":
    case "starved":
      report(k, governor, message);
      break;
    case "finish.batch": {
      const { session } = message;
      for (const finish of unpackFinishes(message))
        report(k, governor, { type: "finish", session, ...finish });
      break;
    }
    case "uncopied":
      uncopied(k, governor, message.objects);
      break;
    case "heartbeat":
      break;
    case "leaving":
      governor.leaving = true;
      governor.waits = true;
      k.places.touch(governor);
      k.dirty = true;
      break;
  }
}

// ------------------------------------------------------------------------------------------------ registration

function register(k: Kernel, connection: ConnectionId, message: GovernorMessageOf<"register">): void {
  const known = k.durable.governorByIdentity.get(message.identity);
  const before = known && k.live.governors.get(known.id);
  if (before?.connection !== undefined && before.incarnation !== message.incarnation) {
    if (k.now - before.lastHeard < 3 * k.config.heartbeatMs) {
      const error = new RainError(
        "identity-in-use",
        `another governor with the identity of this work folder is connected as ${before.hello?.name ?? before.id}; ` +
          "give each governor a work folder of its own",
      );
      k.effect({ type: "send", connection, message: { type: "refused", error: toWireError(error) } });
      k.effect({ type: "close", connection });
      return;
    }
  }
  if (before && before.incarnation !== message.incarnation) {
    loseGovernor(k, before, "crash", "its process was started anew");
  }
  const again = before && before.incarnation === message.incarnation ? before : undefined;
  if (again?.connection !== undefined) {
    k.live.byConnection.delete(again.connection);
    k.effect({ type: "close", connection: again.connection });
  }
  const { type: _type, attempts, ...hello } = message;
  const id = known?.id ?? k.durable.nextGovernor;
  const epoch = (known?.epoch ?? 0) + 1;
  const { identity, incarnation, name } = hello;
  k.commit({ type: "governor.registered", governor: id, identity, incarnation, name, epoch });
  const capacity = toAmounts(hello.capacity);
  const governor = again ?? newGovernor({ id, identity, incarnation }, k.now);
  governor.hello = hello;
  governor.connection = connection;
  governor.synced = false;
  governor.announced.clear();
  governor.dropped.clear();
  governor.incoming.clear();
  governor.uncopied.clear();
  for (const object of governor.replicas) k.copies.update(object);
  governor.capacity = capacity;
  governor.lastHeard = k.now;
  governor.leaving = false;
  governor.waits = false;
  k.live.governors.set(id, governor);
  k.live.byConnection.set(connection, governor);
  k.effect({
    type: "registered",
    connection,
    governor: id,
    epoch,
    dataUrl: hello.dataUrl,
    relay: hello.relay === true,
    batch: hello.batch === true,
  });
  k.log("info", `governor ${id} (${name}) registered, epoch ${epoch}, ${attempts.length} attempts with it`);
  reconcile(k, governor, attempts);
  k.dirty = true;
}

/** What of the capacity is free, and which attempts wait for it, by what the governor says of them. */
function countAnew(governor: LiveGovernor, attempts: GovernorMessageOf<"register">["attempts"]): void {
  governor.free = governor.capacity;
  clearAhead(governor);
  const waiting = new Set(attempts.filter(({ running }) => !running).map(attemptKey));
  for (const [key, held] of governor.attempts)
    if (!waiting.has(key)) governor.free = minus(governor.free, held.request);
  for (const [key, held] of governor.attempts) {
    // A word to retract it may be lost.
    if (held.retracted && held.of) held.of.retracted--;
    held.retracted = false;
    if (waiting.has(key)) putAhead(governor, key, held);
  }
  promote(governor);
}

/** Makes both sides agree on the attempts that this governor has. */
function reconcile(
  k: Kernel,
  governor: LiveGovernor,
  attempts: GovernorMessageOf<"register">["attempts"],
): void {
  const reported = new Set(attempts.map(attemptKey));
  for (const [key, held] of governor.attempts) {
    if (reported.has(key)) continue;
    // The assignment never arrived there, or its report is done with.
    k.free(governor, held);
    const task = currentTask(k, governor, held);
    if (task) release(k, task, "nothing", "the assignment did not reach its governor");
  }
  for (const { running, ...ref } of attempts) {
    const task = currentTask(k, governor, ref) ?? adopt(k, governor, ref, !running);
    const known = task ?? k.durable.sessions.get(ref.session)?.tasks.get(ref.task);
    if (known) k.hold(governor, known, ref.attempt, !running);
    if (!task) {
      k.send(governor, { type: "cancel", ...ref });
      continue;
    }
    k.resumeAttempt(task, governor);
    const entry = k.live.tasks.get(task);
    if (running && entry?.phase.kind === "assigned") {
      movePhase(entry, { kind: "running", governor, since: k.now, startTime: 0 });
    }
  }
  // Only now is it known what runs: what waits has the rest.
  countAnew(governor, attempts);
  k.places.touch(governor);
}

/** The task, if this attempt on this governor is the one that counts: fencing by number. */
function currentTask(k: Kernel, governor: LiveGovernor, ref: AttemptRef): Task | undefined {
  const task = k.durable.sessions.get(ref.session)?.tasks.get(ref.task);
  if (task?.state.kind !== "open") return undefined;
  return task.state.governor === governor.id && task.state.attempt === ref.attempt ? task : undefined;
}

/** An attempt whose assignment was a hint that the journal lost: nobody else has the task, so it counts. */
function adopt(k: Kernel, governor: LiveGovernor, ref: AttemptRef, ahead = false): Task | undefined {
  const task = k.durable.sessions.get(ref.session)?.tasks.get(ref.task);
  if (task?.state.kind !== "open" || task.state.governor !== undefined) return undefined;
  if (ref.attempt <= task.state.attempt) return undefined;
  const { session, task: id, attempt } = ref;
  const place = { session, task: id, attempt, governor: governor.id, adopted: true };
  k.commit({ type: "assigned", ...place, ...(ahead ? { ahead } : {}) });
  k.resumeAttempt(task, governor);
  return task;
}

function holding(k: Kernel, governor: LiveGovernor, message: GovernorMessageOf<"holding">): void {
  for (const { sha256, ...ref } of message.objects) {
    const object = k.durable.sessions.get(ref.session)?.objects.get(ref.object);
    const is = object?.state.kind === "finished" && object.state.sha256 === sha256;
    if (object && governor.incoming.delete(object)) k.dirty = true;
    const isWanted = is && isNeeded(object) && !k.copies.wasDropped(governor, ref, sha256);
    if (!object || !isWanted) {
      k.copies.drop(governor, { ...ref, sha256 });
      continue;
    }
    k.copies.add(object, governor);
    if (governor.synced) k.copies.update(object);
    else governor.announced.add(object);
  }
  if (!message.done || governor.synced) return;
  governor.synced = true;
  const { lost, adopted } = unannounced(governor);
  for (const object of lost) k.copies.remove(object, governor);
  k.cacheUse.tellToAdopt(governor, adopted);
  for (const object of governor.replicas) k.copies.update(object);
  governor.announced.clear();
  governor.dropped.clear();
  k.copies.rebuildLost();
  k.dirty = true;
}

/**
 * Copies that a governor should have and does not tell of. Where the same bytes are there under another name, it was
 * told to adopt them and did not hear it: it is told again.
 */
function unannounced(governor: LiveGovernor): { lost: DataObject[]; adopted: DataObject[] } {
  const { replicas, announced } = governor;
  const canAdopt = knows(governor, "adopt");
  const here = new Set<string>();
  for (const object of announced)
    if (object.state.kind === "finished" && replicas.has(object)) here.add(object.state.sha256);
  const [lost, adopted]: [DataObject[], DataObject[]] = [[], []];
  for (const object of replicas) {
    if (announced.has(object)) continue;
    const { state } = object;
    (canAdopt && state.kind === "finished" && here.has(state.sha256) ? adopted : lost).push(object);
  }
  return { lost, adopted };
}

function started(k: Kernel, governor: LiveGovernor, message: GovernorMessageOf<"started">): void {
  startedAhead(k, governor, message);
  const task = currentTask(k, governor, message);
  const entry = task && k.live.tasks.get(task);
  if (entry?.phase.kind !== "assigned" && entry?.phase.kind !== "running") return;
  movePhase(entry, { kind: "running", governor, since: k.now, startTime: message.at });
}

/** Of the current attempt only, and each point once. A hint: the governor tells them again after a reconnect. */
function metrics(k: Kernel, governor: LiveGovernor, message: GovernorMessageOf<"metrics">): void {
  const task = currentTask(k, governor, message);
  const batch = task && newsOf(task, message);
  if (!batch) return;
  const { session, task: id, attempt } = message;
  k.commit({ type: "metrics", session, task: id, attempt, ...batch });
}

/** The points of the current attempt that are not known yet. */
const newsOf = (task: Task, batch: MetricsBatch | undefined): MetricsBatch | undefined =>
  batch && Curves.news(task.curves, batch);

// ----------------------------------------------------------------------------------------------------- reports

function report(k: Kernel, governor: LiveGovernor, message: Report): void {
  const { session, task: id, attempt } = message;
  const ref = { session, task: id, attempt };
  const task = currentTask(k, governor, ref) ?? adopt(k, governor, ref);
  const of = governor.attempts.get(attemptKey(ref))?.of;
  if (of && (message.type === "finish" || message.type === "fail") && message.info.durationS !== undefined)
    learn(of, message.info.durationS * 1000);
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
  k.send(governor, { type: "ack", attempts: [ref] });
}

function finish(k: Kernel, governor: LiveGovernor, task: Task, message: GovernorMessageOf<"finish">): void {
  const { session, task: id, attempt, outputs, info } = message;
  const expected = task.spec.outputs.map((output) => output.object).toSorted((a, b) => a - b);
  const reported = outputs.map((output) => output.object).toSorted((a, b) => a - b);
  if (expected.join() !== reported.join()) {
    const failure: TaskFailure = {
      reason: "internal",
      message: `the governor reported the outputs ${reported.join(", ")}, but the task has ${expected.join(", ")}`,
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
  const news = newsOf(task, message.metrics);
  k.commit({
    type: "finished",
    session,
    task: id,
    attempt,
    governor: governor.id,
    outputs,
    info,
    ...(news ? { metrics: news } : {}),
  });
}

/** A measured content type must be a subtype of the declared one. */
function wrongType(task: Task, outputs: GovernorMessageOf<"finish">["outputs"]): string | undefined {
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

function release(
  k: Kernel,
  task: Task,
  counts: "crash" | "failure" | "starved" | "nothing",
  why: string,
): void {
  const { session, spec, state } = task;
  k.commit({ type: "released", session: session.id, task: spec.id, attempt: state.attempt, counts, why });
}

// -------------------------------------------------------------------------------------------------------- loss

export function governorGone(k: Kernel, connection: ConnectionId): void {
  const governor = k.live.byConnection.get(connection);
  k.live.byConnection.delete(connection);
  if (!governor || governor.connection !== connection) return;
  governor.connection = undefined;
  governor.synced = false;
  governor.lastHeard = k.now;
  k.places.touch(governor);
  for (const object of governor.replicas) k.copies.update(object);
  if (governor.leaving) loseGovernor(k, governor, "nothing", "it left");
}

/** Everything that this governor had is somebody else's now; what it says later is out of date. */
function loseGovernor(k: Kernel, governor: LiveGovernor, counts: "crash" | "nothing", why: string): void {
  const name = governor.hello?.name ?? k.durable.governors.get(governor.id)?.name ?? "";
  k.log(
    "warn",
    `governor ${governor.id} (${name}) is lost: ${why}; ${governor.attempts.size} attempts with it`,
  );
  if (governor.connection !== undefined) {
    k.live.byConnection.delete(governor.connection);
    k.effect({ type: "close", connection: governor.connection });
    governor.connection = undefined;
  }
  k.live.governors.delete(governor.id);
  for (const object of governor.replicas) k.copies.remove(object, governor);
  const ran = new Set([...governor.attempts.values()].filter((each) => mayHaveRun(governor, each)));
  for (const each of k.freeAll(governor)) {
    const task = currentTask(k, governor, each);
    if (!task) continue;
    const isCrash = counts === "crash" && ran.has(each);
    if (isCrash && task.crashes + 1 >= k.config.crashLimit) {
      const failure: TaskFailure = {
        reason: "crash-limit",
        message: `crash limit ${k.config.crashLimit} reached: its governor was lost while it ran, last ${name} (${why})`,
        attempt: each.attempt,
        governor: name,
      };
      k.commit({ type: "failed", session: each.session, task: each.task, failure, info: {} });
    } else {
      release(k, task, isCrash ? "crash" : "nothing", `governor ${name} is lost: ${why}`);
    }
  }
  k.places.touch(governor);
  k.copies.rebuildLost();
  k.dirty = true;
}

/** Governors that were silent for a lease are lost. */
export function expireGovernors(k: Kernel): void {
  for (const governor of k.live.governors.values()) {
    if (k.now - governor.lastHeard < k.config.leaseMs) continue;
    const seconds = Math.round(k.config.leaseMs / 1000);
    loseGovernor(k, governor, "crash", `not heard of for the lease of ${seconds} s`);
  }
}
