import { RainError, type GovernorId } from "@rain/protocol";
import { retractAll } from "./ahead.ts";
import type { Kernel } from "./kernel.ts";
import type { LiveGovernor } from "./live.ts";
import { isNeeded, type DataObject, type KnownGovernor } from "./state.ts";

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
  if (governor) retractAll(k, governor);
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

/** Drained governors that nothing waits for any more are told to stop. */
export function stopDrained(k: Kernel): void {
  for (const governor of k.live.governors.values()) {
    if (governor.connection === undefined || governor.leaving || !governor.synced) continue;
    if (governor.attempts.size > 0 || !isDraining(k, governor.id)) continue;
    if (hasIrreplaceable(k, governor)) continue;
    k.log("info", `governor ${governor.id} (${governor.hello?.name ?? ""}) is drained and told to stop`);
    tellToStop(k, governor);
  }
}

/** Once: a second word to stop would have it kill its programs without grace. */
function tellToStop(k: Kernel, governor: LiveGovernor): void {
  if (governor.leaving) return;
  governor.leaving = true;
  k.send(governor, { type: "stop" });
}

/** Objects that somebody needs, that are nowhere else, and that no task can make again. */
function hasIrreplaceable(k: Kernel, governor: LiveGovernor): boolean {
  for (const object of governor.replicas) {
    if (!isNeeded(object) || isElsewhere(k, object, governor)) continue;
    const producer = object.producer === undefined ? undefined : object.session.tasks.get(object.producer);
    if (producer !== undefined && producer.state.kind !== "finished" && producer.state.kind !== "open")
      return true;
  }
  return false;
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
