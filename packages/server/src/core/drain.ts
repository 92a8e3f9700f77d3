import { formatObject, RainError, type GovernorId, type GovernorMessageOf } from "@rain/protocol";
import { retractAll } from "./ahead.ts";
import type { Kernel } from "./kernel.ts";
import { knows, type LiveGovernor } from "./live.ts";
import { isNeeded, type DataObject, type KnownGovernor } from "./state.ts";
import type { DraftCopy } from "./types.ts";

/** Taking governors out of the cluster on purpose: at once, or when nothing that they have is missed. */

export const isDraining = (k: Kernel, id: GovernorId): boolean =>
  k.durable.governors.get(id)?.draining === true;

/** May this governor be given tasks? */
export const takesTasks = (k: Kernel, governor: LiveGovernor): boolean =>
  governor.connection !== undefined && !governor.leaving && !isDraining(k, governor.id);

/** No new tasks from here on. A governor that is not there any more has nothing to drain. */
export function drainGovernor(k: Kernel, id: GovernorId): void {
  const known = knownGovernor(k, id);
  if (!k.live.governors.has(id) || known.draining === true) return;
  k.commit({ type: "governor.draining", governor: id });
  k.log("info", `governor ${id} (${known.name}) is drained: it gets no new tasks`);
  const governor = k.live.governors.get(id);
  if (governor) {
    k.places.touch(governor);
    retractAll(k, governor);
  }
  k.dirty = true;
}

/** Ends a governor now; what it runs is given to others and is not counted as a crash. */
export function stopGovernor(k: Kernel, id: GovernorId): void {
  const known = knownGovernor(k, id);
  const governor = k.live.governors.get(id);
  if (!governor) return;
  if (governor.connection === undefined) {
    throw new RainError(
      "unknown-governor",
      `governor ${id} (${known.name}) is not connected, so it cannot be told to stop; it counts as lost when it ` +
        `stays away for ${Math.round(k.config.leaseMs / 1000)} s. To end its process, use its own machine: rain stop`,
      { governor: id },
    );
  }
  tellToStop(k, governor);
}

/** Governors that are drained or leave give away what only they have; when nothing waits for them, they are told so. */
export function stopDrained(k: Kernel): void {
  for (const governor of k.places.closed) {
    if (!governor.synced || (governor.leaving ? !governor.waits : !isDraining(k, governor.id))) continue;
    const only = onlyHere(k, governor);
    if (only.length > 0) moveAway(k, governor, only);
    if (governor.attempts.size > 0) continue;
    if (governor.leaving) letGo(k, governor, only);
    if (governor.leaving || only.length > 0) continue;
    k.log("info", `governor ${governor.id} (${governor.hello?.name ?? ""}) is drained and told to stop`);
    tellToStop(k, governor);
  }
}

/** It waits a while before it exits, so that others can copy what it has: no longer than that helps. */
function letGo(k: Kernel, governor: LiveGovernor, only: readonly DataObject[]): void {
  const isHopeless = !isDraining(k, governor.id) && takersBeside(k, governor).length === 0;
  if (only.length > 0 && !isHopeless) return;
  governor.waits = false;
  k.send(governor, { type: "stop" });
}

/** Once: a second word to stop would have it kill its programs without grace. */
function tellToStop(k: Kernel, governor: LiveGovernor): void {
  if (governor.leaving) return;
  governor.leaving = true;
  k.places.touch(governor);
  k.send(governor, { type: "stop" });
}

/** Objects that somebody needs and that are on no governor that stays. */
const onlyHere = (k: Kernel, governor: LiveGovernor): DataObject[] =>
  [...governor.replicas].filter((object) => isNeeded(object) && !isElsewhere(k, object, governor));

/** Objects that one governor copies at once, and until it is asked again for one that it could not copy. */
const COPIES = 16;
const AGAIN_MS = 10_000;

/** Has other governors copy objects, those with the fewest to copy first. */
function moveAway(k: Kernel, governor: LiveGovernor, objects: readonly DataObject[]): void {
  const takers = takersBeside(k, governor);
  const coming = new Set(takers.flatMap((taker) => [...taker.incoming]));
  const wanted = new Map<LiveGovernor, DraftCopy[]>();
  for (const object of objects) {
    const { state, session, id, kind } = object;
    if (state.kind !== "finished" || coming.has(object)) continue;
    const holders = k.copies.readableFrom(object);
    let best: LiveGovernor | undefined;
    for (const taker of takers) {
      if (taker.incoming.size >= COPIES || (taker.uncopied.get(object) ?? 0) > k.now) continue;
      if (best === undefined || taker.incoming.size < best.incoming.size) best = taker;
    }
    if (best === undefined || holders.length === 0) continue;
    best.uncopied.delete(object);
    best.incoming.add(object);
    const { size, sha256 } = state;
    const draft = { session: session.id, object: id, kind, size, sha256, holders };
    wanted.set(best, [...(wanted.get(best) ?? []), draft]);
  }
  for (const [{ connection, id }, drafts] of wanted)
    if (connection !== undefined) k.effect({ type: "copy", connection, governor: id, objects: drafts });
}

const takersBeside = (k: Kernel, governor: LiveGovernor): LiveGovernor[] =>
  [...k.live.governors.values()].filter(
    (each) => each !== governor && each.synced && takesTasks(k, each) && knows(each, "copy"),
  );

/** A governor could not copy these: others may, or it later. */
export function uncopied(
  k: Kernel,
  governor: LiveGovernor,
  objects: GovernorMessageOf<"uncopied">["objects"],
): void {
  const name = governor.hello?.name ?? String(governor.id);
  for (const { session, object: id, why } of objects) {
    const object = k.durable.sessions.get(session)?.objects.get(id);
    if (!object || !governor.incoming.delete(object)) continue;
    governor.uncopied.set(object, k.now + AGAIN_MS);
    const problem = `${name} could not copy ${formatObject(session, id)}: ${why}`;
    k.log("warn", problem);
    for (const holder of k.live.replicas.get(object) ?? []) holder.moveProblem = problem;
  }
}

/** Why a governor that is drained is still there. */
export function drainStatus(k: Kernel, governor: LiveGovernor): string {
  if (governor.connection === undefined) return "it is away, and gets no new tasks";
  if (governor.leaving) return "it has been told to stop";
  if (!governor.synced) return "it has just registered";
  const reasons: string[] = [];
  if (governor.attempts.size > 0) reasons.push(`${governor.attempts.size} tasks are not over`);
  const only = onlyHere(k, governor);
  if (only.length > 0) {
    let bytes = 0;
    for (const { state } of only) bytes += state.kind === "finished" ? state.size : 0;
    const what = `${only.length} objects (${bytes} bytes) that are needed are nowhere else`;
    const isAlone = takersBeside(k, governor).length === 0;
    const then = isAlone
      ? "no other governor takes them: start one (rain governor)"
      : "others are copying them";
    reasons.push(`${what}, and ${then}`);
    if (!isAlone && governor.moveProblem !== undefined) reasons.push(governor.moveProblem);
  }
  return reasons.length === 0 ? "it is about to stop" : reasons.join("; ");
}

function isElsewhere(k: Kernel, object: DataObject, governor: LiveGovernor): boolean {
  if (object.state.kind !== "finished" || object.state.data || object.producer === undefined) return true;
  for (const holder of k.live.replicas.get(object) ?? []) {
    if (holder !== governor && holder.synced && takesTasks(k, holder)) return true;
  }
  return false;
}

function knownGovernor(k: Kernel, id: GovernorId): KnownGovernor {
  const known = k.durable.governors.get(id);
  if (known) return known;
  throw new RainError("unknown-governor", `there is no governor ${id}; see: rain governors`, {
    governor: id,
  });
}
