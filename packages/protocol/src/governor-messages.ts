import { z } from "zod";
import { taskFailure, wireError, type TaskFailure, type WireError } from "./errors.ts";
import {
  assignBatch,
  finishBatch,
  isWhole,
  refBatch,
  type AssignBatch,
  type FinishBatch,
  type RefBatch,
} from "./batches.ts";
import {
  assignedInput,
  fingerprint,
  objectSource,
  outputReport,
  type AssignedInput,
  type ObjectSource,
  type OutputReport,
} from "./data-parts.ts";
import {
  digest,
  epochNumber,
  governorId,
  objectId,
  type Digest,
  type Epoch,
  type GovernorId,
  type ObjectId,
} from "./ids.ts";
import { limits } from "./limits.ts";
import {
  bytes,
  byteSize,
  labels,
  metricPoint,
  metricsBatch,
  nameText,
  resources,
  taskInfo,
  taskSpec,
  userAttributes,
  type ConstantSpec,
  type Labels,
  type MetricsBatch,
  type ObjectKind,
  type Resources,
  type TaskInfo,
  type TaskSpec,
} from "./specs.ts";
import {
  type AttemptRef,
  attemptRef,
  type ObjectRef,
  objectRef,
  kind,
  type GovernorTraits,
  governorTraits,
} from "./views.ts";

/** What is said between governors and the server; see `messages.ts`. */

// ----------------------------------------------------------------------------------------- governor -> server

/** An input that could not be brought. `tried`: the addresses that did not give it; absent when that is not known. */
export interface MissingInput {
  readonly object: ObjectId;
  readonly why: string;
  readonly tried?: readonly string[] | undefined;
}

/** Who a governor is. */
export interface GovernorHello extends GovernorTraits {
  /** Random, kept in its work folder: the same after a restart. */
  readonly identity: string;
  /** Random for each start of the process. */
  readonly incarnation: string;
  readonly name: string;
  /** Where its data port is: `http://host:port` on loopback, `https://host:port` elsewhere. */
  readonly dataUrl: string;
  /** SHA-256 of the certificate that its data port shows, with https. */
  readonly fingerprint?: string | undefined;
  readonly capacity: Resources;
  readonly labels: Labels;
  /** It understands `retract`, and may be given tasks for which it has no room yet. */
  readonly ahead?: boolean | undefined;
  /** Types of messages, of those that not every release understands, that it does. */
  readonly knows?: readonly string[] | undefined;
  /** It understands `assign.batch` and `ack.batch`. */
  readonly batch?: boolean | undefined;
  /** It is behind a tunnel and reaches no data port of others: the server passes their objects on to it. */
  readonly relay?: boolean | undefined;
}

export type GovernorMessage =
  /** First message of every connection: who it is and which attempts it still has; `running`: one that has its units. */
  | (GovernorHello & {
      readonly type: "register";
      readonly attempts: readonly (AttemptRef & { readonly running: boolean })[];
    })
  /** Objects that it holds; sent after `registered`, in chunks, the last one says `done`. Later: newly copied objects. */
  | {
      readonly type: "holding";
      readonly objects: readonly (ObjectRef & { readonly sha256: Digest })[];
      readonly done: boolean;
    }
  /** The program runs. `at`: milliseconds since 1970 by the governor's clock. */
  | (AttemptRef & { readonly type: "started"; readonly at: number })
  /** Report of success. Reports are sent again after every reconnect until `ack`. */
  | (AttemptRef & {
      readonly type: "finish";
      readonly outputs: readonly OutputReport[];
      readonly info: TaskInfo;
      /** Points that no `metrics` message has told. */
      readonly metrics?: MetricsBatch | undefined;
    })
  /** Reports of success of many attempts; only to a server that said in `registered` that it understands them. */
  | (FinishBatch & { readonly type: "finish.batch" })
  /** Report of failure. */
  | (AttemptRef & {
      readonly type: "fail";
      readonly failure: TaskFailure;
      readonly info: TaskInfo;
      readonly metrics?: MetricsBatch | undefined;
    })
  /**
   * Metrics of an attempt that runs. After a reconnect all of an attempt whose report is not acknowledged are sent
   * again, before its report; the server knows by `from` which of them it has.
   */
  | (AttemptRef & MetricsBatch & { readonly type: "metrics" })
  /** Report: the attempt ended because the server asked, or it is not known here. */
  | (AttemptRef & { readonly type: "stopped" })
  /** Report: the attempt could not get its inputs; `missing` says which and why. */
  | (AttemptRef & {
      readonly type: "starved";
      readonly missing: readonly MissingInput[];
    })
  /** Of what a `copy` asked for: this could not be brought. */
  | { readonly type: "uncopied"; readonly objects: readonly (ObjectRef & { readonly why: string })[] }
  /** Sign of life; `loopDelayMs` is the worst delay of its event loop since the last one. */
  | { readonly type: "heartbeat"; readonly loopDelayMs: number }
  /** A deliberate stop: what it runs is given to others at once and is not counted as a crash. */
  | { readonly type: "leaving" };

export type GovernorMessageType = GovernorMessage["type"];
export type GovernorMessageOf<T extends GovernorMessageType> = Extract<GovernorMessage, { readonly type: T }>;

export const governorMessage: z.ZodType<GovernorMessage> = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("register"),
    identity: z.string().min(8).max(64),
    incarnation: z.string().min(8).max(64),
    name: nameText,
    dataUrl: z.string().max(2_048),
    fingerprint: fingerprint.optional(),
    capacity: resources,
    labels,
    ...governorTraits,
    ahead: z.boolean().optional(),
    knows: z.array(z.string().max(64)).max(64).optional(),
    batch: z.boolean().optional(),
    relay: z.boolean().optional(),
    attempts: z.array(z.strictObject({ ...attemptRef, running: z.boolean() })),
  }),
  z.strictObject({
    type: z.literal("holding"),
    objects: z.array(z.strictObject({ ...objectRef, sha256: digest })).max(limits.holdingChunk),
    done: z.boolean(),
  }),
  z.strictObject({ type: z.literal("started"), ...attemptRef, at: z.number() }),
  z.strictObject({
    type: z.literal("finish"),
    ...attemptRef,
    outputs: z.array(outputReport).max(limits.outputsPerTask),
    info: taskInfo,
    metrics: metricsBatch.optional(),
  }),
  z.strictObject({ type: z.literal("finish.batch"), ...finishBatch }).refine(...isWhole),
  z.strictObject({
    type: z.literal("fail"),
    ...attemptRef,
    failure: taskFailure,
    info: taskInfo,
    metrics: metricsBatch.optional(),
  }),
  z.strictObject({
    type: z.literal("metrics"),
    ...attemptRef,
    from: z.int().min(0),
    points: z.array(metricPoint).max(limits.metricPoints),
    params: userAttributes.optional(),
  }),
  z.strictObject({ type: z.literal("stopped"), ...attemptRef }),
  z.strictObject({
    type: z.literal("starved"),
    ...attemptRef,
    missing: z
      .array(
        z.strictObject({
          object: objectId,
          why: z.string().max(4_096),
          tried: z.array(z.string().max(4_096)).max(limits.triedSources).optional(),
        }),
      )
      .max(limits.inputsPerTask),
  }),
  z.strictObject({
    type: z.literal("uncopied"),
    objects: z.array(z.strictObject({ ...objectRef, why: z.string().max(4_096) })).max(limits.holdingChunk),
  }),
  z.strictObject({ type: z.literal("heartbeat"), loopDelayMs: z.number().min(0) }),
  z.strictObject({ type: z.literal("leaving") }),
]);
/** Reports are kept by the governor until the server says they are durable. */
export type Report = GovernorMessageOf<"finish" | "fail" | "stopped" | "starved">;
export const isReport = (message: GovernorMessage): message is Report =>
  message.type === "finish" ||
  message.type === "fail" ||
  message.type === "stopped" ||
  message.type === "starved";

// ----------------------------------------------------------------------------------------- server -> governor

/** An object to be brought, and where it can be read. */
export interface CopiedObject extends ObjectRef {
  readonly kind: ObjectKind;
  readonly size: number;
  readonly sha256: Digest;
  readonly sources: readonly ObjectSource[];
}
const copiedObject: z.ZodType<CopiedObject> = z.strictObject({
  ...objectRef,
  kind,
  size: byteSize,
  sha256: digest,
  sources: z.array(objectSource),
});

/** With a digest only that version is meant: a program that ran again may have made other bytes meanwhile. */
export interface DroppedObject extends ObjectRef {
  readonly sha256?: Digest | undefined;
}

export type ServerToGovernor =
  | {
      readonly type: "registered";
      readonly governor: GovernorId;
      readonly epoch: Epoch;
      readonly heartbeatMs: number;
      readonly leaseMs: number;
      /** Key of the tickets that this governor's data port accepts, for this registration. */
      readonly ticketKey: Uint8Array;
      /** The server understands `finish.batch`; said to governors with `batch` only. */
      readonly batch?: boolean | undefined;
    }
  /** The registration is not accepted; the connection is closed after it. */
  | { readonly type: "refused"; readonly error: WireError }
  | (AttemptRef & {
      readonly type: "assign";
      readonly spec: TaskSpec;
      /** In the order of `spec.inputs`. */
      readonly inputs: readonly AssignedInput[];
    })
  /** As many `assign`, for a governor with `batch`. */
  | (AssignBatch & { readonly type: "assign.batch" })
  | (AttemptRef & { readonly type: "cancel" })
  /** Give the attempt back if it was not started: it is reported as stopped. One that runs goes on. */
  | (AttemptRef & { readonly type: "retract" })
  /** These reports are durable (or out of date): forget them. */
  | { readonly type: "ack"; readonly attempts: readonly AttemptRef[] }
  /** As `ack`, for a governor with `batch`. */
  | (RefBatch & { readonly type: "ack.batch" })
  /** These objects are not needed here. */
  | { readonly type: "drop"; readonly objects: readonly DroppedObject[] }
  /**
   * Bytes that are here under another name are these objects too. What is not here is left out, and not an error. Only
   * to governors that know it.
   */
  | { readonly type: "adopt"; readonly objects: readonly (ObjectRef & { readonly sha256: Digest })[] }
  /** Bring these objects here, although no task here needs them: answered by `holding` or `uncopied`. Only to governors that know it. */
  | { readonly type: "copy"; readonly objects: readonly CopiedObject[] }
  /**
   * Bytes of small inputs of the next assignment, for which it has no room: those are named there without data and
   * sources. Only to governors that know it.
   */
  | {
      readonly type: "bytes";
      readonly objects: readonly { readonly sha256: Digest; readonly data: Uint8Array }[];
    }
  | { readonly type: "stop" };

/** What only governors are told that say, by `knows`, that they understand it; those of this release understand all. */
export type LaterMessage = "adopt" | "copy" | "bytes";
export const laterMessages: readonly LaterMessage[] = ["adopt", "copy", "bytes"];

export const serverToGovernor: z.ZodType<ServerToGovernor> = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("registered"),
    governor: governorId,
    epoch: epochNumber,
    heartbeatMs: z.number().positive(),
    leaseMs: z.number().positive(),
    ticketKey: bytes,
    batch: z.boolean().optional(),
  }),
  z.strictObject({ type: z.literal("refused"), error: wireError }),
  z.strictObject({
    type: z.literal("assign"),
    ...attemptRef,
    spec: taskSpec,
    inputs: z.array(assignedInput),
  }),
  z.strictObject({ type: z.literal("assign.batch"), ...assignBatch }),
  z.strictObject({ type: z.literal("cancel"), ...attemptRef }),
  z.strictObject({ type: z.literal("retract"), ...attemptRef }),
  z.strictObject({ type: z.literal("ack"), attempts: z.array(z.strictObject(attemptRef)) }),
  z.strictObject({ type: z.literal("ack.batch"), ...refBatch }).refine(...isWhole),
  z.strictObject({
    type: z.literal("drop"),
    objects: z.array(z.strictObject({ ...objectRef, sha256: digest.optional() })),
  }),
  z.strictObject({
    type: z.literal("adopt"),
    objects: z.array(z.strictObject({ ...objectRef, sha256: digest })),
  }),
  z.strictObject({ type: z.literal("copy"), objects: z.array(copiedObject) }),
  z.strictObject({
    type: z.literal("bytes"),
    objects: z.array(z.strictObject({ sha256: digest, data: bytes })),
  }),
  z.strictObject({ type: z.literal("stop") }),
]);

export type { ConstantSpec };
