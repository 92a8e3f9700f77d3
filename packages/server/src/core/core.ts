import type { GovernorId, ObjectId, SessionId, TaskId } from "@rain/protocol";
import { assignAhead, rebalance, retractAll } from "./ahead.ts";
import type { DurableState } from "./apply.ts";
import { stopDrained } from "./drain.ts";
import { expireGovernors, governorGone, handleGovernorMessage } from "./governors.ts";
import { EarlyBytes } from "./early.ts";
import { Kernel } from "./kernel.ts";
import { movePhase, type LiveGovernor, type LiveTask } from "./live.ts";
import { nearest, type Spot } from "./locality.ts";
import { answerNext } from "./next.ts";
import { answerFetch, handleRequest } from "./requests.ts";
import { schedule, type Snapshot } from "./schedule.ts";
import { openCount, type DataObject, type Session, type Task } from "./state.ts";
import type { AssignedRecord, DraftInput, ServerConfig, ServerInput, ServerStep } from "./types.ts";

/** How often the core looks at leases, milliseconds. */
const TICK_MS = 500;
/** A longer silence of our own loop than this was a stall: nobody is declared lost for it. */
const STALL_MS = 2_000;
/** Assignments of one round; the next follows as soon as other inputs were served. */
const ROUND = 500;
const RESERVE_AFTER_MS = 5_000;
/** Inline bytes that one assignment may carry. */
const INLINE_PER_ASSIGNMENT = 1_048_576;
const NO_INPUTS: readonly DraftInput[] = [];

const assignedRecord = (
  { session: { id: session }, spec: { id: task } }: Task,
  attempt: number,
  { id: governor }: LiveGovernor,
  ahead: boolean,
): AssignedRecord =>
  ahead
    ? { type: "assigned", session, task, attempt, governor, ahead }
    : { type: "assigned", session, task, attempt, governor };

/** Where the bytes of an object can be read. */
export type Location =
  | { readonly kind: "data"; readonly data: Uint8Array; readonly sha256: string }
  | { readonly kind: "blob"; readonly sha256: string; readonly size: number }
  | {
      readonly kind: "governors";
      readonly sha256: string;
      readonly size: number;
      readonly holders: readonly GovernorId[];
    };

/**
 * A session that was not detached, or one that has nothing yet: its client ended between opening it and the submit.
 * One with a time to live was asked to wait so long.
 */
const needsClient = ({ detached, ttlS, tasks, objects }: Session): boolean =>
  !detached || (ttlS === undefined && tasks.size === 0 && objects.isEmpty);

/**
 * The server's brain: a deterministic state machine. Inputs and the time go in; records to journal, effects to
 * perform once they are durable, and the time of the next tick come out.
 */
export class ServerCore {
  readonly #k: Kernel;
  #lastInput: number | undefined;
  /** The next look at leases: a fixed time, which inputs do not push further away. */
  #tickAt: number;

  /** `durable` is empty, or what the journal's records made. */
  constructor(config: ServerConfig, durable: DurableState, now: number) {
    this.#k = new Kernel(config, durable, now);
    this.#k.parked.onNext = (session, waiter) => answerNext(this.#k, session, waiter);
    this.#k.parked.onFetch = (object, waiter) => answerFetch(this.#k, object, waiter);
    this.#k.rebuild();
    this.#tickAt = now + TICK_MS;
  }

  get durable(): DurableState {
    return this.#k.durable;
  }
  /** For checkers and views; never changed from outside. */
  get kernel(): Kernel {
    return this.#k;
  }

  handle(input: ServerInput, now: number): ServerStep {
    const k = this.#k;
    k.now = Math.max(k.now, now);
    this.#forgiveStall();
    switch (input.type) {
      case "client.request":
        handleRequest(k, input.connection, input.request);
        break;
      case "client.gone":
        k.parked.forgetClient(input.connection);
        break;
      case "governor.message":
        handleGovernorMessage(k, input.connection, input.message);
        break;
      case "governor.gone":
        governorGone(k, input.connection);
        break;
      case "replica.missing":
        this.#replicaMissing(input.ref.session, input.ref.object, input.governor);
        break;
      case "tick":
        this.#tick();
        break;
    }
    return k.takeStep(k.dirty ? k.now : this.#tickAt);
  }

  /** Our own loop stood still: everyone else may have spoken meanwhile, so leases start anew. */
  #forgiveStall(): void {
    const k = this.#k;
    const gap = this.#lastInput === undefined ? 0 : k.now - this.#lastInput;
    this.#lastInput = k.now;
    if (gap <= STALL_MS) return;
    k.log("warn", `the server stood still for ${Math.round(gap)} ms; leases start anew`);
    for (const governor of k.live.governors.values()) governor.lastHeard = k.now;
    for (const session of k.live.sessions.values()) session.orphanSince = k.now;
  }

  #tick(): void {
    const k = this.#k;
    if (k.now >= this.#tickAt) {
      this.#tickAt = k.now + TICK_MS;
      expireGovernors(k);
      this.#expireSessions();
      if (k.places.loaded.size > 0) k.dirty = true; // some have waited long enough where they are
    }
    this.#schedule();
    stopDrained(k);
  }

  #expireSessions(): void {
    const k = this.#k;
    for (const [session, live] of k.live.sessions) {
      if (live.connections.size > 0) continue;
      const away = k.now - live.orphanSince;
      if (needsClient(session) && away >= k.config.sessionLeaseMs) {
        k.log("warn", `session ${session.id} (${session.name}) is closed: its client is gone`);
        k.commit({ type: "session.closed", session: session.id });
      } else if (session.detached && session.ttlS !== undefined && openCount(session) === 0) {
        if (away < session.ttlS * 1000) continue;
        k.log(
          "info",
          `session ${session.id} (${session.name}) is closed: its time to live of ${session.ttlS} s is over`,
        );
        k.commit({ type: "session.closed", session: session.id });
      }
    }
  }

  // ------------------------------------------------------------------------------------------------ scheduling

  #schedule(): void {
    const k = this.#k;
    if (!k.dirty) return;
    k.dirty = false;
    if (k.cacheUse.serve(ROUND)) {
      k.dirty = true;
      return;
    }
    k.levels.step(k.now);
    let placed = 0;
    const snapshot: Snapshot = {
      classes: [...k.live.classes.values()],
      roomOf: (of) => k.places.roomOf(of),
      nearest: (...which) => nearest(k, ...which),
      now: k.now,
      reserveAfterMs: RESERVE_AFTER_MS,
      limit: ROUND,
    };
    const reserved = schedule(snapshot, ({ live, spot }) => {
      placed++;
      this.#place(live, spot);
    });
    assignAhead(k, reserved, ROUND - placed, (live, spot) => {
      placed++;
      this.#place(live, spot);
    });
    for (const governor of reserved) retractAll(k, governor);
    if (placed === 0) rebalance(k, reserved);
    if (placed === ROUND) k.dirty = true;
  }

  #place(live: LiveTask, spot: Spot): void {
    // The same task may have finished while this one waited for its turn.
    if (this.#k.cacheUse.take(live)) this.#k.dirty = true;
    else this.#assign(live, spot);
  }

  #assign(live: LiveTask, spot: Spot): void {
    const k = this.#k;
    const { task } = live;
    const { governor, ahead } = spot;
    if (spot.stayMs > 0) live.hasWaited = true;
    const { session, spec } = task;
    const attempt = task.state.attempt + 1;
    k.commit(assignedRecord(task, attempt, governor, ahead));
    movePhase(live, { kind: "assigned", governor, since: k.now });
    k.hold(governor, task, attempt, ahead, spot);
    if (governor.connection === undefined) return;
    k.effect({
      type: "assign",
      connection: governor.connection,
      governor: governor.id,
      session: session.id,
      task: spec.id,
      attempt,
      spec,
      array: task.array?.spec,
      inputs: spec.inputs.length === 0 ? NO_INPUTS : this.#inputsFor(task, governor),
    });
  }

  /** The inputs of an assignment; what goes before it is sent. */
  #inputsFor({ session, spec }: Task, governor: LiveGovernor): readonly DraftInput[] {
    const k = this.#k;
    let inline = 0;
    const early = new EarlyBytes(k, governor);
    const inputs: DraftInput[] = [];
    for (const { object: id } of spec.inputs) {
      const object = session.objects.get(id);
      if (object?.state.kind !== "finished")
        throw new Error(`task ${session.id}/${spec.id} starts without o${id}`);
      const draft = this.#draft(object, object.state, INLINE_PER_ASSIGNMENT - inline);
      inline += draft.data?.length ?? 0;
      const { data } = object.state;
      const isEarly = draft.data === undefined && data !== undefined && early.take(draft.sha256, data);
      inputs.push(isEarly ? { ...draft, holders: [], onServer: false } : draft);
    }
    early.send();
    return inputs;
  }

  #draft(
    object: DataObject,
    state: Extract<DataObject["state"], { kind: "finished" }>,
    room: number,
  ): DraftInput {
    const { size, sha256, contentType, data } = state;
    const holders = this.#k.copies.readableFrom(object);
    return {
      object: object.id,
      kind: object.kind,
      size,
      sha256,
      contentType,
      holders,
      onServer: data !== undefined || object.producer === undefined,
      ...(data && data.length <= room ? { data } : {}),
    };
  }

  // --------------------------------------------------------------------------------------------------- look-ups

  #replicaMissing(session: SessionId, id: ObjectId, governorId: GovernorId): void {
    const k = this.#k;
    const object = k.durable.sessions.get(session)?.objects.get(id);
    const governor = k.live.governors.get(governorId);
    if (!object || !governor) return;
    k.copies.remove(object, governor);
    k.copies.rebuildLost();
  }

  /** Where an object's bytes are now; undefined when it has none or does not exist. */
  locate(session: SessionId, id: ObjectId): (Location & { readonly keep: boolean }) | undefined {
    const object = this.#k.durable.sessions.get(session)?.objects.get(id);
    if (object?.state.kind !== "finished") return undefined;
    const { data, sha256, size } = object.state;
    const { keep } = object;
    if (data) return { kind: "data", data, sha256, keep };
    if (object.producer === undefined) return { kind: "blob", sha256, size, keep };
    const holders = this.#k.copies.readableFrom(object);
    return { kind: "governors", sha256, size, holders, keep };
  }

  /** The governor that has the log files of a task's last attempt; undefined when it never started or is gone. */
  locateLog(session: SessionId, id: TaskId): GovernorId | undefined {
    const state = this.#k.durable.sessions.get(session)?.tasks.get(id)?.state;
    return state && "governor" in state ? state.governor : undefined;
  }
}
