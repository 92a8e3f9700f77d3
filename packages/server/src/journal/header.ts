import { crc32 } from "node:zlib";
import type { RainError } from "@rain/protocol";
import { asBuffer } from "./frame.ts";
import { damaged, refused } from "./failure.ts";

/**
 * First bytes of every file of the journal: magic (8 bytes), u32 format, u32 length of the cluster's id, u64 sequence,
 * the id in UTF-8, u32 CRC-32 of all before. Later formats keep this layout, so that this one can name them.
 */
export type FileKind = "segment" | "snapshot";
const magics: Readonly<Record<FileKind, Buffer>> = {
  segment: Buffer.from("RAINJRNL", "latin1"),
  snapshot: Buffer.from("RAINSNAP", "latin1"),
};
/** The format that this code writes, and the newest that it reads. */
const JOURNAL_FORMAT = 1;
const FIXED = 24;
const MAX_CLUSTER_ID = 256;

export interface Header {
  readonly kind: FileKind;
  readonly clusterId: string;
  /** Sequence of a segment's first frame, or the last that a snapshot covers. */
  readonly sequence: number;
}

export function encodeHeader(header: Header, format: number = JOURNAL_FORMAT): Buffer {
  const id = Buffer.from(header.clusterId, "utf8");
  if (id.length > MAX_CLUSTER_ID) throw new RangeError(`A cluster id is at most ${MAX_CLUSTER_ID} bytes.`);
  const bytes = Buffer.alloc(FIXED + id.length + 4);
  magics[header.kind].copy(bytes, 0);
  bytes.writeUInt32BE(format, 8);
  bytes.writeUInt32BE(id.length, 12);
  bytes.writeBigUInt64BE(BigInt(header.sequence), 16);
  id.copy(bytes, FIXED);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, FIXED + id.length)), FIXED + id.length);
  return bytes;
}

/** Largest size of a header, bytes. */
export const MAX_HEADER: number = FIXED + MAX_CLUSTER_ID + 4;

/** Checks the header of `file` against what it must say. Returns its size; throws RainError "bad-file". */
export function checkHeader(file: string, bytes: Uint8Array, expected: Header): number {
  const wanted = encodeHeader(expected);
  const start = asBuffer(bytes).subarray(0, wanted.length);
  if (start.equals(wanted)) return wanted.length;
  throw headerProblem(file, asBuffer(bytes), expected);
}

/** The cluster's id in a header whose checksum is right; undefined for a broken one. */
export function clusterIn(content: Uint8Array): string | undefined {
  const bytes = asBuffer(content);
  const end = FIXED + (bytes.length < FIXED ? MAX_CLUSTER_ID + 1 : bytes.readUInt32BE(12));
  if (end > FIXED + MAX_CLUSTER_ID || bytes.length < end + 4) return undefined;
  if (crc32(bytes.subarray(0, end)) !== bytes.readUInt32BE(end)) return undefined;
  return bytes.toString("utf8", FIXED, end);
}

/** The cluster's id that a header says, be it right or wrong. */
export function claimedCluster(content: Uint8Array): string | undefined {
  const bytes = asBuffer(content);
  const length = bytes.length < FIXED ? MAX_CLUSTER_ID + 1 : bytes.readUInt32BE(12);
  const isThere = length <= MAX_CLUSTER_ID && bytes.length >= FIXED + length;
  return isThere ? bytes.toString("utf8", FIXED, FIXED + length) : undefined;
}

/**
 * The header that this file must have had, when what stands there is that one but for damage in its fields or in its
 * checksum: the other half then tells what it was. Undefined otherwise.
 */
export function mendedHeader(content: Uint8Array, expected: Header): MendedHeader | undefined {
  const header = encodeHeader(expected);
  const found = asBuffer(content).subarray(0, header.length);
  const end = header.length - 4;
  const fields = found.subarray(0, end).equals(header.subarray(0, end));
  const checksum = found.length === header.length && found.subarray(end).equals(header.subarray(end));
  return fields || checksum ? { header, checksum, isWhole: fields && checksum } : undefined;
}
interface MendedHeader {
  readonly header: Buffer;
  /** The checksum that stands there is that of this header: it is the one, whatever the fields say. */
  readonly checksum: boolean;
  readonly isWhole: boolean;
}

function headerProblem(file: string, bytes: Buffer, expected: Header): RainError {
  if (!bytes.subarray(0, 8).equals(magics[expected.kind]))
    return damaged(file, 0, `it does not begin as a ${expected.kind} of a journal`);
  const idLength = bytes.length < FIXED ? MAX_CLUSTER_ID + 1 : bytes.readUInt32BE(12);
  const end = FIXED + idLength;
  if (idLength > MAX_CLUSTER_ID || bytes.length < end + 4) return damaged(file, 0, "its header is broken");
  if (crc32(bytes.subarray(0, end)) !== bytes.readUInt32BE(end))
    return damaged(file, 0, "the checksum of its header does not match");
  const format = bytes.readUInt32BE(8);
  if (format !== JOURNAL_FORMAT)
    return refused(
      file,
      `it has journal format ${format}, and this server reads up to format ${JOURNAL_FORMAT}. ` +
        `Start a version of the server that reads format ${format}.`,
      { format, supported: JOURNAL_FORMAT },
    );
  const clusterId = bytes.toString("utf8", FIXED, end);
  if (clusterId !== expected.clusterId)
    return refused(
      file,
      `it belongs to cluster ${JSON.stringify(clusterId)}, and this server is of cluster ` +
        `${JSON.stringify(expected.clusterId)}. Start with the journal's own access file, or in another folder.`,
      { clusterId },
    );
  return damaged(file, 16, "its header has another number than its name; was it renamed?");
}

/**
 * Is this a file whose creation was cut short: the beginning of the expected header, and zeros after it (a disk may
 * grow a file before it has its bytes)? Such a file never held a frame.
 */
export function isTornHeader(bytes: Uint8Array, expected: Header): boolean {
  const wanted = encodeHeader(expected);
  if (bytes.length > wanted.length) return false;
  let same = 0;
  while (same < bytes.length && bytes[same] === wanted[same]) same += 1;
  return same < wanted.length && bytes.subarray(same).every((byte) => byte === 0);
}
