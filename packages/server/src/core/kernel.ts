import {
  RainError,
  toWireError,
  type AttemptRef,
  type Digest,
  type GovernorId,
  type ObjectRef,
  type ReplyOf,
  type RequestType,
  type ServerToGovernor,
} from "@rain/protocol";
import { type Changes, type DurableState } from "./apply.ts";
import { demandKey, demandOf } from "./demand.ts";
import { assignLevels } from "./levels.ts";
import { Live, movePhase, type LiveGovernor, type LiveSession, type LiveTask, type Waiter } from "./live.ts";
import { ReadyQueue } from "./queue.ts";
import { classKey, minus, plus, toAmounts } from "./resources.ts";
import { isNeeded, type DataObject, type Session, type Task } from "./state.ts";
import type { ConnectionId, ServerConfig, ServerEffect, ServerRecord, ServerStep } from "./types.ts";

/**
 * What all handlers of the core share: the two states, the step under construction, and `commit`, the only way in
 * which anything durable changes. After a commit the live side follows the changes: queues, copies, parked requests.
 */
export class Kernel {
  readonly config: ServerConfig;
  readonly durable: DurableState;
  readonly live: Live = new Live();
  now: number;
  readonly startedAt: number;
  /** Something changed that may let a task be placed. */
  dirty = false;
  #records: ServerRecord[] = [];
  #effects: ServerEffect[] = [];
  readonly #drops: Map<LiveGovernor, ObjectRef[]> = new Map();
  readonly #logsToServe: Set<Session> = new Set();
  /** Objects without a copy since the last look: see `rebuildLost`. */
  readonly #lost: Set<DataObject> = new Set();

  constructor(config: ServerConfig, durable: DurableState, now: number) {
    this.config = config;
    this.durable = durable;
    this.now = now;
    this.startedAt = now;
  }

  // ------------------------------------------------------------------------------------------------ the step

  effect(effect: ServerEffect): void {
    this.#effects.push(effect);
  }
  log(level: "info" | "warn" | "error", text: string): void {
    this.#effects.push({ type: "log", level, text });
  }
  reply<T extends RequestType>(waiter: Waiter, _request: T, ok: ReplyOf<T>): void {
    this.#effects.push({ type: "reply", connection: waiter.connection, req: waiter.req, ok });
  }
  error(waiter: Waiter, error: RainError): void {
    this.#effects.push({
      type: "error",
      connection: waiter.connection,
      req: waiter.req,
      error: toWireError(error),
    });
  }
  send(governor: LiveGovernor, message: Exclude<ServerToGovernor, { type: "assign" | "registered" }>): void {
    if (governor.connection === undefined) return;
    this.#effects.push({ type: "send", connection: governor.connection, message });
  }

  /** Ends the step: what was gathered meanwhile goes out with it. */
  takeStep(wakeAt: number | undefined): ServerStep {
    for (const session of this.#logsToServe) this.#serveNext(session);
    this.#logsToServe.clear();
    for (const [governor, objects] of this.#drops) this.send(governor, { type: "drop", objects });
    this.#drops.clear();
    const step = { records: this.#records, effects: this.#effects, wakeAt };
    this.#records = [];
    this.#effects = [];
    return step;
  }

  // --------------------------------------------------------------------------------------------- commit, react

  commit(record: ServerRecord): void {
    this.#records.push(record);
    this.#react(this.durable.apply(record));
  }

  /** Builds the live side of a durable state that was read from the journal. */
  rebuild(): void {
    for (const session of this.durable.sessions.values()) {
      this.openSession(session);
      for (const object of session.objects.values()) {
        if (object.state.kind !== "finished") continue;
        this.#countBlob(object, 1);
        const { origin, data } = object.state;
        const holder = origin !== undefined && !data ? this.#awaitedGovernor(origin) : undefined;
        if (holder) this.addReplica(object, holder);
        this.updateAvailability(object);
      }
      this.#enter([...session.open]);
      for (const task of session.open) {
        // Its governor is awaited for the length of a lease, and may still have it.
        if (task.state.kind === "open" && task.state.governor !== undefined) {
          const governor = this.#awaitedGovernor(task.state.governor);
          if (!governor) continue;
          this.hold(governor, task, task.state.attempt);
          this.resumeAttempt(task, governor);
        }
      }
    }
    this.dirty = true;
  }

  #react(changes: Changes): void {
    if (changes.closed) this.#closeSession(changes.closed);
    for (const object of changes.constants) {
      this.#countBlob(object, 1);
      this.updateAvailability(object);
    }
    for (const object of changes.lost) this.updateAvailability(object);
    for (const object of changes.finished) {
      const origin = object.state.kind === "finished" ? object.state.origin : undefined;
      const governor = origin === undefined ? undefined : this.live.governors.get(origin);
      if (governor) this.addReplica(object, governor);
      this.updateAvailability(object);
      this.#serveFetches(object);
    }
    for (const task of changes.settled) this.#leave(task);
    this.#enter(changes.opened);
    for (const task of changes.released) this.#backToQueue(task);
    for (const object of changes.unneeded) this.#dropEverywhere(object);
    for (const object of changes.failedObjects) {
      this.updateAvailability(object);
      this.#serveFetches(object);
    }
    if (changes.settled.length > 0 || changes.released.length > 0 || changes.opened.length > 0) {
      this.dirty = true;
    }
  }

  // ---------------------------------------------------------------------------------------------------- tasks

  #enter(tasks: readonly Task[]): void {
    const entered: LiveTask[] = [];
    for (const task of tasks) {
      if (task.state.kind !== "open") continue; // a later change of the same record settled it
      const request = toAmounts(task.spec.request);
      const demand = demandOf(task.spec);
      const key = classKey(request) + demandKey(demand);
      let of = this.live.classes.get(key);
      if (!of)
        this.live.classes.set(
          key,
          (of = { request, demand, queue: new ReadyQueue(), blockedSince: undefined }),
        );
      const entry: LiveTask = {
        task,
        class: of,
        phase: { kind: "waiting", missing: this.#missing(task) },
        level: 0,
        order: this.live.order++,
        entry: 0,
      };
      this.live.tasks.set(task, entry);
      entered.push(entry);
    }
    assignLevels(
      entered.map((entry) => entry.task),
      this.live,
    );
    for (const entry of entered) this.#readyIfComplete(entry);
  }

  #missing(task: Task): number {
    let missing = 0;
    for (const input of task.inputs) if (!this.live.available.has(input)) missing++;
    return missing;
  }

  #readyIfComplete(entry: LiveTask): void {
    if (entry.phase.kind !== "waiting" || entry.phase.missing > 0) return;
    movePhase(entry, { kind: "ready", since: this.now });
    this.dirty = true;
  }

  #backToQueue(task: Task): void {
    const entry = this.live.tasks.get(task);
    if (!entry) return;
    movePhase(entry, { kind: "waiting", missing: this.#missing(task) });
    this.#readyIfComplete(entry);
  }

  #leave(task: Task): void {
    this.#logsToServe.add(task.session);
    const entry = this.live.tasks.get(task);
    if (!entry) return;
    if (entry.phase.kind === "ready") movePhase(entry, { kind: "waiting", missing: 0 });
    this.live.tasks.delete(task);
    if (entry.phase.kind === "assigned" || entry.phase.kind === "running") {
      this.#cancelAttempt(task, entry.phase.governor);
    }
  }

  /** Asks the governor to stop an attempt unless its report came already. It holds its resources until it reports. */
  #cancelAttempt(task: Task, governor: LiveGovernor): void {
    const { attempt } = task.state;
    if (!governor.attempts.has(attemptKey({ session: task.session.id, task: task.spec.id, attempt }))) return;
    this.send(governor, { type: "cancel", session: task.session.id, task: task.spec.id, attempt });
  }

  /** The attempt occupies its resources on this governor until its report comes. */
  hold(governor: LiveGovernor, task: Task, attempt: number): void {
    const ref = { session: task.session.id, task: task.spec.id, attempt };
    const key = attemptKey(ref);
    if (governor.attempts.has(key)) return;
    const request = toAmounts(task.spec.request);
    governor.attempts.set(key, { ...ref, request });
    governor.free = minus(governor.free, request);
  }
  /** Gives the resources of an attempt back; once, however often it is reported. */
  free(governor: LiveGovernor, ref: AttemptRef): void {
    const key = attemptKey(ref);
    const held = governor.attempts.get(key);
    if (!held) return;
    governor.attempts.delete(key);
    governor.free = plus(governor.free, held.request);
    this.dirty = true;
  }

  /** The task's current attempt is, or is believed to be, on this governor: it holds resources there. */
  resumeAttempt(task: Task, governor: LiveGovernor): void {
    const entry = this.live.tasks.get(task);
    if (!entry) return;
    if (entry.phase.kind === "waiting") movePhase(entry, { kind: "ready", since: this.now });
    if (entry.phase.kind === "ready") movePhase(entry, { kind: "assigned", governor, since: this.now });
  }

  // -------------------------------------------------------------------------------------------------- objects

  addReplica(object: DataObject, governor: LiveGovernor): void {
    governor.replicas.add(object);
    const holders = this.live.replicas.get(object);
    if (holders) holders.add(governor);
    else this.live.replicas.set(object, new Set([governor]));
    this.#lost.delete(object);
  }

  removeReplica(object: DataObject, governor: LiveGovernor): void {
    governor.replicas.delete(object);
    const holders = this.live.replicas.get(object);
    if (!holders?.delete(governor)) return;
    if (holders.size === 0) {
      this.live.replicas.delete(object);
      this.#lost.add(object);
    }
    this.updateAvailability(object);
  }

  /** Can the bytes be had now? When the answer changed, the consumers' counts follow. */
  updateAvailability(object: DataObject): void {
    const is = this.#canBeRead(object);
    if (is === this.live.available.has(object)) return;
    if (is) this.live.available.add(object);
    else this.live.available.delete(object);
    for (const consumer of object.consumers) {
      const entry = this.live.tasks.get(consumer);
      if (entry?.phase.kind === "waiting") {
        movePhase(entry, { kind: "waiting", missing: entry.phase.missing + (is ? -1 : 1) });
        this.#readyIfComplete(entry);
      } else if (entry?.phase.kind === "ready" && !is) {
        movePhase(entry, { kind: "waiting", missing: 1 });
      }
    }
  }

  #canBeRead(object: DataObject): boolean {
    if (object.state.kind !== "finished") return false;
    if (object.state.data || object.producer === undefined) return true;
    for (const holder of this.live.replicas.get(object) ?? []) {
      if (holder.connection !== undefined && holder.synced) return true;
    }
    return false;
  }

  #dropEverywhere(object: DataObject): void {
    for (const holder of this.live.replicas.get(object) ?? []) {
      holder.replicas.delete(object);
      this.drop(holder, { session: object.session.id, object: object.id });
    }
    this.live.replicas.delete(object);
    this.#lost.delete(object);
    this.updateAvailability(object);
  }

  drop(governor: LiveGovernor, ref: ObjectRef): void {
    if (!governor.synced) governor.dropped.add(objectKey(ref));
    const drops = this.#drops.get(governor);
    if (drops) drops.push(ref);
    else this.#drops.set(governor, [ref]);
  }

  /** Opens again the tasks whose outputs are needed and have no copy left, and the tasks that those need in turn. */
  rebuildLost(): void {
    const planned = new Set<DataObject>();
    const work: DataObject[] = [];
    for (const object of this.#lost) {
      if (object.session.failure || !this.durable.sessions.has(object.session.id)) continue;
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
    return !this.live.replicas.has(object);
  }

  #reopen(task: Task, objects: readonly DataObject[]): void {
    const { session, spec } = task;
    const names = objects.map((object) => `${session.id}/o${object.id}`).join(", ");
    if (task.state.kind !== "finished" && task.state.kind !== "open") {
      for (const object of objects) this.commit({ type: "lost", session: session.id, object: object.id });
      return;
    }
    const why = `lost every copy of ${names}`;
    this.log("warn", `task ${session.id}/${spec.id} runs again: ${why}`);
    const ids = objects.map((object) => object.id);
    this.commit({ type: "reopened", session: session.id, task: spec.id, objects: ids, why });
  }

  // ------------------------------------------------------------------------------------------------- sessions

  openSession(session: Session): LiveSession {
    let live = this.live.sessions.get(session);
    if (!live) {
      live = { connections: new Set(), orphanSince: this.now, next: [] };
      this.live.sessions.set(session, live);
    }
    return live;
  }

  #countBlob(object: DataObject, by: 1 | -1): void {
    if (object.producer !== undefined || object.state.kind !== "finished" || object.state.data) return;
    const { sha256 }: { sha256: Digest } = object.state;
    const count = (this.live.blobs.get(sha256) ?? 0) + by;
    if (count > 0) this.live.blobs.set(sha256, count);
    else {
      this.live.blobs.delete(sha256);
      this.effect({ type: "blob.remove", sha256 });
    }
  }

  #closeSession(session: Session): void {
    const gone = new RainError("session-closed", `session ${session.id} (${session.name}) was closed`);
    for (const waiter of this.live.sessions.get(session)?.next ?? []) this.error(waiter, gone);
    this.live.sessions.delete(session);
    this.#logsToServe.delete(session);
    for (const task of session.open) {
      this.#leave(task);
      this.#logsToServe.delete(session);
    }
    for (const object of session.objects.values()) {
      for (const waiter of this.live.fetches.get(object) ?? []) this.error(waiter, gone);
      this.live.fetches.delete(object);
      this.#dropEverywhere(object);
      this.live.available.delete(object);
      this.#countBlob(object, -1);
    }
    this.dirty = true;
  }

  // -------------------------------------------------------------------------------------------- parked requests

  /** Answers parked `next` requests of a session that have something to read. */
  #serveNext(session: Session): void {
    const live = this.live.sessions.get(session);
    if (!live || live.next.length === 0) return;
    const parked = live.next.splice(0);
    for (const waiter of parked) {
      if (session.failure || waiter.from < session.settled.length) {
        this.onNext?.(session, waiter);
      } else live.next.push(waiter);
    }
  }
  /** Set by the request handlers: how a `next` request is answered. */
  onNext: ((session: Session, waiter: Waiter & { readonly from: number }) => void) | undefined;
  /** Set by the request handlers: answers a `fetch`, or false when it has to wait. */
  onFetch: ((object: DataObject, waiter: Waiter) => boolean) | undefined;

  #serveFetches(object: DataObject): void {
    const parked = this.live.fetches.get(object);
    if (!parked) return;
    this.live.fetches.delete(object);
    for (const waiter of parked) {
      if (this.onFetch?.(object, waiter) === false) this.parkFetch(object, waiter);
    }
  }
  parkFetch(object: DataObject, waiter: Waiter): void {
    const parked = this.live.fetches.get(object);
    if (parked) parked.push(waiter);
    else this.live.fetches.set(object, [waiter]);
  }

  /** A governor that the journal knows and that has not come back yet; its lease starts with this process. */
  #awaitedGovernor(id: GovernorId): LiveGovernor | undefined {
    const there = this.live.governors.get(id);
    if (there) return there;
    const known = this.durable.governors.get(id);
    if (!known) return undefined;
    const none = { cpus: 0, gpus: 0, memory: 0, named: new Map<string, number>() };
    const governor: LiveGovernor = {
      id,
      identity: known.identity,
      incarnation: known.incarnation,
      hello: undefined,
      connection: undefined,
      synced: false,
      announced: new Set(),
      dropped: new Set(),
      capacity: none,
      free: none,
      attempts: new Map(),
      replicas: new Set(),
      lastHeard: this.now,
      leaving: false,
    };
    this.live.governors.set(id, governor);
    return governor;
  }

  /** Forgets a connection everywhere. */
  forgetClient(connection: ConnectionId): void {
    for (const session of this.live.sessions.values()) {
      if (session.connections.delete(connection) && session.connections.size === 0) {
        session.orphanSince = this.now;
      }
      const keep = session.next.filter((waiter) => waiter.connection !== connection);
      session.next.splice(0, session.next.length, ...keep);
    }
    for (const [object, waiters] of this.live.fetches) {
      const keep = waiters.filter((waiter) => waiter.connection !== connection);
      if (keep.length > 0) this.live.fetches.set(object, keep);
      else this.live.fetches.delete(object);
    }
  }
}

export const objectKey = (ref: ObjectRef): string => `${ref.session}/${ref.object}`;
export const attemptKey = (ref: AttemptRef): string => `${ref.session}/${ref.task}/${ref.attempt}`;
