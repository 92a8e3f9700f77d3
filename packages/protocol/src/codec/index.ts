import { Packr, Unpackr } from "msgpackr";
import { RainError } from "../errors.ts";
import { messageBounds, type Bounds } from "./bounds.ts";
import { toPlain } from "./plain.ts";
import { prescan } from "./prescan.ts";

export { forbiddenKeys, messageBounds, type Bounds } from "./bounds.ts";
export { check } from "./check.ts";
export { parse } from "./parse.ts";
export { prescan } from "./prescan.ts";

const packr = new Packr({ useRecords: false, variableMapSize: true });
// Integers beyond 2^53 come out rounded; the schemas of integers refuse numbers of that size.
const unpackr = new Unpackr({
  useRecords: false,
  mapsAsObjects: true,
  copyBuffers: true,
  int64AsType: "number",
});

/**
 * A message as plain msgpack: no extension types, fields that are undefined left out, Uint8Array as bin.
 * Throws RainError("bad-message") for a value with no plain form, RainError("limit-exceeded") for one too large.
 */
export function encode(message: object, bounds: Bounds = messageBounds): Uint8Array {
  const bytes = packr.encode(toPlain(message, bounds));
  if (bytes.length > bounds.bytes)
    throw new RainError(
      "limit-exceeded",
      `The message has ${bytes.length} bytes; at most ${bounds.bytes} can be sent at once.`,
      { bytes: bytes.length, limit: bounds.bytes },
    );
  return bytes;
}

/**
 * The value of msgpack bytes from outside, checked for structure first. Its Uint8Arrays own their memory.
 * Throws RainError("bad-message") that says what is wrong and at which byte.
 */
export function decode(bytes: Uint8Array, bounds: Bounds = messageBounds): unknown {
  prescan(bytes, bounds);
  // A view of the plain class: slices of a Buffer would come out as Buffers.
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    return unpackr.decode(view);
  } catch (cause) {
    throw new RainError("bad-message", "The message cannot be decoded.", {}, { cause });
  }
}
