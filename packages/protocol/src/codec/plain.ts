import { RainError } from "../errors.ts";
import { forbiddenKeys, type Bounds } from "./bounds.ts";
import { formatPlace, type Place } from "./place.ts";

/**
 * The same value in the form that packs to plain msgpack: fields that are undefined left out, integers beyond 32 bits
 * as BigInt (the packer would write them as floats), text well-formed. Parts that need no change are not copied.
 * Throws RainError("bad-message") for what has no plain form and RainError("limit-exceeded") for what no receiver takes.
 */
export function toPlain(value: object, bounds: Bounds): unknown {
  return new Plain(bounds).value(value);
}

type PlainObject = Readonly<Record<string, unknown>>;

function isPlainObject(value: object): value is PlainObject {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

class Plain {
  readonly #bounds: Bounds;
  readonly #place: Place = [];
  #items = 1;

  constructor(bounds: Bounds) {
    this.#bounds = bounds;
  }

  value(value: unknown): unknown {
    if (typeof value === "object") return this.#object(value);
    if (typeof value === "string") return this.#text(value);
    if (typeof value === "boolean") return value;
    if (typeof value !== "number")
      return this.#fail("bad-message", `a value of type ${typeof value} cannot be sent`);
    const wide = Number.isSafeInteger(value) && (value > 0xffff_ffff || value < -0x8000_0000);
    return wide ? BigInt(value) : value;
  }

  #object(value: object | null): unknown {
    if (value === null) return value;
    if (value instanceof Uint8Array) {
      if (value.length > this.#bounds.bytes)
        this.#fail("limit-exceeded", `${value.length} bytes; at most ${this.#bounds.bytes} in one message`);
      return value;
    }
    if (this.#place.length >= this.#bounds.depth)
      this.#fail("limit-exceeded", `nested deeper than ${this.#bounds.depth}`);
    if (Array.isArray(value)) return this.#list(value);
    if (!isPlainObject(value))
      return this.#fail("bad-message", "only plain objects, lists and Uint8Array can be sent");
    return this.#map(value);
  }

  #list(list: readonly unknown[]): readonly unknown[] {
    this.#count(list.length);
    let copy: unknown[] | undefined;
    for (let i = 0; i < list.length; i++) {
      const item = list[i];
      // Long lists are columns of small numbers, which are what they are.
      if (typeof item === "number" && item >>> 0 === item) continue;
      const made = this.#at(i, item);
      if (made !== item && !Number.isNaN(made)) (copy ??= [...list])[i] = made;
    }
    return copy ?? list;
  }

  #map(map: PlainObject): object {
    const keys = Object.keys(map);
    if (keys.length > this.#bounds.mapKeys)
      this.#fail("limit-exceeded", `${keys.length} keys in one map; at most ${this.#bounds.mapKeys}`);
    this.#count(keys.length * 2);
    // The packer knows objects by their prototype.
    let copy: Record<string, unknown> | undefined =
      Object.getPrototypeOf(map) === null ? { ...map } : undefined;
    for (const key of keys) {
      const value = map[key];
      if (value === undefined) {
        copy ??= { ...map };
        delete copy[key];
        continue;
      }
      if (forbiddenKeys.has(key)) this.#fail("bad-message", `a key ${key} is not allowed`);
      if (this.#text(key) !== key) this.#fail("bad-message", "a key that is not valid as UTF-8");
      const made = this.#at(key, value);
      if (made !== value && !Number.isNaN(made)) (copy ??= { ...map })[key] = made;
    }
    return copy ?? map;
  }

  #at(step: string | number, value: unknown): unknown {
    this.#place.push(step);
    const made = this.value(value);
    this.#place.pop();
    return made;
  }

  #count(more: number): void {
    this.#items += more;
    if (this.#items > this.#bounds.items)
      this.#fail("limit-exceeded", `more than ${this.#bounds.items} values in one message`);
  }

  #text(text: string): string {
    const max = this.#bounds.stringBytes;
    if (text.length * 3 > max && Buffer.byteLength(text) > max)
      this.#fail("limit-exceeded", `a text of ${Buffer.byteLength(text)} bytes; at most ${max}`);
    // A lone surrogate has no UTF-8 form (a cut through a character makes one): U+FFFD stands for it.
    return /\p{Surrogate}/u.test(text) ? text.replaceAll(/\p{Surrogate}/gu, "\ufffd") : text;
  }

  #fail(code: "bad-message" | "limit-exceeded", problem: string): never {
    throw new RainError(code, `The message cannot be sent: ${formatPlace(this.#place)}${problem}.`);
  }
}
