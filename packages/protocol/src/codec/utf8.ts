import { isUtf8 } from "node:buffer";

/** From this length on the native check is faster than the loop, its call included. */
const NATIVE_FROM = 256;

/** Are the bytes from `start` to `end` valid UTF-8? */
export function validUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start >= NATIVE_FROM) return isUtf8(bytes.subarray(start, end));
  let at = start;
  while (at < end) {
    const first = bytes[at] ?? 0;
    if (first < 0x80) {
      at++;
      continue;
    }
    const length = sequenceLength(first);
    if (length === 0 || at + length > end || !validSequence(bytes, at, length)) return false;
    at += length;
  }
  return true;
}

/** Length of a sequence of two or more bytes by its first one; 0 when none may start so. */
function sequenceLength(first: number): number {
  if (first < 0xc2 || first > 0xf4) return 0;
  return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

function validSequence(bytes: Uint8Array, at: number, length: number): boolean {
  const first = bytes[at] ?? 0;
  const second = bytes[at + 1] ?? 0;
  // Refuses overlong forms, surrogates, and code points above U+10FFFF.
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return false;
  for (let i = 2; i < length; i++) if (((bytes[at + i] ?? 0) & 0xc0) !== 0x80) return false;
  return true;
}
