import { Packr } from "msgpackr";
import {
  attemptNumber,
  byteSize,
  constantSpec,
  digest,
  epochNumber,
  governorId,
  metricPoint,
  metricsBatch,
  nameText,
  objectId,
  outputReport,
  plainName,
  sessionId,
  sessionLimits,
  sessionUser,
  taskArray,
  taskFailure,
  taskId,
  taskInfo,
  taskSpec,
  userAttributes,
} from "@rain/protocol";
import { check } from "@rain/protocol/codec";
import { z } from "zod";
import type { ServerRecord } from "../core/types.ts";
import { joinedSchemas, splitRecord, type JoinedRecord } from "./join.ts";

// Plain msgpack, that any language can read. `undefined` fields are left out: msgpack has no word for them.
// Bytes are copied on reading, so that a small constant does not keep a whole segment in memory.
const options = { useRecords: false, skipValues: [undefined], copyBuffers: true, moreTypes: false };
const packr = new Packr(options);

/** One value as plain msgpack. The bytes are the caller's own. */
export const pack = (value: unknown): Uint8Array => packr.pack(value);
/** Reads one msgpack value; throws when the bytes are not exactly one. */
export function unpack(bytes: Uint8Array): unknown {
  // A view of the plain class: bytes inside a Buffer would come out as Buffers, unlike those of the live state.
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return packr.unpack(view) as unknown;
}

/** Head of a msgpack array, so that an array can be put together of values packed before. */
export function arrayHead(count: number): Uint8Array {
  if (count < 16) return Uint8Array.of(0x90 | count);
  const head = Buffer.alloc(count < 0x1_0000 ? 3 : 5);
  head[0] = count < 0x1_0000 ? 0xdc : 0xdd;
  head.writeUIntBE(count, 1, head.length - 1);
  return head;
}

const key = z.string().min(1).max(64);
const why = z.string();
const session = sessionId;
const task = taskId;

type RecordType = ServerRecord["type"];
type RecordOf<T extends RecordType> = Extract<ServerRecord, { readonly type: T }>;
/** Every type of record and every field of it, so that nothing can be written that cannot be read. */
type Catalogue = {
  readonly [T in RecordType]: z.ZodType<RecordOf<T>> & {
    readonly shape: { readonly [K in keyof RecordOf<T>]-?: z.ZodType };
  };
};

/** Every record as it is in the journal, by its type. */
const schemas = {
  "session.opened": z.strictObject({
    type: z.literal("session.opened"),
    session,
    key,
    name: nameText,
    onError: z.enum(["fail", "continue"]),
    detached: z.boolean(),
    ttlS: z.number().optional(),
    ...sessionLimits,
    user: sessionUser.optional(),
  }),
  submitted: z.strictObject({
    type: z.literal("submitted"),
    session,
    key,
    tasks: z.array(taskSpec),
    constants: z.array(constantSpec),
    arrays: z.array(taskArray).optional(),
    resumes: z.literal(true).optional(),
  }),
  "governor.registered": z.strictObject({
    type: z.literal("governor.registered"),
    governor: governorId,
    identity: z.string(),
    incarnation: z.string(),
    name: nameText,
    epoch: epochNumber,
  }),
  "governor.draining": z.strictObject({ type: z.literal("governor.draining"), governor: governorId }),
  assigned: z.strictObject({
    type: z.literal("assigned"),
    session,
    task,
    attempt: attemptNumber,
    governor: governorId,
    ahead: z.literal(true).optional(),
    adopted: z.boolean().optional(),
  }),
  finished: z.strictObject({
    type: z.literal("finished"),
    session,
    task,
    attempt: attemptNumber,
    governor: governorId,
    outputs: z.array(outputReport),
    info: taskInfo,
    metrics: metricsBatch.optional(),
  }),
  failed: z.strictObject({
    type: z.literal("failed"),
    session,
    task,
    failure: taskFailure,
    info: taskInfo,
    metrics: metricsBatch.optional(),
  }),
  cached: z.strictObject({
    type: z.literal("cached"),
    session,
    task,
    from: z.strictObject({ session, task, name: nameText.optional() }),
    outputs: z.array(outputReport),
    copies: z.array(z.strictObject({ object: objectId, governor: governorId })),
    info: taskInfo,
  }),
  released: z.strictObject({
    type: z.literal("released"),
    session,
    task,
    attempt: attemptNumber,
    counts: z.enum(["crash", "failure", "starved", "nothing"]),
    why,
  }),
  reopened: z.strictObject({ type: z.literal("reopened"), session, task, objects: z.array(objectId), why }),
  lost: z.strictObject({ type: z.literal("lost"), session, object: objectId }),
  cancelled: z.strictObject({
    type: z.literal("cancelled"),
    session,
    tasks: z.array(taskId),
    ranges: z.array(z.tuple([taskId, z.int().min(1)])).optional(),
  }),
  unkept: z.strictObject({ type: z.literal("unkept"), session, objects: z.array(objectId) }),
  "session.closed": z.strictObject({ type: z.literal("session.closed"), session }),
  metrics: z.strictObject({
    type: z.literal("metrics"),
    session,
    task,
    attempt: attemptNumber,
    from: z.int().min(0),
    points: z.array(metricPoint),
    params: userAttributes.optional(),
  }),
  "datastore.created": z.strictObject({
    type: z.literal("datastore.created"),
    key,
    name: plainName,
    version: z.int().min(1),
    kind: z.enum(["blob", "directory"]),
    size: byteSize,
    sha256: digest,
    source: nameText.optional(),
    created: z.number().optional(),
  }),
  "datastore.deleted": z.strictObject({
    type: z.literal("datastore.deleted"),
    name: plainName,
    versions: z.array(z.int().min(1)),
  }),
  "cache.cleared": z.strictObject({ type: z.literal("cache.cleared") }),
} satisfies Catalogue;
const catalogue: Readonly<Record<string, z.ZodType<ServerRecord | JoinedRecord>>> = {
  ...schemas,
  ...joinedSchemas,
};

/**
 * The records of a segment's frame, each parsed when it is asked for, so that a reader can stop in between. Throws an
 * Error that says where the payload is not what it must be.
 */
export function* parseRecords(payload: Uint8Array): Generator<ServerRecord, void> {
  const values = unpack(payload);
  if (!Array.isArray(values)) throw new Error("it is not a list of records");
  let index = 0;
  for (const value of values) {
    const record = parseRecord(value, index);
    if (record.type === "assigned.batch" || record.type === "finished.batch") yield* splitRecord(record);
    else yield record;
    index += 1;
  }
}

function parseRecord(value: unknown, index: number): ServerRecord | JoinedRecord {
  const type: unknown = typeof value === "object" && value !== null ? Reflect.get(value, "type") : undefined;
  if (typeof type !== "string" || !Object.hasOwn(catalogue, type))
    throw new Error(`record ${index} is of no known type: ${JSON.stringify(type)}`);
  const schema = catalogue[type];
  const parsed = schema && check(schema, value);
  if (parsed?.success === true) return parsed.data;
  const issue = parsed?.error.issues[0];
  throw new Error(
    `record ${index} (${type}) at ${issue?.path.join(".") ?? "?"}: ${issue?.message ?? "unreadable"}`,
  );
}
