import { crc32 } from "node:zlib";

/**
 * A frame: u32 length of the payload, u32 CRC-32 of sequence and payload, u64 sequence, payload. All numbers are
 * big-endian.
 */
export const FRAME_HEAD = 16;
/** A payload may not be longer: above it a length is damage, and writing one is a mistake. */
const MAX_PAYLOAD = 1_073_741_824;

/** Frame of a payload given in parts, bytes. */
export function encodeFrame(sequence: number, parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length > MAX_PAYLOAD)
    throw new RangeError(`A journal frame of ${length} bytes: at most ${MAX_PAYLOAD}.`);
  const frame = Buffer.allocUnsafe(FRAME_HEAD + length);
  frame.writeUInt32BE(length, 0);
  frame.writeBigUInt64BE(BigInt(sequence), 8);
  let at = FRAME_HEAD;
  for (const part of parts) {
    frame.set(part, at);
    at += part.length;
  }
  frame.writeUInt32BE(crc32(frame.subarray(8)), 4);
  return frame;
}

export interface Frame {
  readonly sequence: number;
  readonly payload: Uint8Array;
  readonly offset: number;
  /** Offset of the byte after it. */
  readonly end: number;
}
/** What stands at an offset: a frame, the beginning of one that goes on past the end, or neither. */
export type Decoded =
  | { readonly kind: "frame"; readonly frame: Frame }
  | { readonly kind: "incomplete" }
  | { readonly kind: "bad"; readonly why: string };

export function decodeFrame(bytes: Buffer, offset: number): Decoded {
  if (bytes.length - offset < FRAME_HEAD) return { kind: "incomplete" };
  const length = bytes.readUInt32BE(offset);
  if (length > MAX_PAYLOAD) return { kind: "bad", why: `a frame of ${length} bytes, at most ${MAX_PAYLOAD}` };
  const end = offset + FRAME_HEAD + length;
  if (end > bytes.length) return { kind: "incomplete" };
  if (crc32(bytes.subarray(offset + 8, end)) !== bytes.readUInt32BE(offset + 4))
    return { kind: "bad", why: "the checksum of a frame does not match" };
  const sequence = readSequence(bytes, offset + 8);
  return {
    kind: "frame",
    frame: { sequence, payload: bytes.subarray(offset + FRAME_HEAD, end), offset, end },
  };
}

/**
 * Offset of the first sound frame after a damaged place at `from`; undefined when there is none. Sequences only grow,
 * so a frame there has one in [`expected`, `expected` + frames that fit]: that sorts out nearly every offset without a
 * checksum.
 */
export function findLaterFrame(bytes: Buffer, from: number, expected: number): number | undefined {
  const limit = expected + Math.ceil((bytes.length - from) / FRAME_HEAD);
  for (let at = from + 1; at + FRAME_HEAD <= bytes.length; at += 1) {
    const sequence = readSequence(bytes, at + 8);
    if (sequence < expected || sequence > limit) continue;
    if (decodeFrame(bytes, at).kind === "frame") return at;
  }
  return undefined;
}

const readSequence = (bytes: Buffer, at: number): number =>
  bytes.readUInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4);

/** A view of the bytes as a Buffer, without a copy. */
export const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
