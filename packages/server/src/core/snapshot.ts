import type {
  DatastoreVersion,
  HistoryItem,
  ObjectId,
  SessionFailure,
  SessionId,
  TaskId,
  TaskSpec,
} from "@rain/protocol";
import type { DurableState } from "./apply.ts";
import { addTask, excuse } from "./apply-tasks.ts";
import { Curves, type CurveColumns } from "./curves.ts";
import type { CacheEntry } from "./cache.ts";
import type { DataObject, DurableObjectState, DurableTaskState, KnownGovernor, Session } from "./state.ts";

/**
 * The durable state as a list of plain items, each small enough for one frame of a snapshot, in an order in which
 * every item refers only to earlier ones: governors, then for each session its head, objects, tasks; then the cache.
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
    for (const object of session.objects.values()) {
      const { kind, label, contentType, user, producer, keep } = object;
      yield {
        type: "object",
        session: id,
        id: object.id,
        kind,
        label,
        contentType,
        user,
        producer,
        keep,
        state: object.state,
      };
    }
    for (const task of session.tasks.values()) {
      const { spec, crashes, failures, starved, logged } = task;
      yield {
        type: "task",
        session: id,
        spec,
        state: task.state,
        crashes,
        failures,
        starved,
        logged,
        ...(task.mustRun ? { mustRun: true } : {}),
        ...(task.excused ? { excused: true } : {}),
        ...(task.inputsChanged ? { inputsChanged: true } : {}),
      };
      if (task.curves) yield { type: "curves", session: id, task: spec.id, curves: task.curves.dump() };
    }
  }
  for (const { sources, ...entry } of state.cache.entries())
    yield { type: "cached", entry, sources: [...sources] };
  yield* storedItems(state);
  for (const items of chunks(state.history)) yield { type: "history", items };
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
        tasks: new Map(),
        objects: new Map(),
        submitKeys: new Set(item.submitKeys),
        settled: [],
        open: new Set(),
        failed: 0,
        excused: 0,
        failure: item.failure,
      });
      break;
    case "settled":
      for (const task of item.tasks) state.session(item.session).settled.push(task);
      break;
    case "object":
      state.session(item.session).objects.set(item.id, {
        session: state.session(item.session),
        id: item.id,
        kind: item.kind,
        label: item.label,
        contentType: item.contentType,
        user: item.user,
        producer: item.producer,
        keep: item.keep,
        state: item.state,
        consumers: [],
        openConsumers: 0,
      });
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
        for (const input of task.inputs) input.openConsumers++;
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
