import type { DroppedObject, GovernorId } from "@rain/protocol";
import type { Kernel } from "./kernel.ts";
import { movePhase, type LiveGovernor } from "./live.ts";
import { isNeeded, type DataObject, type Task } from "./state.ts";

/**
 * Copies of objects on governors: which there are, whether an object can be read now, and what is to be run again
 * when the last copy of a needed one is gone.
 */
export class Copies {
  readonly #k: Kernel;
  readonly #drops: Map<LiveGovernor, DroppedObject[]> = new Map();
  /** Objects without a copy since the last look: see `rebuildLost`. */
  readonly #lost: Set<DataObject> = new Set();

  constructor(k: Kernel) {
    this.#k = k;
  }

  add(object: DataObject, governor: LiveGovernor): void {
    governor.replicas.add(object);
    const holders = this.#k.live.replicas.get(object);
    if (holders) holders.add(governor);
    else this.#k.live.replicas.set(object, new Set([governor]));
    this.#lost.delete(object);
  }

  remove(object: DataObject, governor: LiveGovernor): void {
    governor.replicas.delete(object);
    const holders = this.#k.live.replicas.get(object);
    if (!holders?.delete(governor)) return;
    if (holders.size === 0) {
      this.#k.live.replicas.delete(object);
      this.#lost.add(object);
    }
    this.update(object);
  }

  /** Can the bytes be had now? When the answer changed, the consumers' counts follow. */
  update(object: DataObject): void {
    const is = this.#canBeRead(object);
    if (is === this.#k.live.available.has(object)) return;
    if (is) this.#k.live.available.add(object);
    else this.#k.live.available.delete(object);
    for (const consumer of object.consumers) {
      const entry = this.#k.live.tasks.get(consumer);
      if (entry?.phase.kind === "waiting") {
        movePhase(entry, { kind: "waiting", missing: entry.phase.missing + (is ? -1 : 1) });
        this.#k.readyIfComplete(entry);
      } else if (entry?.phase.kind === "ready" && !is) {
        movePhase(entry, { kind: "waiting", missing: 1 });
      }
    }
  }

  #canBeRead(object: DataObject): boolean {
    if (object.state.kind !== "finished") return false;
    if (object.state.data || object.producer === undefined) return true;
    return this.readableFrom(object).length > 0;
  }

  /** Governors from which a copy can be read now: connected, and known to have it still. */
  readableFrom(object: DataObject): GovernorId[] {
    const holders: GovernorId[] = [];
    for (const holder of this.#k.live.replicas.get(object) ?? []) {
      if (holder.connection !== undefined && holder.synced) holders.push(holder.id);
    }
    return holders;
  }

  dropEverywhere(object: DataObject): void {
    for (const holder of this.#k.live.replicas.get(object) ?? []) {
      holder.replicas.delete(object);
      this.drop(holder, { session: object.session.id, object: object.id });
    }
    this.#k.live.replicas.delete(object);
    this.#lost.delete(object);
    this.update(object);
  }

  /**
   * With a digest only that version is dropped: another one may be on its way there. A governor that has yet to tell what
   * it has is told when it has done so (`holding`): the same bytes may be the only copy of another object, which it was told
   * to adopt and did not hear. What is dropped without a digest was told by then, or will be, and with one.
   */
  drop(governor: LiveGovernor, ref: DroppedObject): void {
    if (!governor.synced) {
      const { sha256, ...of } = ref;
      if (sha256 !== undefined) governor.unwanted.push({ ...of, sha256 });
      return;
    }
    const drops = this.#drops.get(governor);
    if (drops) drops.push(ref);
    else this.#drops.set(governor, [ref]);
  }

  /** Opens again the tasks whose outputs are needed and have no copy left, and the tasks that those need in turn. */
  rebuildLost(): void {
    if (this.#lost.size === 0) return;
    const planned = new Set<DataObject>();
    const work: DataObject[] = [];
    for (const object of this.#lost) {
      if (object.session.failure || !this.#k.durable.sessions.has(object.session.id)) continue;
      if (isNeeded(object) && this.#isLost(object)) work.push(object);
    }
    this.#lost.clear();
    const byProducer = new Map<Task, DataObject[]>();
    for (let object = work.pop(); object; object = work.pop()) {
      const producer = object.producer === undefined ? undefined : object.session.tasks.get(object.producer);
      if (!producer || planned.has(object)) continue;
      planned.add(object);
      byProducer.set(producer, [...(byProducer.get(producer) ?? []), object]);
      if (producer.state.kind !== "finished") continue;
      // What the producer reads may be gone in its turn.
      for (const input of producer.inputs) {
        const { kind } = input.state;
        if (kind === "removed" || kind === "failed" || this.#isLost(input)) work.push(input);
      }
    }
    // What can never come is said last: it aborts everything that was opened for it.
    const canRun = (task: Task): boolean => task.state.kind === "finished" || task.state.kind === "open";
    const rebuilt = [...byProducer].filter(([task]) => canRun(task));
    const hopeless = [...byProducer].filter(([task]) => !canRun(task));
    for (const [task, objects] of [...rebuilt, ...hopeless]) this.#reopen(task, objects);
  }

  #isLost(object: DataObject): boolean {
    if (object.state.kind !== "finished" || object.state.data || object.producer === undefined) return false;
    return !this.#k.live.replicas.has(object);
  }

  #reopen(task: Task, objects: readonly DataObject[]): void {
    const { session, spec } = task;
    const names = objects.map((object) => `${session.id}/o${object.id}`).join(", ");
    if (task.state.kind !== "finished" && task.state.kind !== "open") {
      for (const object of objects) this.#k.commit({ type: "lost", session: session.id, object: object.id });
      return;
    }
    const why = `lost every copy of ${names}`;
    this.#k.log("warn", `task ${session.id}/${spec.id} runs again: ${why}`);
    const ids = objects.map((object) => object.id);
    this.#k.commit({ type: "reopened", session: session.id, task: spec.id, objects: ids, why });
  }

  /** Tells the governors what they need not keep. */
  sendDrops(): void {
    if (this.#drops.size === 0) return;
    for (const [governor, objects] of this.#drops) this.#k.send(governor, { type: "drop", objects });
    this.#drops.clear();
  }
}
