import { crc32 } from "node:zlib";
import { FRAME_HEAD } from "./frame.ts";

/** One bit of a frame that is not as it was written. */
export interface FlippedBit {
  /** Offset of its byte in the file. */
  readonly at: number;
  readonly mask: number;
}

/** Above it a search costs more, and chance could find a bit where there was other damage. */
const MAX_FRAME = 1_048_576;

/**
 * The one bit that, put right, makes a sound frame of the bytes from `offset` up to `end`; undefined when there is none.
 * A checksum that is only a number would not tell; but the checksums of two texts that differ in one bit differ by a
 * value that depends on the place of the bit alone, and no two places in a frame have the same.
 */
export function findFlippedBit(bytes: Buffer, offset: number, end: number): FlippedBit | undefined {
  const size = end - offset;
  if (size < FRAME_HEAD || size > MAX_FRAME) return undefined;
  const inLength = bytes.readUInt32BE(offset) ^ (size - FRAME_HEAD);
  const lengthBit = inLength === 0 ? undefined : bitOf(inLength, offset);
  if (inLength !== 0 && lengthBit === undefined) return undefined;
  const difference = (crc32(bytes.subarray(offset + 8, end)) ^ bytes.readUInt32BE(offset + 4)) >>> 0;
  if (lengthBit !== undefined) return difference === 0 ? lengthBit : undefined;
  if (difference === 0) return undefined;
  return bitOf(difference, offset + 4) ?? bitBehind(difference, offset + 8, end);
}

/** Where the only bit of a big-endian number at `at` is; undefined when it has more. */
function bitOf(number: number, at: number): FlippedBit | undefined {
  const place = 31 - Math.clz32(number);
  if (number >>> 0 !== (1 << place) >>> 0) return undefined;
  return { at: at + 3 - (place >> 3), mask: 1 << (place & 7) };
}

/** The bit between `start` and `end` that changes the checksum by this; from the end, where a change is plain. */
function bitBehind(difference: number, start: number, end: number): FlippedBit | undefined {
  const changes = Array.from({ length: 8 }, (_, bit) => table[1 << bit] ?? 0);
  for (let at = end - 1; at >= start; at--) {
    for (let bit = 0; bit < 8; bit++) {
      const change = changes[bit] ?? 0;
      if (change === difference) return { at, mask: 1 << bit };
      changes[bit] = ((change >>> 8) ^ (table[change & 0xff] ?? 0)) >>> 0;
    }
  }
  return undefined;
}

/** How each byte moves a CRC-32 (the polynomial of zlib, bits reversed). */
const table: readonly number[] = Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb8_8320 : value >>> 1;
  return value >>> 0;
});
