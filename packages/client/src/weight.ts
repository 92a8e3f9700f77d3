import { limits } from "@rain/protocol";

/** How much a value takes of a message: bytes of its msgpack form (never less), and values and keys in it. */
export interface Weight {
  readonly bytes: number;
  readonly items: number;
}

/** What the parts of one message may weigh together; the rest is for the message around them. */
export const messageBudget: Weight = {
  bytes: limits.messageBytes - 65_536,
  items: limits.messageItems - 1_000,
};

/** Weighs plain data: strings, numbers, booleans, bytes, lists and records. A field that is undefined is not sent. */
export function weigh(value: unknown): Weight {
  const total = { bytes: 0, items: 0 };
  add(value, total);
  return total;
}

function add(value: unknown, total: { bytes: number; items: number }): void {
  total.items++;
  if (typeof value === "string") total.bytes += 5 + Buffer.byteLength(value);
  else if (value instanceof Uint8Array) total.bytes += 5 + value.length;
  else if (Array.isArray(value)) {
    total.bytes += 5;
    for (const each of value) add(each, total);
  } else if (typeof value === "object" && value !== null) {
    total.bytes += 5;
    for (const [key, each] of Object.entries(value)) {
      if (each === undefined) continue;
      total.items++;
      total.bytes += 5 + key.length * 3;
      add(each, total);
    }
  } else total.bytes += 9;
}
