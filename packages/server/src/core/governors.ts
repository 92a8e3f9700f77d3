import {
  RainError,
  toWireError,
  unpackFinishes,
  type Digest,
  type GovernorMessage,
  type GovernorMessageOf,
  type TaskFailure,
} from "@rain/protocol";
import { clearAhead, mayHaveRun, promote, putAhead } from "./ahead.ts";
import { attemptKey, type Kernel } from "./kernel.ts";
import { uncopied } from "./drain.ts";
import { knows, movePhase, newGovernor, type LiveGovernor } from "./live.ts";
import { adopt, currentTask, metrics, release, report, started } from "./reports.ts";
import { minus, toAmounts } from "./resources.ts";
import { isNeeded, type DataObject } from "./state.ts";
import type { ConnectionId } from "./types.ts";

/** What governors say: registration, reports (`reports.ts`), copies, signs of life; and what follows when one is lost. */
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
      for (const { task, attempt, outputs, info } of unpackFinishes(message))
        report(k, governor, { type: "finish", session, task, attempt, outputs, info });
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
    // Its process may be dead, and the network not know it yet: the new one may ask again once this time is over.
    const silentAfterMs = 3 * k.config.heartbeatMs;
    if (k.now - before.lastHeard < silentAfterMs) {
      const error = new RainError(
        "identity-in-use",
        `another governor with the identity of this work folder is connected as ${before.hello?.name ?? before.id}; ` +
          "give each governor a work folder of its own",
        { silentAfterMs },
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
  governor.unwanted.length = 0;
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
function countAnew(
  k: Kernel,
  governor: LiveGovernor,
  attempts: GovernorMessageOf<"register">["attempts"],
): void {
  governor.free = governor.capacity;
  clearAhead(governor);
  const waiting = new Set(attempts.filter(({ running }) => !running).map(attemptKey));
  for (const [key, held] of governor.attempts)
    if (!waiting.has(key)) governor.free = minus(governor.free, held.request);
  for (const [key, held] of governor.attempts) {
    // A word to retract it may be lost.
    if (held.retracted && held.room) held.room.retracted--;
    held.retracted = false;
    if (waiting.has(key)) putAhead(governor, held);
  }
  promote(governor, k.now);
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
  countAnew(k, governor, attempts);
  k.places.touch(governor);
}

function holding(k: Kernel, governor: LiveGovernor, message: GovernorMessageOf<"holding">): void {
  for (const copy of message.objects) {
    const { sha256, ...ref } = copy;
    const object = k.durable.sessions.get(ref.session)?.objects.get(ref.object);
    if (object && governor.incoming.delete(object)) k.dirty = true;
    if (object?.state.kind !== "finished" || object.state.sha256 !== sha256 || !isNeeded(object)) {
      k.copies.drop(governor, copy);
      continue;
    }
    k.copies.add(object, governor);
    if (governor.synced) k.copies.update(object);
    else governor.announced.set(object, sha256);
  }
  if (message.done && !governor.synced) toldAll(k, governor);
}

/** It has told everything that it holds, and is told what of it to keep under another name and what to drop. */
function toldAll(k: Kernel, governor: LiveGovernor): void {
  governor.synced = true;
  const { announced, unwanted, replicas, incoming } = governor;
  const { lost, adopted } = unannounced(governor);
  for (const object of lost) k.copies.remove(object, governor);
  k.cacheUse.tellToAdopt(governor, adopted);
  for (const object of replicas) k.copies.update(object);
  for (const [object, sha256] of announced)
    if (!replicas.has(object)) unwanted.push({ session: object.session.id, object: object.id, sha256 });
  for (const copy of unwanted) {
    // Needed again since, and there or on its way.
    const object = k.durable.sessions.get(copy.session)?.objects.there(copy.object);
    if (!object || !(replicas.has(object) || incoming.has(object))) k.copies.drop(governor, copy);
  }
  announced.clear();
  unwanted.length = 0;
  k.copies.rebuildLost();
  k.dirty = true;
}

/**
 * Copies that a governor should have and does not tell of. Where the same bytes are there under another name, it was
 * told to adopt them and did not hear it: it is told again.
 */
function unannounced(governor: LiveGovernor): { lost: DataObject[]; adopted: DataObject[] } {
  const { replicas, announced, unwanted } = governor;
  const here = new Set<Digest>(
    knows(governor, "adopt") ? [...announced.values(), ...unwanted.map(({ sha256 }) => sha256)] : [],
  );
  const [lost, adopted]: [DataObject[], DataObject[]] = [[], []];
  for (const object of replicas) {
    if (announced.has(object)) continue;
    const { state } = object;
    (state.kind === "finished" && here.has(state.sha256) ? adopted : lost).push(object);
  }
  return { lost, adopted };
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
  const ran = new Set([...governor.attempts.values()].filter(mayHaveRun));
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
