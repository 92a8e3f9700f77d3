import { z } from "zod";

/**
 * One number for each of many things, by place: a list, or one number when it is the same for all. Messages about
 * many tasks have columns, where a map for each task would cost more than what is done with it.
 */
export type Numbers = number | readonly number[];

/** The number of this place. The caller has checked that the column is as long as it must be. */
export const at = (column: Numbers, place: number): number =>
  typeof column === "number" ? column : (column[place] ?? NaN);

/** Has it a number for each of `count` things? */
export const isAsLong = (column: Numbers, count: number): boolean =>
  typeof column === "number" || column.length === count;

/** The shortest column of these numbers. */
export function toColumn(values: readonly number[]): Numbers {
  const [first] = values;
  if (first === undefined) return values;
  for (const value of values) if (value !== first) return values;
  return first;
}

/**
 * Schemas of columns. A loop instead of a schema for each number: it costs a hundredth of it, and takes and refuses
 * the same (there is a test).
 */
const listOf = (isGood: (value: unknown) => boolean, what: string): z.ZodType<readonly number[]> =>
  z.custom<readonly number[]>(
    (value) => Array.isArray(value) && value.length > 0 && value.every(isGood),
    `must be a list of ${what}`,
  );
const columnOf = (isGood: (value: unknown) => boolean, what: string): z.ZodType<Numbers> =>
  z.custom<Numbers>(
    (value) => isGood(value) || (Array.isArray(value) && value.length > 0 && value.every(isGood)),
    `must be ${what}, for each or the same for all`,
  );

const MAX_ID = 2 ** 31 - 1;
const isId = (value: unknown): boolean =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_ID;
const isNumberFrom1 = (value: unknown): boolean => isId(value) && value !== 0;
const isInteger = (value: unknown): boolean => Number.isSafeInteger(value);
const isFinite = (value: unknown): boolean => Number.isFinite(value);
const isAmount = (value: unknown): boolean => Number.isFinite(value) && (value as number) >= 0;

/** Numbers of tasks or of objects, one for each. */
export const idList: z.ZodType<readonly number[]> = listOf(isId, "numbers from 0");
/** Numbers that count from 1: attempts, governors. */
export const ordinalColumn: z.ZodType<Numbers> = columnOf(isNumberFrom1, "a number from 1");
export const integerColumn: z.ZodType<Numbers> = columnOf(isInteger, "a whole number");
export const numberColumn: z.ZodType<Numbers> = columnOf(isFinite, "a number");
export const amountColumn: z.ZodType<Numbers> = columnOf(isAmount, "a number from 0");
