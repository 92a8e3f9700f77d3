import type {
  DatastoreVersion,
  HistoryItem,
  ObjectId,
  SessionFailure,
  SessionId,
  TaskArray,
  TaskId,
  TaskSpec,
} from "@rain/protocol";
import type { DurableState } from "./apply.ts";
import { addConsumer, addTask, enterArray, excuse } from "./apply-tasks.ts";
import { Curves, type CurveColumns } from "./curves.ts";
import type { CacheEntry } from "./cache.ts";
import {
  newObject,
  type DataObject,
  type DurableObjectState,
  type DurableTaskState,
  type KnownGovernor,
  type Session,
  type Task,
} from "./state.ts";
import type { ArrayState } from "./task-array.ts";

/**
 * The durable state as a list of plain items, each small enough for one frame of a snapshot, in an order in which
 * every item refers only to earlier ones: governors, then for each session its head, objects, arrays, tasks, and what
 * became of those of arrays; then the cache.
 */
export type SnapshotItem =
  | { readonly type: "counters"; readonly nextSession: number; readonly nextGovernor: number }
  | { readonly type: "governor"; readonly governor: KnownGovernor }
  | {
      readonly type: "session";
      readonly session: Omit<
        Session,
        "tasks" | "objects" | "submitKeys" | "settled" | "open" | "failed" | "excused" | "failure"
      >;
      readonly submitKeys: readonly string[];
      readonly failure: SessionFailure | undefined;
    }
  | { readonly type: "settled"; readonly session: SessionId; readonly tasks: readonly TaskId[] }
  | {
      readonly type: "object";
      readonly session: SessionId;
      readonly id: ObjectId;
      readonly kind: DataObject["kind"];
      readonly label: string;
      readonly contentType: string;
      readonly user?: DataObject["user"];
      readonly producer: TaskId | undefined;
      readonly keep: boolean;
      readonly state: DurableObjectState;
    }
  | {
      readonly type: "array";
      readonly session: SessionId;
      readonly array: TaskArray;
      readonly isReady: boolean;
    }
  /** All arrays of the session are there. */
  | { readonly type: "arrays"; readonly session: SessionId }
  /** What became of tasks of an array, by their places in it; of the others nothing has. */
  | {
      readonly type: "array.tasks";
      readonly session: SessionId;
      readonly first: TaskId;
      readonly tasks: Parameters<ArrayState["load"]>[0];
    }
  /** Tasks of an array that were cancelled before anything happened to them. */
  | {
      readonly type: "array.swept";
      readonly session: SessionId;
      readonly first: TaskId;
      readonly runs: readonly (readonly [from: number, count: number])[];
    }
  | {
      readonly type: "task";
      readonly session: SessionId;
      readonly spec: TaskSpec;
      readonly state: DurableTaskState;
      readonly crashes: number;
      readonly failures: number;
      readonly starved: number;
      readonly logged: boolean;
      readonly mustRun?: true | undefined;
      readonly excused?: true | undefined;
      readonly inputsChanged?: true | undefined;
    }
  | {
      readonly type: "curves";
      readonly session: SessionId;
      readonly task: TaskId;
      readonly curves: CurveColumns;
    }
  | {
      readonly type: "datastore";
      readonly name: string;
      readonly last: number;
      readonly versions: readonly DatastoreVersion[];
    }
  | { readonly type: "datastore keys"; readonly keys: readonly (readonly [key: string, version: number])[] }
  | { readonly type: "history"; readonly items: readonly HistoryItem[] }
  | {
      readonly type: "cached";
      readonly entry: Omit<CacheEntry, "sources">;
      readonly sources: readonly (readonly [SessionId, TaskId])[];
    };

const SETTLED_CHUNK = 10_000;
const CHUNK = 1_000;
/** Tasks of arrays in one item: small outputs may be 64 KiB each. */
const TOLD_CHUNK = 100;

export function* snapshotItems(state: DurableState): Iterable<SnapshotItem> {
  yield { type: "counters", nextSession: state.nextSession, nextGovernor: state.nextGovernor };
  for (const governor of state.governors.values()) yield { type: "governor", governor };
  for (const session of state.sessions.values()) {
    const { id, key, name, onError, detached, ttlS } = session;
    const { unique, parallelism, maxFails, created, user } = session;
    yield {
      type: "session",
      session: { id, key, name, onError, detached, ttlS, unique, parallelism, maxFails, created, user },
      submitKeys: [...session.submitKeys],
      failure: session.failure,
    };
    for (let at = 0; at < session.settled.length; at += SETTLED_CHUNK) {
      yield { type: "settled", session: id, tasks: session.settled.slice(at, at + SETTLED_CHUNK) };
    }
    for (const object of session.objects.expandedOnes()) {
      // Those of array tasks come with them.
      if (object.producer !== undefined && session.tasks.arrayOf(object.producer)) continue;
      yield objectItem(object);
    }
    const arrays = [...session.tasks.arrays];
    for (const { spec: array, isReady } of arrays) yield { type: "array", session: id, array, isReady };
    if (arrays.length > 0) yield { type: "arrays", session: id };
    for (const task of session.tasks.own()) {
      yield taskItem(task);
      if (task.curves) yield { type: "curves", session: id, task: task.spec.id, curves: task.curves.dump() };
    }
    for (const array of arrays) {
      const { first } = array;
      for (const tasks of array.dump(TOLD_CHUNK)) yield { type: "array.tasks", session: id, first, tasks };
      for (const runs of chunks(array.sweptRuns())) yield { type: "array.swept", session: id, first, runs };
    }
  }
  for (const { sources, ...entry } of state.cache.entries())
    yield { type: "cached", entry, sources: [...sources] };
  yield* storedItems(state);
  for (const items of chunks(state.history)) yield { type: "history", items };
}

function objectItem(object: DataObject): SnapshotItem {
  const { session, id, kind, label, contentType, user, producer, keep, state } = object;
  return { type: "object", session: session.id, id, kind, label, contentType, user, producer, keep, state };
}

function taskItem(task: Task): SnapshotItem {
  const { session, spec, state, crashes, failures, starved, logged } = task;
  return {
    type: "task",
    session: session.id,
    spec,
    state,
    crashes,
    failures,
    starved,
    logged,
    ...(task.mustRun ? { mustRun: true } : {}),
    ...(task.excused ? { excused: true } : {}),
    ...(task.inputsChanged ? { inputsChanged: true } : {}),
  };
}

function* storedItems({ datastores }: DurableState): Iterable<SnapshotItem> {
  for (const { name, last, versions } of datastores.byName.values()) {
    yield { type: "datastore", name, last, versions };
  }
  for (const keys of chunks([...datastores.byKey])) yield { type: "datastore keys", keys };
}

function* chunks<T>(list: readonly T[]): Iterable<readonly T[]> {
  for (let at = 0; at < list.length; at += CHUNK) yield list.slice(at, at + CHUNK);
}

/** `item` came through the journal's CRC and was written by `snapshotItems` of the same format version. */
export function loadItem(state: DurableState, raw: unknown): void {
  const item = raw as SnapshotItem;
  switch (item.type) {
    case "counters":
      state.nextSession = item.nextSession as SessionId;
      state.nextGovernor = item.nextGovernor as DurableState["nextGovernor"];
      break;
    case "governor":
      state.addGovernor(item.governor);
      break;
    case "session":
      state.addSession({
        ...item.session,
        ttlS: item.session.ttlS,
        ...state.emptySession(),
        submitKeys: new Set(item.submitKeys),
        failed: 0,
        excused: 0,
        failure: item.failure,
      });
      break;
    case "settled":
      for (const task of item.tasks) state.session(item.session).settled.push(task);
      break;
    case "object":
      state
        .session(item.session)
        .objects.add(newObject(state.session(item.session), item.id, item, item.producer, item.state));
      break;
    case "array":
      state.session(item.session).tasks.addArray(state.session(item.session), item.array, item.isReady);
      break;
    case "arrays":
      for (const array of state.session(item.session).tasks.arrays) enterArray(array, undefined);
      break;
    case "array.tasks":
      state.session(item.session).tasks.arrayOf(item.first)?.load(item.tasks);
      break;
    case "array.swept":
      state.session(item.session).tasks.arrayOf(item.first)?.loadSwept(item.runs);
      break;
    case "task": {
      const session = state.session(item.session);
      const task = addTask(session, item.spec, item.state);
      task.crashes = item.crashes;
      task.failures = item.failures;
      task.starved = item.starved;
      task.logged = item.logged;
      task.mustRun = item.mustRun === true;
      task.inputsChanged = item.inputsChanged === true;
      if (item.state.kind === "open") {
        session.open.add(task);
        addConsumer(task);
      }
      if (item.state.kind === "failed") session.failed++;
      if (item.excused) excuse(task);
      break;
    }
    case "curves":
      state.task(item.session, item.task).curves = Curves.load(item.curves);
      break;
    case "datastore": {
      const { name, last, versions } = item;
      state.datastores.byName.set(name, { name, last, versions: [...versions] });
      break;
    }
    case "datastore keys":
      for (const [key, version] of item.keys) state.datastores.byKey.set(key, version);
      break;
    case "history":
      for (const each of item.items) state.remember(each);
      break;
    case "cached":
      state.cache.add({ ...item.entry, name: item.entry.name, sources: new Map(item.sources) });
      break;
  }
}
