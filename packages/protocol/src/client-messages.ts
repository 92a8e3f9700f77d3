import { z } from "zod";
import { taskArray, type TaskArray } from "./arrays.ts";
import { wireError, type WireError } from "./errors.ts";
import { settledColumns, type SettledColumns } from "./settled.ts";
import {
  digest,
  governorId,
  objectId,
  sessionId,
  taskId,
  type Attempt,
  type Digest,
  type GovernorId,
  type ObjectId,
  type SessionId,
  type TaskId,
} from "./ids.ts";
import { limits } from "./limits.ts";
import {
  bytes,
  byteSize,
  constantSpec,
  metricPoint,
  nameText,
  taskSpec,
  userAttributes,
  type ConstantSpec,
  type MetricPoint,
  type ObjectInfo,
  type ObjectKind,
  type TaskSpec,
  type UserAttributes,
} from "./specs.ts";
import {
  taskStates,
  type TaskState,
  type OnError,
  onError,
  type TaskView,
  taskView,
  objectInfo,
  kind,
  type ObjectView,
  objectView,
  type TaskCounts,
  taskCounts,
  type SessionFailure,
  sessionFailure,
  type SessionView,
  sessionLimits,
  sessionUser,
  sessionView,
  type ResultRow,
  resultRow,
  type HistoryItem,
  historyItem,
  type DatastoreVersion,
  plainName,
  datastoreVersion,
  type CacheEntry,
  cacheEntry,
  type GovernorView,
  governorView,
  type SettledItem,
  settledItem,
} from "./views.ts";

/** What is said between clients and the server; see `messages.ts`. */

// ------------------------------------------------------------------------------------------- client -> server

/** A version of a datastore. */
export type DatastorePlace = Pick<DatastoreVersion, "name" | "version">;

/** Tasks with consecutive numbers. */
export type TaskRange = readonly [first: TaskId, count: number];

/** The fields of every request, by its type. */
export interface Requests {
  /** Make a session. `key` is random and makes the request repeatable. */
  readonly "session.open": {
    readonly key: string;
    readonly name: string;
    readonly onError: OnError;
    readonly detached: boolean;
    /** Life of a detached session after its last task settled and its last client left, seconds. */
    readonly ttlS?: number | undefined;
    /** Refuse ("name-taken") when another unique session has this name. */
    readonly unique?: boolean | undefined;
    /** Tasks that may run at once; the others wait, whatever is free. */
    readonly parallelism?: number | undefined;
    /** As soon as so many tasks have failed, the others are cancelled. */
    readonly maxFails?: number | undefined;
    readonly created?: number | undefined;
    /** Attributes for whoever opened it; the server only keeps them. */
    readonly user?: UserAttributes | undefined;
  };
  /** A session by its number, or a unique one by its name. */
  readonly "session.get": { readonly session?: SessionId | undefined; readonly name?: string | undefined };
  /** Become a client of a session, so that it is not closed for want of one. */
  readonly "session.attach": { readonly session: SessionId };
  /** Stop everything of a session and forget it. */
  readonly "session.close": { readonly session: SessionId };
  readonly "session.list": object;
  /** Tasks of a session with their outputs by ascending task number, from `from`, at most `max`; constants with the first page. */
  readonly "session.describe": { readonly session: SessionId; readonly from: TaskId; readonly max: number };
  /**
   * Add tasks and constants: all or nothing. A large submit comes in parts 0, 1, ... with the same key, on one
   * connection; it takes effect with the part that says `last`, and the reply to an earlier part only means "go on".
   */
  readonly submit: {
    readonly session: SessionId;
    readonly key: string;
    readonly part: number;
    readonly last: boolean;
    readonly tasks: readonly TaskSpec[];
    readonly constants: readonly ConstantSpec[];
    /** Tasks that are alike. Only for a server with the feature "arrays". */
    readonly arrays?: readonly TaskArray[] | undefined;
  };
  /**
   * The settled log from entry `from`; answered as soon as there is one, or the session has failed. `columns`: in
   * columns instead of `items`; only for a server with the feature "columns".
   */
  readonly next: {
    readonly session: SessionId;
    readonly from: number;
    readonly columns?: true | undefined;
  };
  /** Let go of objects: they are removed everywhere once no task needs them. */
  readonly unkeep: { readonly session: SessionId; readonly objects: readonly ObjectId[] };
  /** Answered when the object is finished; its bytes come along when they are small. */
  readonly fetch: { readonly session: SessionId; readonly object: ObjectId };
  readonly "task.get": { readonly session: SessionId; readonly tasks: readonly TaskId[] };
  readonly "object.get": { readonly session: SessionId; readonly objects: readonly ObjectId[] };
  /**
   * Cancel these tasks, or all that are not settled. `ranges`: further tasks, the first number and how many follow on;
   * only for a server with the feature "columns".
   */
  readonly cancel: {
    readonly session: SessionId;
    readonly tasks?: readonly TaskId[] | undefined;
    readonly ranges?: readonly TaskRange[] | undefined;
  };
  /**
   * Rows of the tasks of a session that changed after `since` (0: all), in the order of their changes. What a cursor
   * means is known to one process of the server only: with the `instance` of another one, `since` counts as 0.
   */
  readonly results: {
    readonly session: SessionId;
    readonly since: number;
    readonly instance?: string | undefined;
    readonly max: number;
  };
  /** The curves of a task: of its last attempt. */
  readonly metrics: { readonly session: SessionId; readonly task: TaskId };
  /** Closed sessions, the last first. */
  readonly history: { readonly max: number };
  /** Make the next version of a datastore of uploaded bytes. Asked again with the same key, it is made once. */
  readonly "datastore.create": {
    readonly key: string;
    readonly name: string;
    readonly kind: ObjectKind;
    readonly size: number;
    readonly sha256: Digest;
    readonly source?: string | undefined;
    readonly created?: number | undefined;
  };
  /**
   * Versions by name and number, those that come after this one, at most `max` and as many as a message holds; without
   * `max`, as older clients ask, all.
   */
  readonly "datastore.list": {
    readonly after?: DatastorePlace | undefined;
    readonly max?: number | undefined;
  };
  /** Forget a version, or all of them. Sessions that use it keep their bytes. */
  readonly "datastore.delete": { readonly name: string; readonly version?: number | undefined };
  /** Results that may be taken over, the newest first. */
  readonly "cache.list": { readonly max: number };
  readonly "cache.clear": object;
  /** Why a task is in the state it is in. */
  readonly explain: { readonly session: SessionId; readonly task: TaskId };
  /** Give a governor no new tasks; it is told to stop when nothing that it has is needed or hard to make again. */
  readonly "governor.drain": { readonly governor: GovernorId };
  /** Tell a governor to end what it runs, which others then get, and to exit. */
  readonly "governor.stop": { readonly governor: GovernorId };
  readonly "server.info": object;
  /** Stop the server; with `governors`, first tell every governor to stop its tasks and exit. */
  readonly "server.stop": { readonly governors: boolean };
}
export type RequestType = keyof Requests;
export type RequestOf<T extends RequestType> = { readonly type: T; readonly req: number } & Requests[T];
export type ClientRequest = { [T in RequestType]: RequestOf<T> }[RequestType];

/** What the `ok` of a reply holds, by the type of its request. */
export interface Replies {
  readonly "session.open": { readonly session: SessionId };
  readonly "session.get": { readonly view: SessionView; readonly user?: UserAttributes | undefined };
  readonly "session.attach": SessionView;
  readonly "session.close": object;
  readonly "session.list": { readonly sessions: readonly SessionView[] };
  /** `next` is where the following page starts; absent on the last. */
  readonly "session.describe": {
    readonly tasks: readonly TaskView[];
    readonly objects: readonly ObjectView[];
    readonly next?: TaskId | undefined;
  };
  readonly submit: object;
  readonly next: {
    readonly from: number;
    readonly items: readonly SettledItem[];
    /** What is asked in columns comes here; there are no `items` then. */
    readonly columns?: SettledColumns | undefined;
    /** Tasks of the session that are not settled. */
    readonly outstanding: number;
    readonly failure?: SessionFailure | undefined;
  };
  readonly unkeep: object;
  /** Without `data` the bytes are read over HTTP: `objectPath`. */
  readonly fetch: {
    readonly kind: ObjectKind;
    readonly info: ObjectInfo;
    readonly data?: Uint8Array | undefined;
  };
  readonly "task.get": { readonly tasks: readonly TaskView[] };
  readonly "object.get": { readonly objects: readonly ObjectView[] };
  readonly cancel: object;
  /** Ask again with `since: cursor` and this `instance`; at once when there are `more`. */
  readonly results: {
    readonly rows: readonly ResultRow[];
    readonly cursor: number;
    readonly instance: string;
    readonly more: boolean;
    readonly counts: TaskCounts;
  };
  readonly metrics: {
    readonly attempt: Attempt;
    readonly points: readonly MetricPoint[];
    readonly params?: UserAttributes | undefined;
  };
  readonly history: { readonly items: readonly HistoryItem[] };
  readonly "datastore.create": { readonly version: number };
  /** `more`: ask again after the last one. */
  readonly "datastore.list": {
    readonly datastores: readonly DatastoreVersion[];
    readonly more?: boolean | undefined;
  };
  readonly "datastore.delete": { readonly removed: number };
  readonly "cache.list": {
    readonly entries: readonly CacheEntry[];
    /** Of all entries. */
    readonly count: number;
    readonly bytes: number;
  };
  readonly "cache.clear": { readonly removed: number };
  /** Lines for people, the most important first. */
  readonly explain: { readonly state: TaskState; readonly lines: readonly string[] };
  readonly "governor.drain": object;
  readonly "governor.stop": object;
  readonly "server.info": {
    readonly version: string;
    readonly clusterId: string;
    readonly instance: string;
    readonly uptimeS: number;
    readonly governors: readonly GovernorView[];
    readonly sessions: readonly SessionView[];
  };
  readonly "server.stop": object;
}
export type ReplyOf<T extends RequestType> = Replies[T];

const req = z.int().min(0);
const key = z.string().min(8).max(64);
const maxObjects = limits.submitChunk * 10;

const requestSchemas = {
  "session.open": z.strictObject({
    type: z.literal("session.open"),
    req,
    key,
    name: nameText,
    onError,
    detached: z.boolean(),
    ttlS: z.number().positive().max(1e9).optional(),
    ...sessionLimits,
    user: sessionUser.optional(),
  }),
  "session.get": z.strictObject({
    type: z.literal("session.get"),
    req,
    session: sessionId.optional(),
    name: nameText.optional(),
  }),
  "session.attach": z.strictObject({ type: z.literal("session.attach"), req, session: sessionId }),
  "session.close": z.strictObject({ type: z.literal("session.close"), req, session: sessionId }),
  "session.list": z.strictObject({ type: z.literal("session.list"), req }),
  "session.describe": z.strictObject({
    type: z.literal("session.describe"),
    req,
    session: sessionId,
    from: taskId,
    max: z.int().min(1).max(limits.nextItems),
  }),
  submit: z.strictObject({
    type: z.literal("submit"),
    req,
    session: sessionId,
    key,
    part: z.int().min(0),
    last: z.boolean(),
    tasks: z.array(taskSpec).max(limits.submitChunk),
    constants: z.array(constantSpec).max(limits.submitChunk),
    arrays: z.array(taskArray).max(limits.submitChunk).optional(),
  }),
  next: z.strictObject({
    type: z.literal("next"),
    req,
    session: sessionId,
    from: z.int().min(0),
    columns: z.literal(true).optional(),
  }),
  unkeep: z.strictObject({
    type: z.literal("unkeep"),
    req,
    session: sessionId,
    objects: z.array(objectId).max(maxObjects),
  }),
  fetch: z.strictObject({ type: z.literal("fetch"), req, session: sessionId, object: objectId }),
  "task.get": z.strictObject({
    type: z.literal("task.get"),
    req,
    session: sessionId,
    tasks: z.array(taskId).max(limits.nextItems),
  }),
  "object.get": z.strictObject({
    type: z.literal("object.get"),
    req,
    session: sessionId,
    objects: z.array(objectId).max(limits.nextItems),
  }),
  cancel: z.strictObject({
    type: z.literal("cancel"),
    req,
    session: sessionId,
    tasks: z.array(taskId).max(maxObjects).optional(),
    ranges: z
      .array(z.tuple([taskId, z.int().min(1).max(limits.submitTasks)]))
      .max(limits.submitChunk)
      .optional(),
  }),
  results: z.strictObject({
    type: z.literal("results"),
    req,
    session: sessionId,
    since: z.int().min(0),
    instance: z.string().max(64).optional(),
    max: z.int().min(1).max(limits.resultRows),
  }),
  metrics: z.strictObject({ type: z.literal("metrics"), req, session: sessionId, task: taskId }),
  history: z.strictObject({ type: z.literal("history"), req, max: z.int().min(1).max(limits.historyItems) }),
  "datastore.create": z.strictObject({
    type: z.literal("datastore.create"),
    req,
    key,
    name: plainName,
    kind,
    size: byteSize,
    sha256: digest,
    source: nameText.optional(),
    created: z.number().optional(),
  }),
  "datastore.list": z.strictObject({
    type: z.literal("datastore.list"),
    req,
    after: z.strictObject({ name: plainName, version: z.int().min(0) }).optional(),
    max: z.int().min(1).max(limits.nextItems).optional(),
  }),
  "datastore.delete": z.strictObject({
    type: z.literal("datastore.delete"),
    req,
    name: plainName,
    version: z.int().min(1).optional(),
  }),
  "cache.list": z.strictObject({
    type: z.literal("cache.list"),
    req,
    max: z.int().min(1).max(limits.nextItems),
  }),
  "cache.clear": z.strictObject({ type: z.literal("cache.clear"), req }),
  explain: z.strictObject({ type: z.literal("explain"), req, session: sessionId, task: taskId }),
  "governor.drain": z.strictObject({ type: z.literal("governor.drain"), req, governor: governorId }),
  "governor.stop": z.strictObject({ type: z.literal("governor.stop"), req, governor: governorId }),
  "server.info": z.strictObject({ type: z.literal("server.info"), req }),
  "server.stop": z.strictObject({ type: z.literal("server.stop"), req, governors: z.boolean() }),
} as const satisfies { [T in RequestType]: z.ZodType<RequestOf<T>> };

type AnyObjectSchema = (typeof requestSchemas)["next"];
export const clientRequest: z.ZodType<ClientRequest> = z.discriminatedUnion(
  "type",
  Object.values(requestSchemas) as unknown as [AnyObjectSchema, ...AnyObjectSchema[]],
);
/** Every request type; tests and the roles' table walk it. */
export const requestTypes: readonly RequestType[] = Object.keys(requestSchemas) as RequestType[];

const nothing = z.strictObject({});
/** Schemas of the replies: a client checks each against the type of its request. */
export const replySchemas: { readonly [T in RequestType]: z.ZodType<ReplyOf<T>> } = {
  "session.open": z.strictObject({ session: sessionId }),
  "session.get": z.strictObject({ view: sessionView, user: sessionUser.optional() }),
  "session.attach": sessionView,
  "session.close": nothing,
  "session.list": z.strictObject({ sessions: z.array(sessionView) }),
  "session.describe": z.strictObject({
    tasks: z.array(taskView),
    objects: z.array(objectView),
    next: taskId.optional(),
  }),
  submit: nothing,
  next: z.strictObject({
    from: z.int().min(0),
    items: z.array(settledItem),
    columns: settledColumns.optional(),
    outstanding: z.int().min(0),
    failure: sessionFailure.optional(),
  }),
  unkeep: nothing,
  fetch: z.strictObject({ kind, info: objectInfo, data: bytes.optional() }),
  "task.get": z.strictObject({ tasks: z.array(taskView) }),
  "object.get": z.strictObject({ objects: z.array(objectView) }),
  cancel: nothing,
  results: z.strictObject({
    rows: z.array(resultRow),
    cursor: z.int().min(0),
    instance: z.string(),
    more: z.boolean(),
    counts: taskCounts,
  }),
  metrics: z.strictObject({
    attempt: z.int().min(0),
    points: z.array(metricPoint),
    params: userAttributes.optional(),
  }),
  history: z.strictObject({ items: z.array(historyItem) }),
  "datastore.create": z.strictObject({ version: z.int().min(1) }),
  "datastore.list": z.strictObject({
    datastores: z.array(datastoreVersion),
    more: z.boolean().optional(),
  }),
  "datastore.delete": z.strictObject({ removed: z.int().min(0) }),
  "cache.list": z.strictObject({
    entries: z.array(cacheEntry),
    count: z.int().min(0),
    bytes: byteSize,
  }),
  "cache.clear": z.strictObject({ removed: z.int().min(0) }),
  explain: z.strictObject({ state: z.enum(taskStates), lines: z.array(z.string()) }),
  "governor.drain": nothing,
  "governor.stop": nothing,
  "server.info": z.strictObject({
    version: z.string(),
    clusterId: z.string(),
    instance: z.string(),
    uptimeS: z.number(),
    governors: z.array(governorView),
    sessions: z.array(sessionView),
  }),
  "server.stop": nothing,
};

// ------------------------------------------------------------------------------------------- server -> client

/** `ok` is checked by the receiver against `replies[type of the request]`. */
export type ServerToClient =
  | { readonly type: "reply"; readonly req: number; readonly ok: unknown }
  | { readonly type: "error"; readonly req: number; readonly error: WireError };
export const serverToClient: z.ZodType<ServerToClient> = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("reply"), req, ok: z.unknown() }),
  z.strictObject({ type: z.literal("error"), req, error: wireError }),
]);
