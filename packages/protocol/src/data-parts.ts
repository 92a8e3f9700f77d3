import { z } from "zod";
import { digest, objectId, type Digest, type ObjectId } from "./ids.ts";
import {
  bytes,
  byteSize,
  contentType,
  userAttributes,
  type ObjectKind,
  type UserAttributes,
} from "./specs.ts";
import { kind } from "./views.ts";

/** Data objects as messages between governors and the server name them: what was made, and where it can be read. */

/** SHA-256 of a certificate. */
export const fingerprint: z.ZodString = z.string().regex(/^[0-9a-f]{64}$/, "a SHA-256 in lower-case hex");

/** A finished output as the governor measured it; `data` when it is small enough to ride along. */
export interface OutputReport {
  readonly object: ObjectId;
  readonly size: number;
  readonly sha256: Digest;
  readonly contentType: string;
  readonly data?: Uint8Array | undefined;
  readonly user?: UserAttributes | undefined;
}
export const outputReport: z.ZodType<OutputReport> = z.strictObject({
  object: objectId,
  size: byteSize,
  sha256: digest,
  contentType,
  data: bytes.optional(),
  user: userAttributes.optional(),
});

/** A place to read an object from. A `url` that starts with '/' is on the server; `ticket` is the right to read it. */
export interface ObjectSource {
  readonly url: string;
  readonly ticket: string;
  /** SHA-256 of the certificate that is shown there, with https to a governor. */
  readonly fingerprint?: string | undefined;
}
export const objectSource: z.ZodType<ObjectSource> = z.strictObject({
  url: z.string().max(4_096),
  ticket: z.string().max(4_096),
  fingerprint: fingerprint.optional(),
});

/** An input of an assignment: its bytes, or where to read them (best source first). */
export interface AssignedInput {
  readonly object: ObjectId;
  readonly kind: ObjectKind;
  readonly size: number;
  readonly sha256: Digest;
  readonly contentType: string;
  readonly data?: Uint8Array | undefined;
  readonly sources: readonly ObjectSource[];
}
export const assignedInput: z.ZodType<AssignedInput> = z.strictObject({
  object: objectId,
  kind,
  size: byteSize,
  sha256: digest,
  contentType,
  data: bytes.optional(),
  sources: z.array(objectSource),
});
