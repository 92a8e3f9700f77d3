import { z } from "zod";
import { taskFailure, type TaskFailure } from "./errors.ts";
import {
  attemptNumber,
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
  byteSize,
  contentType,
  environmentLabel,
  json,
  labels,
  metricSummaries,
  nameText,
  resources,
  taskInfo,
  taskSpec,
  userAttributes,
  type Labels,
  type MetricSummaries,
  type ObjectInfo,
  type ObjectKind,
  type Resources,
  type TaskInfo,
  type TaskSpec,
  type UserAttributes,
} from "./specs.ts";

/** The state of things as messages show it: the parts that requests, replies and reports share. */

/** States of a task as users see them. */
export const taskStates = [
  "waiting",
  "ready",
  "assigned",
  "running",
  "finished",
  "failed",
  "cancelled",
  "aborted",
] as const;
export type TaskState = (typeof taskStates)[number];
/** States from which a task does not move again. */
export const settledStates = ["finished", "failed", "cancelled", "aborted"] as const;
export type SettledState = (typeof settledStates)[number];

export const objectStates = ["pending", "finished", "removed", "failed"] as const;
export type ObjectState = (typeof objectStates)[number];

export const sessionStates = ["open", "failed"] as const;
export type SessionState = (typeof sessionStates)[number];

export type OnError = "fail" | "continue";
export const onError: z.ZodType<OnError> = z.enum(["fail", "continue"]);

/** Which attempt of which task. */
export interface AttemptRef {
  readonly session: SessionId;
  readonly task: TaskId;
  readonly attempt: Attempt;
}
export const attemptRef: {
  readonly session: z.ZodType<SessionId>;
  readonly task: z.ZodType<TaskId>;
  readonly attempt: z.ZodType<Attempt>;
} = { session: sessionId, task: taskId, attempt: attemptNumber };

export interface ObjectRef {
  readonly session: SessionId;
  readonly object: ObjectId;
}
export const objectRef: { readonly session: z.ZodType<SessionId>; readonly object: z.ZodType<ObjectId> } = {
  session: sessionId,
  object: objectId,
};

export interface TaskView {
  readonly task: TaskId;
  readonly state: TaskState;
  readonly spec: TaskSpec;
  /** Last attempt that was assigned, 0 when none was. */
  readonly attempt: Attempt;
  /** Name of the governor of that attempt. */
  readonly governor?: string | undefined;
  readonly info?: TaskInfo | undefined;
  readonly failure?: TaskFailure | undefined;
}
export const taskView: z.ZodType<TaskView> = z.strictObject({
  task: taskId,
  state: z.enum(taskStates),
  spec: taskSpec,
  attempt: z.int().min(0),
  governor: z.string().optional(),
  info: taskInfo.optional(),
  failure: taskFailure.optional(),
});

export const objectInfo: z.ZodType<ObjectInfo> = z.strictObject({
  size: byteSize,
  sha256: digest,
  contentType,
  user: userAttributes.optional(),
});
export const kind: z.ZodType<ObjectKind> = z.enum(["blob", "directory"]);

export interface ObjectView {
  readonly object: ObjectId;
  readonly label: string;
  readonly kind: ObjectKind;
  readonly state: ObjectState;
  readonly keep: boolean;
  /** The task that makes it; absent for a constant. */
  readonly producer?: TaskId | undefined;
  readonly info?: ObjectInfo | undefined;
  /** Attributes given when it was declared. */
  readonly user?: UserAttributes | undefined;
}
export const objectView: z.ZodType<ObjectView> = z.strictObject({
  object: objectId,
  label: nameText,
  kind,
  state: z.enum(objectStates),
  keep: z.boolean(),
  producer: taskId.optional(),
  info: objectInfo.optional(),
  user: userAttributes.optional(),
});

/** Number of tasks of a session in each state. */
export type TaskCounts = Readonly<Record<TaskState, number>>;
export const taskCounts: z.ZodType<TaskCounts> = z.record(z.enum(taskStates), z.int().min(0));

/** The task whose failure failed the session. */
export interface SessionFailure {
  readonly task: TaskId;
  readonly name?: string | undefined;
  readonly failure: TaskFailure;
  readonly origin?: string | undefined;
}
export const sessionFailure: z.ZodType<SessionFailure> = z.strictObject({
  task: taskId,
  name: z.string().optional(),
  failure: taskFailure,
  origin: z.string().optional(),
});

export interface SessionView {
  readonly session: SessionId;
  readonly name: string;
  readonly state: SessionState;
  readonly onError: OnError;
  readonly detached: boolean;
  readonly connected: boolean;
  readonly counts: TaskCounts;
  readonly failure?: SessionFailure | undefined;
  /** Its name is its own among the sessions of the server: `session.get` finds it by it. */
  readonly unique?: boolean | undefined;
  /** Tasks of it that may run at once. */
  readonly parallelism?: number | undefined;
  /** After so many failed tasks the others are cancelled. */
  readonly maxFails?: number | undefined;
  /** When it was opened: milliseconds since 1970 by the client's clock. */
  readonly created?: number | undefined;
}
export const sessionLimits: {
  readonly unique: z.ZodOptional<z.ZodBoolean>;
  readonly parallelism: z.ZodOptional<z.ZodInt>;
  readonly maxFails: z.ZodOptional<z.ZodInt>;
  readonly created: z.ZodOptional<z.ZodNumber>;
} = {
  unique: z.boolean().optional(),
  parallelism: z.int().min(1).max(1_000_000).optional(),
  maxFails: z.int().min(1).max(10_000_000).optional(),
  created: z.number().min(0).optional(),
};
export const sessionUser: z.ZodType<UserAttributes> = z
  .record(z.string(), json)
  .refine(
    (value) => JSON.stringify(value).length <= limits.sessionUserBytes,
    `at most ${limits.sessionUserBytes} characters as JSON`,
  );
export const sessionView: z.ZodType<SessionView> = z.strictObject({
  session: sessionId,
  name: nameText,
  state: z.enum(sessionStates),
  onError,
  detached: z.boolean(),
  connected: z.boolean(),
  counts: taskCounts,
  failure: sessionFailure.optional(),
  ...sessionLimits,
});

/** What one task has come to: a row of the table of results. Long texts are cut: `task.get` has them whole. */
export interface ResultRow {
  readonly task: TaskId;
  readonly state: TaskState;
  readonly attempt: Attempt;
  readonly name?: string | undefined;
  /** Attributes of its spec. */
  readonly user?: UserAttributes | undefined;
  readonly governor?: string | undefined;
  readonly info?: TaskInfo | undefined;
  /** Of a task that has not ended: what came so far. Afterwards they are in `info`. */
  readonly metrics?: MetricSummaries | undefined;
  readonly failure?: TaskFailure | undefined;
  readonly replaces?: TaskId | undefined;
  /** The task that took its place. */
  readonly replacedBy?: TaskId | undefined;
  readonly outputs: readonly {
    readonly object: ObjectId;
    readonly label: string;
    readonly kind: ObjectKind;
    readonly state: ObjectState;
    readonly size?: number | undefined;
  }[];
}
export const resultRow: z.ZodType<ResultRow> = z.strictObject({
  task: taskId,
  state: z.enum(taskStates),
  attempt: z.int().min(0),
  name: z.string().optional(),
  user: userAttributes.optional(),
  governor: z.string().optional(),
  info: taskInfo.optional(),
  metrics: metricSummaries.optional(),
  failure: taskFailure.optional(),
  replaces: taskId.optional(),
  replacedBy: taskId.optional(),
  outputs: z.array(
    z.strictObject({
      object: objectId,
      label: nameText,
      kind,
      state: z.enum(objectStates),
      size: byteSize.optional(),
    }),
  ),
});

/** A session that was closed. */
export interface HistoryItem {
  readonly session: SessionId;
  readonly name: string;
  readonly created?: number | undefined;
  readonly counts: TaskCounts;
  /** Its attributes without long texts and lists, so that they fit into 16 KiB; absent when they do not even so. */
  readonly user?: UserAttributes | undefined;
}
export const historyItem: z.ZodType<HistoryItem> = z.strictObject({
  session: sessionId,
  name: nameText,
  created: z.number().optional(),
  counts: taskCounts,
  user: sessionUser.optional(),
});

/** One version of a named object that outlives sessions. */
export interface DatastoreVersion {
  readonly name: string;
  readonly version: number;
  readonly kind: ObjectKind;
  readonly size: number;
  readonly sha256: Digest;
  /** Where it came from, for people. */
  readonly source?: string | undefined;
  readonly created?: number | undefined;
}
/** A name of a datastore or a run: for paths and command lines. */
export const plainName: z.ZodString = z
  .string()
  .regex(
    /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/,
    "lower case letters, digits and '-', 63 at most; it starts with a letter and ends with a letter or digit",
  );
export const datastoreVersion: z.ZodType<DatastoreVersion> = z.strictObject({
  name: plainName,
  version: z.int().min(1),
  kind,
  size: byteSize,
  sha256: digest,
  source: nameText.optional(),
  created: z.number().optional(),
});

/** A finished task whose result can be taken over by another one. */
export interface CacheEntry {
  readonly session: SessionId;
  readonly task: TaskId;
  readonly name?: string | undefined;
  /** Bytes of its outputs. */
  readonly size: number;
  /** Number of tasks that took it over. */
  readonly hits: number;
}
export const cacheEntry: z.ZodType<CacheEntry> = z.strictObject({
  session: sessionId,
  task: taskId,
  name: z.string().optional(),
  size: byteSize,
  hits: z.int().min(0),
});

/** What a governor tells of itself beside its resources; absent in what older ones say. */
export interface GovernorTraits {
  /** Names of the environments of its configuration: tasks that name another one do not go there. */
  readonly environments?: readonly string[] | undefined;
  /** Names of its own executors: tasks of another one do not go there. */
  readonly executors?: readonly string[] | undefined;
  /** What an hour of it costs, in whatever money its owner counts. */
  readonly costPerHour?: number | undefined;
  /** How it holds tasks to the memory that they asked for. */
  readonly memoryLimit?: MemoryLimit | undefined;
  /** Processes that one task may have at once. */
  readonly processLimit?: number | undefined;
}
export interface GovernorView extends GovernorTraits {
  readonly governor: GovernorId;
  readonly name: string;
  readonly state: "connected" | "lost";
  readonly capacity: Resources;
  /** What running and assigned tasks hold of the capacity. */
  readonly used: Resources;
  readonly labels: Labels;
  /** It gets no new tasks, and stops once it is not needed any more. */
  readonly draining?: boolean | undefined;
  /** Why a drained one has not stopped yet. */
  readonly drainStatus?: string | undefined;
  readonly tasks: readonly { readonly session: SessionId; readonly task: TaskId }[];
  readonly objects: readonly ObjectRef[];
}
/** By control groups of the system, by looking at how much tasks use, or not at all. */
export const memoryLimits = ["cgroup", "watch", "off"] as const;
export type MemoryLimit = (typeof memoryLimits)[number];
/** The schemas of `GovernorTraits`. */
export const governorTraits: {
  readonly environments: z.ZodOptional<z.ZodArray<typeof environmentLabel>>;
  readonly executors: z.ZodOptional<z.ZodArray<typeof environmentLabel>>;
  readonly costPerHour: z.ZodOptional<z.ZodNumber>;
  readonly memoryLimit: z.ZodOptional<z.ZodEnum<{ cgroup: "cgroup"; watch: "watch"; off: "off" }>>;
  readonly processLimit: z.ZodOptional<z.ZodInt>;
} = {
  environments: z.array(environmentLabel).max(256).optional(),
  executors: z.array(environmentLabel).max(256).optional(),
  costPerHour: z.number().min(0).max(1e9).optional(),
  memoryLimit: z.enum(memoryLimits).optional(),
  processLimit: z.int().min(1).optional(),
};
export const governorView: z.ZodType<GovernorView> = z.strictObject({
  governor: governorId,
  name: nameText,
  state: z.enum(["connected", "lost"]),
  capacity: resources,
  used: resources,
  labels,
  ...governorTraits,
  draining: z.boolean().optional(),
  drainStatus: z.string().optional(),
  tasks: z.array(z.strictObject({ session: sessionId, task: taskId })),
  objects: z.array(z.strictObject(objectRef)),
});

/** One entry of a session's settled log. */
export interface SettledItem {
  readonly task: TaskId;
  readonly state: SettledState;
  readonly failure?: TaskFailure | undefined;
  /** For an aborted task: the task whose output can never come. */
  readonly cause?: TaskId | undefined;
}
export const settledItem: z.ZodType<SettledItem> = z.strictObject({
  task: taskId,
  state: z.enum(settledStates),
  failure: taskFailure.optional(),
  cause: taskId.optional(),
});
