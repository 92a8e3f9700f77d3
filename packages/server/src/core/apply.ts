import {
  asGovernorId,
  asSessionId,
  limits,
  type GovernorId,
  type HistoryItem,
  type SessionId,
  type TaskId,
} from "@rain/protocol";
import { Datastores } from "./datastores.ts";
import { historyItem } from "./history.ts";
import { Cache } from "./cache.ts";
import { loadItem, snapshotItems } from "./snapshot.ts";
import { moveTask, type KnownGovernor, type Session, type Task } from "./state.ts";
import { SettledLog } from "./settled-log.ts";
import { Folding, ObjectTable, TaskTable } from "./tables.ts";
import type { AssignedRecord, ServerRecord } from "./types.ts";
import {
  applySubmit,
  addMetrics,
  applyFinished,
  applyCached,
  applyFailed,
  applyReleased,
  applyReopened,
  applyLost,
  applyCancelled,
  dropIfUnneeded,
  noChanges,
  type Changes,
} from "./apply-tasks.ts";

/** The durable state and the one function that changes it: live operation and restart both go through `apply`. */
export class DurableState {
  readonly sessions: Map<SessionId, Session> = new Map();
  readonly sessionByKey: Map<string, Session> = new Map();
  /** Sessions whose name is their own. */
  readonly sessionByName: Map<string, Session> = new Map();
  readonly datastores: Datastores = new Datastores();
  /** Sessions that were closed, the oldest first. */
  readonly history: HistoryItem[] = [];
  readonly governors: Map<GovernorId, KnownGovernor> = new Map();
  readonly governorByIdentity: Map<string, KnownGovernor> = new Map();
  readonly cache: Cache = new Cache();
  /** Without hooks of a live side, tasks of arrays are folded before the next record. */
  readonly folding: Folding = new Folding();
  nextSession: SessionId = asSessionId(1);
  nextGovernor: GovernorId = asGovernorId(1);

  session(id: SessionId): Session {
    const session = this.sessions.get(id);
    if (!session) throw new Error(`record for session ${id}, which does not exist`);
    return session;
  }
  task(session: SessionId, id: TaskId): Task {
    const task = this.session(session).tasks.get(id);
    if (!task) throw new Error(`record for task ${session}/${id}, which does not exist`);
    return task;
  }

  /** `changes`: an empty one, to be filled. */
  apply(record: ServerRecord, changes: Changes = noChanges()): Changes {
    if (!this.folding.hooks) this.folding.fold();
    switch (record.type) {
      case "session.opened":
        this.addSession({
          id: record.session,
          key: record.key,
          name: record.name,
          onError: record.onError,
          detached: record.detached,
          ttlS: record.ttlS,
          unique: record.unique,
          parallelism: record.parallelism,
          maxFails: record.maxFails,
          created: record.created,
          user: record.user,
          ...this.emptySession(),
          failed: 0,
          excused: 0,
          failure: undefined,
        });
        break;
      case "submitted":
        applySubmit(this.session(record.session), record, changes);
        break;
      case "governor.registered":
        this.addGovernor({
          id: record.governor,
          identity: record.identity,
          incarnation: record.incarnation,
          name: record.name,
          epoch: record.epoch,
          ...(this.#drains(record.governor, record.incarnation) ? { draining: true } : {}),
        });
        break;
      case "governor.draining": {
        const known = this.governors.get(record.governor);
        if (!known) throw new Error(`governor ${record.governor} is drained, but was never registered`);
        this.addGovernor({ ...known, draining: true });
        break;
      }
      case "assigned":
        this.#assign(record);
        break;
      case "finished":
        applyFinished(this.task(record.session, record.task), record, changes, this.cache);
        break;
      case "cached":
        applyCached(this.task(record.session, record.task), record, changes, this.cache);
        break;
      case "cache.cleared":
        this.cache.clear();
        break;
      case "failed":
        applyFailed(this.task(record.session, record.task), record, changes);
        break;
      case "released":
        applyReleased(this.task(record.session, record.task), record, changes);
        break;
      case "reopened":
        applyReopened(this.task(record.session, record.task), record.objects, changes);
        break;
      case "lost": {
        const object = this.session(record.session).objects.get(record.object);
        if (object) applyLost(object, changes);
        break;
      }
      case "cancelled":
        applyCancelled(this.session(record.session), record, changes);
        break;
      case "unkept": {
        const session = this.session(record.session);
        for (const id of record.objects) {
          const object = session.objects.get(id);
          if (!object?.keep) continue;
          object.keep = false;
          dropIfUnneeded(object, changes);
        }
        break;
      }
      case "session.closed": {
        const session = this.session(record.session);
        this.sessions.delete(session.id);
        this.sessionByKey.delete(session.key);
        if (session.unique === true) this.sessionByName.delete(session.name);
        this.remember(historyItem(session));
        this.cache.sessionClosed(session.id);
        changes.closed = session;
        break;
      }
      case "metrics":
        addMetrics(this.task(record.session, record.task), record, changes);
        break;
      case "datastore.created": {
        const { type: _type, ...version } = record;
        this.datastores.create(version);
        changes.stored.push(version);
        break;
      }
      case "datastore.deleted":
        changes.unstored.push(...this.datastores.delete(record.name, record.versions));
        break;
    }
    const { unneeded, lost, failedObjects } = changes;
    for (const object of unneeded) this.cache.objectGone(object);
    for (const object of lost) this.cache.objectGone(object);
    for (const object of failedObjects) this.cache.objectGone(object);
    return changes;
  }

  /** As `apply` of this record, which changes nothing that others follow. */
  assign(record: AssignedRecord): void {
    if (!this.folding.hooks) this.folding.fold();
    this.#assign(record);
  }
  #assign({ session, task: id, attempt, governor, ahead, adopted }: AssignedRecord): void {
    const task = this.task(session, id);
    moveTask(task, ahead ? { kind: "open", attempt, governor, ahead } : { kind: "open", attempt, governor });
    task.curves = undefined;
    task.inputsChanged = adopted === true;
  }

  emptySession(): Pick<Session, "tasks" | "objects" | "submitKeys" | "settled" | "open"> {
    return {
      tasks: new TaskTable(this.folding),
      objects: new ObjectTable(),
      submitKeys: new Set(),
      settled: new SettledLog(),
      open: new Set(),
    };
  }
  addSession(session: Session): void {
    this.sessions.set(session.id, session);
    this.sessionByKey.set(session.key, session);
    if (session.unique === true) this.sessionByName.set(session.name, session);
    if (session.id >= this.nextSession) this.nextSession = asSessionId(session.id + 1);
  }
  remember(item: HistoryItem): void {
    this.history.push(item);
    if (this.history.length > limits.historyItems) this.history.shift();
  }
  /** A process that is drained stays so when it registers again; another one of the same work folder is not. */
  #drains(id: GovernorId, incarnation: string): boolean {
    const known = this.governors.get(id);
    return known?.draining === true && known.incarnation === incarnation;
  }

  addGovernor(governor: KnownGovernor): void {
    this.governors.set(governor.id, governor);
    this.governorByIdentity.set(governor.identity, governor);
    if (governor.id >= this.nextGovernor) this.nextGovernor = asGovernorId(governor.id + 1);
  }

  /** The whole state as plain items, for a snapshot. */
  dump(): Iterable<unknown> {
    return snapshotItems(this);
  }
  /** Takes one item of a snapshot, in the order of `dump`. */
  load(item: unknown): void {
    this.folding.fold();
    loadItem(this, item);
  }
}
