import { z } from "zod";

/** What is checked so often is compiled: a value then costs a tenth, but the compiling some milliseconds. */
const OFTEN = 16;

/** A schema that values are checked with: after a while the compiled one, which tells of mistakes as the first does. */
class Checker<T> {
  #schema: z.ZodType<T>;
  #uses = 0;

  constructor(schema: z.ZodType<T>) {
    this.#schema = schema;
  }

  check(value: unknown): z.ZodSafeParseResult<T> {
    this.#uses += 1;
    if (this.#uses === OFTEN) this.#schema = z.compile(this.#schema);
    return this.#schema.safeParse(value);
  }
}

/** The checkers of a union by the value of its field that tells them apart, or the one of any other schema. */
class Checkers<T> {
  readonly #whole: Checker<T>;
  readonly #union: z.ZodDiscriminatedUnion | undefined;
  readonly #variants: Map<string, Checker<T>> = new Map();

  constructor(schema: z.ZodType<T>) {
    this.#whole = new Checker(schema);
    this.#union = schema instanceof z.ZodDiscriminatedUnion ? schema : undefined;
  }

  check(value: unknown): z.ZodSafeParseResult<T> {
    return (this.#variantOf(value) ?? this.#whole).check(value);
  }

  #variantOf(value: unknown): Checker<T> | undefined {
    if (this.#union === undefined || typeof value !== "object" || value === null) return undefined;
    const kind: unknown = Reflect.get(value, this.#union.def.discriminator);
    if (typeof kind !== "string") return undefined;
    const known = this.#variants.get(kind);
    if (known !== undefined) return known;
    // Which options there are is not in the type of the schema.
    const option: unknown = z.getDiscriminatedOption(this.#union, kind as never);
    if (option === undefined) return undefined;
    const checker = new Checker(option as z.ZodType<T>);
    this.#variants.set(kind, checker);
    return checker;
  }
}

const checkers = new WeakMap<z.ZodType, Checkers<unknown>>();

/** As the schema's own `safeParse`; each kind of value of a union costs less once it has come a few times. */
export function check<T>(schema: z.ZodType<T>, value: unknown): z.ZodSafeParseResult<T> {
  let found = checkers.get(schema) as Checkers<T> | undefined;
  if (found === undefined) {
    found = new Checkers(schema);
    checkers.set(schema, found);
  }
  return found.check(value);
}
