import type { ServerRecord } from "../core/types.ts";
import type { JoinedRecord } from "./join.ts";
import { arrayHead, pack } from "./records.ts";

/** Lists of a record that is to come, whose values were packed as they came, by the list. */
const packedOf = new WeakMap<readonly unknown[], Uint8Array[]>();

/**
 * Adds values to a list of a later record, and packs them now: a submit that comes in many parts would else be packed
 * in one go, during which the server does nothing else. The list must be filled by this alone.
 */
export function addPacked<T>(list: T[], values: readonly T[]): void {
  let packed = packedOf.get(list);
  if (!packed) {
    if (list.length > 0) throw new Error("a list to be packed in parts has values that are not packed");
    packed = [];
    packedOf.set(list, packed);
  }
  for (const value of values) list.push(value);
  // Without the head of the list that it is packed as.
  if (values.length > 0) packed.push(pack(values).subarray(arrayHead(values.length).length));
}

/** The record as `pack` gives it. */
export function packRecord(record: ServerRecord | JoinedRecord): Uint8Array {
  if (record.type !== "submitted") return pack(record);
  const fields = Object.entries(record).filter(([, value]) => value !== undefined);
  const isKnown = ([, value]: [string, unknown]): boolean => Array.isArray(value) && packedOf.has(value);
  if (!fields.some(isKnown) || fields.length > MOST_FIELDS) return pack(record);
  const parts: Uint8Array[] = [Uint8Array.of(0x80 | fields.length)];
  for (const [name, value] of fields) {
    const packed = Array.isArray(value) ? packedOf.get(value) : undefined;
    parts.push(pack(name));
    if (packed && Array.isArray(value)) parts.push(arrayHead(value.length), ...packed);
    else parts.push(pack(value));
  }
  return Buffer.concat(parts);
}
/** Of a map whose head is one byte. */
const MOST_FIELDS = 15;
