import { Packr } from "msgpackr";
import {
  attemptNumber,
  constantSpec,
  epochNumber,
  governorId,
  nameText,
  objectId,
  outputReport,
  sessionId,
  taskFailure,
  taskId,
  taskInfo,
  taskSpec,
} from "@rain/protocol";
import { z } from "zod";
import type { ServerRecord } from "../core/types.ts";

// Plain msgpack, that any language can read. `undefined` fields are left out: msgpack has no word for them.
// Bytes are copied on reading, so that a small constant does not keep a whole segment in memory.
const options = { useRecords: false, skipValues: [undefined], copyBuffers: true, moreTypes: false };
const packr = new Packr(options);

/** One value as plain msgpack. The bytes are the caller's own. */
export const pack = (value: unknown): Uint8Array => packr.pack(value);
/** Reads one msgpack value; throws when the bytes are not exactly one. */
export const unpack = (bytes: Uint8Array): unknown => packr.unpack(bytes) as unknown;

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

/** Every record as it is in the journal; also the catalogue of what a journal may hold. */
const serverRecord: z.ZodType<ServerRecord> = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("session.opened"),
    session,
    key,
    name: nameText,
    onError: z.enum(["fail", "continue"]),
    detached: z.boolean(),
    ttlS: z.number().optional(),
  }),
  z.strictObject({
    type: z.literal("submitted"),
    session,
    key,
    tasks: z.array(taskSpec),
    constants: z.array(constantSpec),
  }),
  z.strictObject({
    type: z.literal("governor.registered"),
    governor: governorId,
    identity: z.string(),
    incarnation: z.string(),
    name: nameText,
    epoch: epochNumber,
  }),
  z.strictObject({
    type: z.literal("assigned"),
    session,
    task,
    attempt: attemptNumber,
    governor: governorId,
  }),
  z.strictObject({
    type: z.literal("finished"),
    session,
    task,
    attempt: attemptNumber,
    governor: governorId,
    outputs: z.array(outputReport),
    info: taskInfo,
  }),
  z.strictObject({ type: z.literal("failed"), session, task, failure: taskFailure, info: taskInfo }),
  z.strictObject({
    type: z.literal("released"),
    session,
    task,
    attempt: attemptNumber,
    counts: z.enum(["crash", "failure", "starved", "nothing"]),
    why,
  }),
  z.strictObject({ type: z.literal("reopened"), session, task, why }),
  z.strictObject({ type: z.literal("cancelled"), session, tasks: z.array(taskId) }),
  z.strictObject({ type: z.literal("unkept"), session, objects: z.array(objectId) }),
  z.strictObject({ type: z.literal("session.closed"), session }),
]);
const records: z.ZodType<readonly ServerRecord[]> = z.array(serverRecord);

/** The records of a segment's frame. Throws an Error that says where the payload is not what it must be. */
export function parseRecords(payload: Uint8Array): readonly ServerRecord[] {
  const parsed = records.safeParse(unpack(payload));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new Error(`record ${issue?.path.join(".") ?? "?"}: ${issue?.message ?? "unreadable"}`);
}
