import type { Stream } from "../random/stream.ts";
import { floatValue, intValue, type Value } from "./value.ts";

/** Samples of one call, and items of one list. */
export const MAX_SAMPLES: number = 1_000_000;

/** The values of one flag, in order. Made when they are asked for: a million of them need no million objects. */
export interface Axis {
  readonly length: number;
  readonly at: (index: number) => Value;
}

/** What a call draws from: shared by all flags of a sweep, in their order. */
export interface DrawContext {
  readonly stream: Stream;
  /** The next Sobol dimension, from 0; undefined when all are taken. */
  readonly nextDimension: () => number | undefined;
}

/** A checked call: it cannot fail any more. */
export interface Plan {
  readonly length: number;
  /** True when the values depend on the seed. */
  readonly random: boolean;
  readonly draw: (context: DrawContext) => Axis;
  /** Things that are legal and seldom meant. */
  readonly warnings: readonly string[];
}

export const axisOf = (values: readonly Value[]): Axis => ({
  length: values.length,
  at: (index) => values[index] as Value,
});
export const floats = (values: Float64Array): Axis => ({
  length: values.length,
  at: (index) => floatValue(values[index] as number),
});
/** Whole numbers; a double holds those of numpy's generators exactly. */
export const integers = (values: Float64Array): Axis => ({
  length: values.length,
  at: (index) => intValue(values[index] as number),
});
export const vectors = (rows: readonly (readonly number[])[], integer: boolean): Axis =>
  axisOf(rows.map((row) => ({ kind: "list", items: row.map(integer ? intValue : floatValue) })));

export const fixed = (axis: Axis, warnings: readonly string[] = []): Plan => ({
  length: axis.length,
  random: false,
  draw: () => axis,
  warnings,
});
