import { z } from "zod";

/**
 * Identifiers. Sessions are numbered by the server (1, 2, ...); tasks and data objects are numbered by the client
 * within their session (0, 1, ...), each in a space of its own; governors are numbered by the server at their first
 * registration and keep the number across restarts of either side.
 */
declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

export type SessionId = Branded<number, "session">;
export type TaskId = Branded<number, "task">;
export type ObjectId = Branded<number, "object">;
export type GovernorId = Branded<number, "governor">;

/** Number of this try of a task, from 1: the fencing token of every report about it. */
export type Attempt = number;
/** Number of a governor's registration, from 1. */
export type Epoch = number;

const MAX_ID = 2 ** 31 - 1;
const number = (min: number): z.ZodInt => z.int().min(min).max(MAX_ID);

export const sessionId: z.ZodType<SessionId> = number(1) as unknown as z.ZodType<SessionId>;
export const taskId: z.ZodType<TaskId> = number(0) as unknown as z.ZodType<TaskId>;
export const objectId: z.ZodType<ObjectId> = number(0) as unknown as z.ZodType<ObjectId>;
export const governorId: z.ZodType<GovernorId> = number(1) as unknown as z.ZodType<GovernorId>;
export const attemptNumber: z.ZodType<Attempt> = number(1);
export const epochNumber: z.ZodType<Epoch> = number(1);

export const asSessionId = (n: number): SessionId => n as SessionId;
export const asTaskId = (n: number): TaskId => n as TaskId;
export const asObjectId = (n: number): ObjectId => n as ObjectId;
export const asGovernorId = (n: number): GovernorId => n as GovernorId;

/** A task as people write it: `3/17` is task 17 of session 3. */
export const formatTask = (session: SessionId, task: TaskId): string => `${session}/${task}`;
/** A data object as people write it: `3/o17`. */
export const formatObject = (session: SessionId, object: ObjectId): string => `${session}/o${object}`;

/** Reads `3/17`; undefined when the text is not of that form. */
export function parseTask(text: string): { session: SessionId; task: TaskId } | undefined {
  const match = /^(\d{1,9})\/(\d{1,9})$/.exec(text);
  if (!match) return undefined;
  return { session: asSessionId(Number(match[1])), task: asTaskId(Number(match[2])) };
}

/** SHA-256 of an object's bytes, lower-case hex. */
export type Digest = Branded<string, "sha256">;
export const digest: z.ZodType<Digest> = z
  .string()
  .regex(/^[0-9a-f]{64}$/, "a SHA-256 in lower-case hex") as unknown as z.ZodType<Digest>;
export const asDigest = (hex: string): Digest => hex as Digest;
