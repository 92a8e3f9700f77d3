import { limits, type PlaceValue, type Range } from "@rain/protocol";
import { badRequest, checkNumber, checkOptions, checkText, show, wrongType } from "./check.ts";
import type { DataObject } from "./data-object.ts";
import { asObject, type ObjectLike } from "./slots.ts";

export interface IndexOptions {
  /** Of the first task; default 0. */
  readonly from?: number | undefined;
  /** From one task to the next; default 1. */
  readonly step?: number | undefined;
  /** Texts before and behind the number; default: none. */
  readonly prefix?: string | undefined;
  readonly suffix?: string | undefined;
}
const indexNames = new Set(["from", "step", "prefix", "suffix"]);

/** What stands at a place of the tasks of an array that is not the same for all. Made by `index` and `each`. */
export class Column {
  /** A value for each task; undefined for numbers that count on. */
  readonly values: readonly PlaceValue[] | undefined;
  readonly range: Range | undefined;
  /** An input for each task. */
  readonly objects: readonly DataObject[] | undefined;

  /** Made by `index` and `each`; not by users. */
  constructor(of: {
    readonly values?: readonly PlaceValue[];
    readonly range?: Range;
    readonly objects?: readonly DataObject[];
  }) {
    this.values = of.values;
    this.range = of.range;
    this.objects = of.objects;
  }
}

/**
 * The number of the task in its array, or another one that counts on: `from + i * step` for task i, as text between
 * `prefix` and `suffix`. As a `user` attribute without these it is a number.
 */
export function index(options: IndexOptions = {}): Column {
  checkOptions("index", options, indexNames);
  const { from = 0, step = 1, prefix, suffix } = options;
  for (const [name, value] of Object.entries({ from, step }))
    checkNumber(`index: ${name}`, value, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, true);
  return new Column({
    range: {
      from,
      step,
      ...(prefix !== undefined && { prefix: checkText("index: prefix", prefix, limits.nameBytes) }),
      ...(suffix !== undefined && { suffix: checkText("index: suffix", suffix, limits.nameBytes) }),
    },
  });
}

/**
 * A value for each task of an array, in their order: texts and numbers; for a `user` attribute also true, false and
 * null; for an argument or `stdin` also data objects, of which each task reads its own.
 */
export function each(values: readonly PlaceValue[] | readonly ObjectLike[]): Column {
  if (!Array.isArray(values)) throw wrongType(`each: needs a list of values, not ${show(values)}`);
  const all = values as readonly (PlaceValue | ObjectLike)[];
  const [first] = all;
  if (first === undefined) throw badRequest("each: the list is empty; it needs a value for each task");
  if (typeof first !== "object" || first === null) return new Column({ values: all.map(asValue) });
  return new Column({
    objects: all.map((value, at) => {
      const object = asObject(value);
      if (!object)
        throw wrongType(`each: value ${at} must be a data object as the first, not ${show(value)}`);
      return object;
    }),
  });
}

function asValue(value: unknown, at: number): PlaceValue {
  if (typeof value === "string" || typeof value === "boolean" || value === null) return value;
  if (typeof value !== "number")
    throw wrongType(`each: value ${at} must be a text, a number, true, false or null, not ${show(value)}`);
  if (Number.isFinite(value)) return value;
  throw badRequest(`each: value ${at}: ${value} is no number that can travel`);
}
