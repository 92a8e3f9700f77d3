import {
  asSessionId,
  asTaskId,
  limits,
  toWireError,
  type AttemptRef,
  type Digest,
  type GovernorId,
  type ObjectId,
  type RainError,
  type ReplyOf,
  type RequestType,
  type ServerToGovernor,
} from "@rain/protocol";
import { clearAhead, promote, putAhead } from "./ahead.ts";
import type { DurableState } from "./apply.ts";
import { clearChanges, noChanges, outputsOf, type Changes, type Run } from "./apply-tasks.ts";
import { CacheUse } from "./cache-use.ts";
import { Copies } from "./copies.ts";
import { classOf } from "./kinds.ts";
import { assignLevels, Levels } from "./levels.ts";
import {
  Live,
  movePhase,
  newGovernor,
  type HeldAttempt,
  type LiveGovernor,
  type LiveSession,
  type LiveTask,
  type Waiter,
} from "./live.ts";
import { Reading, type Spot } from "./locality.ts";
import { Parked } from "./parked.ts";
import { Places } from "./places.ts";
import { LAST_LEVEL, ReadyArray } from "./queue.ts";
import { minus, plus, toAmounts } from "./resources.ts";
import { Rows } from "./rows.ts";
import type { DataObject, Session, Task } from "./state.ts";
import type { FoldHooks } from "./tables.ts";
import type { ArrayState } from "./task-array.ts";
import type { ConnectionId, ServerConfig, ServerEffect, ServerRecord, ServerStep } from "./types.ts";

/**
 * What all handlers of the core share: the two states, the step under construction, and `commit`, the only way in
 * which anything durable changes. After a commit the live side follows the changes: queues, copies, parked requests.
 */
export class Kernel {
  readonly config: ServerConfig;
  readonly durable: DurableState;
  readonly live: Live = new Live();
  readonly copies: Copies = new Copies(this);
  readonly parked: Parked = new Parked(this);
  readonly cacheUse: CacheUse = new CacheUse(this);
  readonly places: Places = new Places(this);
  readonly reading: Reading = new Reading();
  readonly levels: Levels = new Levels(this.live);
  now: number;
  readonly startedAt: number;
  /** Something changed that may let a task be placed. */
  dirty = false;
  #records: ServerRecord[] = [];
  /** To be used again: a commit has many lists, and few of them have anything in them. */
  readonly #spare: Changes[] = [];
  #effects: ServerEffect[] = [];
  /** The acknowledgements that were the last effect, while more may go with them. */
  #acks:
    | { readonly connection: ConnectionId; readonly attempts: AttemptRef[]; readonly effect: ServerEffect }
    | undefined;
  readonly #logsToServe: Set<Session> = new Set();

  constructor(config: ServerConfig, durable: DurableState, now: number) {
    this.config = config;
    this.durable = durable;
    this.now = now;
    this.startedAt = now;
    durable.folding.hooks = this.#foldHooks();
  }

  /** The live side of a task that is expanded, and of one that is taken back. */
  #foldHooks(): FoldHooks {
    return {
      expanded: (task) => {
        if (task.state.kind === "open") this.#enterExpanded(task);
        else for (const object of outputsOf(task)) this.copies.update(object);
      },
      mayFold: (task) => {
        const { session, spec, array } = task;
        if (this.live.fetches.size > 0)
          for (const { object } of spec.outputs) if (this.#isFetched(session, object)) return false;
        if (task.state.kind !== "open") return !this.live.tasks.has(task);
        const live = this.live.tasks.get(task);
        const ready = array && this.live.arrays.get(array);
        // Without its array's live side, which comes later, it is as good as virtual.
        if (!live) return !ready;
        return live.inArray && ready?.isHead(live) !== true;
      },
      folding: (task) => {
        if (task.state.kind === "open") {
          const live = this.live.tasks.get(task);
          if (live) live.class.tasks--;
          this.live.tasks.delete(task);
          return;
        }
        // The server has the bytes itself: nobody else needs to.
        for (const object of outputsOf(task)) {
          this.copies.dropEverywhere(object);
          this.live.available.delete(object);
        }
      },
    };
  }
  #isFetched({ objects }: Session, id: ObjectId): boolean {
    const object = objects.there(id);
    return object !== undefined && this.live.fetches.has(object);
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
  send(
    governor: LiveGovernor,
    message: Exclude<ServerToGovernor, { type: "assign" | "registered" | "copy" }>,
  ): void {
    if (governor.connection === undefined) return;
    this.#effects.push({ type: "send", connection: governor.connection, message });
  }

  /** A report was taken. Those in a row are one effect. */
  ack(governor: LiveGovernor, ref: AttemptRef): void {
    const { connection } = governor;
    if (connection === undefined) return;
    const last = this.#acks;
    if (last?.connection === connection && last.effect === this.#effects.at(-1)) {
      last.attempts.push(ref);
      if (last.attempts.length >= limits.batchItems) this.#acks = undefined;
      return;
    }
    const attempts = [ref];
    const effect: ServerEffect = { type: "send", connection, message: { type: "ack", attempts } };
    this.#acks = { connection, attempts, effect };
    this.#effects.push(effect);
  }

  /** Ends the step: what was gathered meanwhile goes out with it. */
  takeStep(wakeAt: number | undefined): ServerStep {
    for (const session of this.#logsToServe) this.parked.serveNext(session);
    this.#logsToServe.clear();
    this.durable.folding.fold();
    this.copies.sendDrops();
    const step = { records: this.#records, effects: this.#effects, wakeAt };
    this.#records = [];
    this.#effects = [];
    this.#acks = undefined;
    return step;
  }

  // --------------------------------------------------------------------------------------------- commit, react

  commit(record: ServerRecord): void {
    this.#records.push(record);
    if (record.type === "assigned") {
      this.durable.assign(record); // nothing follows from it
      return;
    }
    const changes = this.#spare.pop() ?? noChanges();
    this.durable.apply(record, changes);
    this.#react(changes);
    clearChanges(changes);
    this.#spare.push(changes);
  }

  /** Builds the live side of a durable state that was read from the journal. */
  rebuild(): void {
    this.durable.folding.fold();
    for (const session of this.durable.sessions.values()) this.#rebuildSession(session);
    for (const { sha256 } of this.durable.datastores.all()) this.#countBlob(sha256, 1);
    this.dirty = true;
  }

  #rebuildSession(session: Session): void {
    const { rows } = this.openSession(session);
    for (const object of session.objects.expandedOnes()) {
      if (object.state.kind !== "finished") continue;
      this.#countConstant(object, 1);
      const { origin, data } = object.state;
      const holder = origin !== undefined && !data ? this.#awaitedGovernor(origin) : undefined;
      if (holder) this.copies.add(object, holder);
      this.copies.update(object);
    }
    const arrays = [...session.tasks.arrays];
    const isReady = ({ array }: Task): boolean => array?.isReady === true;
    const open = [...session.open].filter((task) => !isReady(task));
    this.#enterByNumber(
      open,
      arrays.filter((array) => array.isReady),
    );
    for (const array of arrays) {
      for (const { from, count, kind, isReplaced } of array.folded()) {
        const state = isReplaced ? undefined : kind === "open" ? "ready" : kind;
        rows.showNew(asTaskId(array.first + from), count, state);
      }
    }
    for (const task of session.tasks.expandedOnes()) if (rows.revisionOf(task.spec.id) === 0) this.show(task);
    for (const task of session.open) {
      // Its governor is awaited for the length of a lease, and may still have it.
      if (task.state.kind === "open" && task.state.governor !== undefined) {
        const governor = this.#awaitedGovernor(task.state.governor);
        if (!governor) continue;
        this.hold(governor, task, task.state.attempt, task.state.ahead);
        this.resumeAttempt(task, governor);
      }
    }
  }

  #react(changes: Changes): void {
    if (changes.closed) this.#closeSession(changes.closed);
    for (const object of changes.constants) {
      this.#countConstant(object, 1);
      this.copies.update(object);
    }
    for (const { sha256 } of changes.stored) this.#countBlob(sha256, 1);
    for (const { sha256 } of changes.unstored) this.#countBlob(sha256, -1);
    for (const object of changes.lost) this.copies.update(object);
    for (const object of changes.finished) {
      const origin = object.state.kind === "finished" ? object.state.origin : undefined;
      const governor = origin === undefined ? undefined : this.live.governors.get(origin);
      if (governor) this.copies.add(object, governor);
      this.copies.update(object);
      this.parked.serveFetches(object);
    }
    for (const task of changes.settled) this.#leave(task);
    for (const run of changes.swept) this.#sweep(run);
    for (const { session, first, count } of changes.arrays)
      this.openSession(session).rows.showNew(first, count, "ready");
    if (changes.arrays.length > 0 || changes.opened.some(({ array }) => array))
      this.#enterByNumber(changes.opened, changes.arrays);
    else if (changes.opened.length > 0) this.#enter(changes.opened);
    for (const task of changes.released) this.#backToQueue(task);
    for (const object of changes.unneeded) this.copies.dropEverywhere(object);
    for (const object of changes.failedObjects) {
      this.copies.update(object);
      this.parked.serveFetches(object);
    }
    this.#showChanges(changes);
    const { settled, swept, released, opened, arrays } = changes;
    if (settled.length + swept.length + released.length + opened.length + arrays.length > 0)
      this.dirty = true;
  }

  /** Rows show more than the states of tasks: what became of outputs and metrics, and whether they count. */
  #showChanges(changes: Changes): void {
    const { replaced, measured, lost, unneeded, failedObjects } = changes;
    const objects = lost.length + unneeded.length + failedObjects.length;
    if (replaced.length + measured.length + objects === 0) return;
    const shown = new Set<Task>([...replaced, ...measured]);
    for (const object of [...lost, ...unneeded, ...failedObjects]) {
      const producer =
        object.producer === undefined ? undefined : object.session.tasks.there(object.producer);
      if (producer) shown.add(producer);
    }
    for (const task of shown) this.show(task);
  }
  /** A row of the table of results changed. */
  show(task: Task): void {
    this.live.sessions.get(task.session)?.rows.show(task, this.live.stateOf(task));
  }

  // ---------------------------------------------------------------------------------------------------- tasks

  #enter(tasks: readonly Task[]): void {
    const entered: LiveTask[] = [];
    for (const task of tasks) {
      if (task.state.kind !== "open") {
        this.show(task); // a later change of the same record settled it
        continue;
      }
      const session = this.openSession(task.session);
      const entry: LiveTask = {
        task,
        session,
        class: classOf(this.live, task.spec, task.session.id, session),
        phase: { kind: "waiting", missing: this.#missing(task) },
        level: 0,
        order: this.live.order++,
        entry: 0,
        hasWaited: false,
        inArray: false,
      };
      this.live.tasks.set(task, entry);
      entry.class.tasks++;
      if (!session.isLinked && task.inputs.some(({ producer }) => producer !== undefined))
        session.isLinked = true;
      entered.push(entry);
      this.show(task);
    }
    assignLevels(
      entered.map((entry) => entry.task),
      this.live,
    );
    for (const entry of entered) this.readyIfComplete(entry);
  }

  /** Tasks and arrays become older in the order of their numbers. */
  #enterByNumber(tasks: readonly Task[], arrays: readonly ArrayState[]): void {
    const sorted = tasks.toSorted((a, b) => a.spec.id - b.spec.id);
    let at = 0;
    for (const array of arrays.toSorted((a, b) => a.first - b.first)) {
      const start = at;
      while ((sorted[at]?.spec.id ?? Infinity) < array.first) at++;
      this.#enter(sorted.slice(start, at));
      this.#enterArray(array);
    }
    this.#enter(sorted.slice(at));
  }

  /** The tasks of an array that are ready from the start, as one entry of their queue. */
  #enterArray(array: ArrayState): void {
    const session = this.openSession(array.session);
    const fields = {
      array,
      session,
      class: classOf(this.live, array.spec.task, array.session.id, session),
      since: this.now,
      order: this.live.order,
    };
    this.live.order += array.count;
    const ready = new ReadyArray(fields, (index) => this.live.tasks.get(array.get(index)));
    this.live.arrays.set(array, ready);
    // Some may have been expanded already, by a task of the same submit or in the journal.
    const waiting: Task[] = [];
    let inArray = array.virtual;
    for (const task of array.expanded.values()) {
      if (task.state.kind !== "open") continue;
      this.#enterExpanded(task);
      if (task.state.attempt === 0 && !task.mustRun) inArray++;
      else waiting.push(task);
    }
    ready.class.queue.pushArray(ready, inArray + waiting.length);
    this.dirty = true;
    for (const task of waiting) {
      // Not as one of the others: an input of it may be missing.
      const entry = this.live.tasks.get(task);
      if (!entry) continue;
      movePhase(entry, { kind: "waiting", missing: this.#missing(task) });
      this.readyIfComplete(entry);
    }
    assignLevels([...array.expanded.values()], this.live);
  }

  /** An open task of an array was virtual until now: it is ready as one of the others. */
  #enterExpanded(task: Task): void {
    const ready = task.array && this.live.arrays.get(task.array);
    if (!ready || this.live.tasks.has(task)) return; // it comes with its array
    this.live.tasks.set(task, {
      task,
      session: ready.session,
      class: ready.class,
      phase: { kind: "ready", since: ready.since },
      level: LAST_LEVEL,
      order: ready.order + (task.spec.id - ready.array.first),
      entry: 0,
      hasWaited: false,
      inArray: true,
    });
    ready.class.tasks++;
  }

  /** Virtual tasks are no more. */
  #sweep({ array, from, count }: Run): void {
    const ready = this.live.arrays.get(array);
    ready?.class.queue.leaveMany(count);
    this.#logsToServe.add(array.session);
    this.openSession(array.session).rows.showMany(asTaskId(array.first + from), count, "cancelled");
  }

  #missing(task: Task): number {
    let missing = 0;
    for (const input of task.inputs) if (!this.live.available.has(input)) missing++;
    return missing;
  }

  /** Puts a task that waits for nothing any more into its queue. */
  readyIfComplete(entry: LiveTask): void {
    if (entry.phase.kind !== "waiting" || entry.phase.missing > 0) return;
    movePhase(entry, { kind: "ready", since: this.now });
    this.cacheUse.noteReady(entry);
    this.dirty = true;
  }

  #backToQueue(task: Task): void {
    const entry = this.live.tasks.get(task);
    if (!entry) return;
    movePhase(entry, { kind: "waiting", missing: this.#missing(task) });
    this.readyIfComplete(entry);
  }

  #leave(task: Task): void {
    this.#logsToServe.add(task.session);
    const entry = this.live.tasks.get(task);
    if (!entry) return;
    if (entry.phase.kind === "ready") movePhase(entry, { kind: "waiting", missing: 0 });
    this.live.tasks.delete(task);
    entry.class.tasks--;
    this.show(task);
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

  /** The attempt occupies its resources on this governor until its report comes; one that is `ahead`, once it starts. */
  hold(
    governor: LiveGovernor,
    task: Task,
    attempt: number,
    ahead = false,
    { missing, stayMs }: Pick<Spot, "missing" | "stayMs"> = { missing: 0, stayMs: 0 },
  ): void {
    const session = task.session.id;
    const id = task.spec.id;
    const key = attemptKey({ session, task: id, attempt });
    if (governor.attempts.has(key)) return;
    const of = this.live.tasks.get(task)?.class;
    const request = of?.request ?? toAmounts(task.spec.request);
    const room = of && this.places.roomOf(of);
    // Field by field: with another object's fields spread into it, it takes a quarter of a whole dispatch to make.
    const held: HeldAttempt = {
      session,
      task: id,
      attempt,
      request,
      priority: task.spec.priority ?? 0,
      of,
      room,
      since: this.now,
      missing,
      staysUntil: this.now + stayMs,
      started: false,
      retracted: false,
      isAhead: false,
      before: undefined,
      behind: undefined,
    };
    governor.attempts.set(key, held);
    governor.held.set(room, (governor.held.get(room) ?? 0) + 1);
    if (ahead) putAhead(governor, held);
    else governor.free = minus(governor.free, request);
    this.openSession(task.session).held++;
    this.places.touch(governor);
  }
  /** Gives the resources of an attempt back; once, however often it is reported. */
  free(governor: LiveGovernor, ref: AttemptRef): void {
    const key = attemptKey(ref);
    const held = governor.attempts.get(key);
    if (!held) return;
    governor.attempts.delete(key);
    const left = (governor.held.get(held.room) ?? 0) - 1;
    if (left > 0) governor.held.set(held.room, left);
    else governor.held.delete(held.room);
    if (!governor.ahead.delete(held)) {
      governor.free = plus(governor.free, held.request);
      promote(governor, this.now);
    }
    this.#let(held);
    this.places.touch(governor);
    this.dirty = true;
  }
  /** A governor is gone, and with it all that it held. */
  freeAll(governor: LiveGovernor): HeldAttempt[] {
    const held = [...governor.attempts.values()];
    governor.attempts.clear();
    clearAhead(governor);
    governor.held.clear();
    for (const ref of held) this.#let(ref);
    return held;
  }
  #let({ session: id, room, retracted }: HeldAttempt): void {
    if (room && retracted) room.retracted--;
    const session = this.durable.sessions.get(id);
    const live = session && this.live.sessions.get(session);
    if (live) live.held--;
  }

  /** The task's current attempt is, or is believed to be, on this governor: it holds resources there. */
  resumeAttempt(task: Task, governor: LiveGovernor): void {
    const entry = this.live.tasks.get(task);
    if (!entry) return;
    if (entry.phase.kind === "waiting") movePhase(entry, { kind: "ready", since: this.now });
    if (entry.phase.kind === "ready") movePhase(entry, { kind: "assigned", governor, since: this.now });
  }

  // ------------------------------------------------------------------------------------------------- sessions

  openSession(session: Session): LiveSession {
    let live = this.live.sessions.get(session);
    if (!live) {
      const { parallelism } = session;
      const connections = new Set<number>();
      const rows = new Rows();
      live = { connections, orphanSince: this.now, next: [], rows, parallelism, held: 0, isLinked: false };
      this.live.sessions.set(session, live);
    }
    return live;
  }

  #countConstant({ producer, state }: DataObject, by: 1 | -1): void {
    if (producer === undefined && state.kind === "finished" && !state.data) this.#countBlob(state.sha256, by);
  }
  #countBlob(sha256: Digest, by: 1 | -1): void {
    const count = (this.live.blobs.get(sha256) ?? 0) + by;
    if (count > 0) this.live.blobs.set(sha256, count);
    else {
      this.live.blobs.delete(sha256);
      this.effect({ type: "blob.remove", sha256 });
    }
  }

  #closeSession(session: Session): void {
    this.parked.closeSession(session);
    const live = this.live.sessions.get(session);
    this.live.sessions.delete(session);
    this.#logsToServe.delete(session);
    for (const task of session.open) {
      this.#leave(task);
      this.#logsToServe.delete(session);
    }
    for (const array of session.tasks.arrays) {
      this.live.arrays.get(array)?.end();
      this.live.arrays.delete(array);
    }
    for (const object of session.objects.expandedOnes()) {
      this.copies.dropEverywhere(object);
      this.live.available.delete(object);
      this.#countConstant(object, -1);
    }
    if (session.parallelism !== undefined) {
      for (const [key, { gate, shape }] of this.live.classes) {
        if (gate !== live) continue;
        this.live.classes.delete(key);
        this.live.kinds.delete(shape);
      }
    }
    this.dirty = true;
  }

  /** A governor that the journal knows and that has not come back yet; its lease starts with this process. */
  #awaitedGovernor(id: GovernorId): LiveGovernor | undefined {
    const there = this.live.governors.get(id);
    if (there) return there;
    const known = this.durable.governors.get(id);
    if (!known) return undefined;
    const governor = newGovernor(known, this.now);
    this.live.governors.set(id, governor);
    return governor;
  }
}

/** The last key that was asked for: that of one attempt is wanted several times in a row. */
let last: AttemptRef & { readonly key: string } = {
  session: asSessionId(0),
  task: asTaskId(0),
  attempt: 0,
  key: "0/0/0",
};
export function attemptKey({ session, task, attempt }: AttemptRef): string {
  if (last.task === task && last.attempt === attempt && last.session === session) return last.key;
  const key = `${session}/${task}/${attempt}`;
  last = { session, task, attempt, key };
  return key;
}
