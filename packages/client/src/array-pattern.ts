import { limits, utf8Length, valueAt, type ArrayColumn, type Place, type PlaceValue } from "@rain/protocol";
import { badRequest, checkNumber, checkText, wrongType } from "./check.ts";
import { Column } from "./column.ts";
import type { DataObject } from "./data-object.ts";
import { executePattern, type Argument, type ExecuteOptions } from "./execute.ts";
import type { Pattern } from "./pattern.ts";
import { Input, type ObjectLike } from "./slots.ts";
import { TaskArray } from "./task-array.ts";

/** An argument of the tasks of an array: the same for all, a column, or the output of the same task of another array. */
export type ArrayArgument = Argument | Column | TaskArray;

type Same = Omit<ExecuteOptions, "name" | "env" | "user" | "stdin">;
/** As of `execute`; `name`, values of `env` and of `user` may be columns, and each task may have an own `stdin`. */
export interface ArrayOptions extends Same {
  readonly name?: string | Column | undefined;
  readonly env?: Readonly<Record<string, string | ObjectLike | Input | Column>> | undefined;
  readonly user?: Readonly<Record<string, unknown>> | undefined;
  readonly stdin?: ObjectLike | Input | Column | TaskArray | undefined;
}

/** An input that each task has for itself. */
export interface OwnInput {
  /** Index of the input. */
  readonly slot: number;
  /** An object for each task, or the array whose outputs they are. */
  readonly of: readonly DataObject[] | TaskArray;
}

/** Checked tasks that are alike, without numbers and a session. */
export interface ArrayPattern {
  /** The first task. */
  readonly pattern: Pattern;
  readonly count: number;
  /** All but those of inputs. */
  readonly vary: readonly ArrayColumn[];
  readonly inputs: readonly OwnInput[];
}

const WHAT = "array";

/** Checks what the tasks of an array are to be. */
export function arrayPattern(
  count: number,
  args: string | readonly ArrayArgument[],
  options: ArrayOptions,
): ArrayPattern {
  checkNumber(`${WHAT}: count`, count, 1, limits.submitTasks, true);
  const reader = new Reader(count);
  const words = typeof args === "string" || !Array.isArray(args) ? args : reader.args(args, options.shell);
  const rest = reader.options(options);
  // What is true of the task with the longest texts is true of all; the first one is the template.
  for (const longest of reader.vary.length > 0 ? [true, false] : [false]) {
    reader.longest = longest;
    const pattern = executePattern(reader.fill(words), reader.fillOptions(rest), WHAT);
    if (longest) continue;
    return { pattern, count, vary: reader.vary, inputs: reader.inputsOf(pattern) };
  }
  throw new Error("an array without a pattern");
}

/** Where an input of each task's own stands: an argument, or stdin. */
type InputPlace = number | "stdin";

/** Something that is not the same for all; in its place stands what one of the tasks has there. */
class Hole {
  readonly read: () => unknown;
  constructor(read: () => unknown) {
    this.read = read;
  }
}

/** Finds the columns among what was given. */
class Reader {
  readonly vary: ArrayColumn[] = [];
  longest = false;
  readonly #count: number;
  readonly #inputs: { readonly place: InputPlace; readonly of: OwnInput["of"] }[] = [];

  constructor(count: number) {
    this.#count = count;
  }

  args(args: readonly unknown[], shell: unknown): unknown[] {
    return args.map((given, k) => {
      const isOne = given instanceof Column || given instanceof TaskArray;
      if (isOne && shell === true)
        throw badRequest(
          `${WHAT}: argument ${k}: the line of a shell is the same for all tasks; give what differs as a ` +
            "variable: env: { I: index() }, and write $I",
        );
      return this.#hole(`argument ${k}`, given, ["args", k], k);
    });
  }

  options(options: ArrayOptions): Record<string, unknown> {
    const { name, env, user, stdin } = options;
    const read: Record<string, unknown> = { ...options };
    if (name instanceof Column) read["name"] = this.#hole("name", name, ["name"]);
    if (stdin !== undefined) read["stdin"] = this.#hole("stdin", stdin, undefined, "stdin");
    if (isRecord(env)) read["env"] = this.#each("env", env, (key) => ["env", key]);
    if (isRecord(user)) read["user"] = this.#each("user", user, (key) => ["user", key]);
    return read;
  }
  #each(what: string, of: object, at: (key: string) => Place): Record<string, unknown> {
    const read: Record<string, unknown> = {};
    for (const [key, value] of Object.entries(of)) read[key] = this.#hole(`${what}: ${key}`, value, at(key));
    return read;
  }

  /** What was given, or a hole for it when the tasks differ there. */
  #hole(what: string, given: unknown, at: Place | undefined, input?: InputPlace): unknown {
    if (given instanceof TaskArray || (given instanceof Column && given.objects)) {
      if (input === undefined)
        throw badRequest(`${WHAT}: ${what}: data objects that differ may be arguments and stdin only`);
      return this.#input(what, given instanceof TaskArray ? given : (given.objects ?? []), input);
    }
    if (!(given instanceof Column)) return given;
    if (at === undefined) throw wrongType(`${WHAT}: ${what}: needs data objects, as each([...]) of them`);
    const column = this.#column(what, given, at);
    this.vary.push(column);
    const first = valueAt(column, 0);
    const longest = longestOf(column, this.#count);
    return new Hole(() => (this.longest ? longest : first));
  }

  #column(what: string, { values: given, range }: Column, at: Place): ArrayColumn {
    if (range) {
      const last = range.from + range.step * (this.#count - 1);
      if (Number.isSafeInteger(last)) return { at, range };
      throw badRequest(`${WHAT}: ${what}: the last number of index() would be ${last}, which is too large`);
    }
    const list = given ?? [];
    this.#checkLength(what, list.length);
    const max = at[0] === "name" || at[0] === "user" ? limits.nameBytes : limits.argBytes;
    const check = (value: unknown, k: number): string =>
      checkText(`${WHAT}: ${what}: value ${k}`, value, max);
    if (at[0] === "user") {
      for (const [k, value] of list.entries()) if (typeof value === "string") check(value, k);
      return { at, values: list };
    }
    const values = list.map((value, k) => check(typeof value === "number" ? String(value) : value, k));
    return { at, values };
  }

  #input(what: string, of: OwnInput["of"], place: InputPlace): Hole {
    this.#checkLength(what, of.length);
    const first = of instanceof TaskArray ? of.at(0).output : of[0];
    if (!first) throw new Error("an input of no task");
    if (!(of instanceof TaskArray)) {
      const at = of.findIndex(({ kind }) => kind !== first.kind);
      if (at >= 0)
        throw badRequest(
          `${WHAT}: ${what}: object ${at} is a ${of[at]?.kind}, and the first a ${first.kind}; all must be alike`,
        );
    }
    this.#inputs.push({ place, of });
    // An input of its own, also when the first task reads the same object elsewhere too.
    const input = new Input(what, { object: first }, first.kind);
    return new Hole(() => input);
  }

  #checkLength(what: string, length: number): void {
    if (length !== this.#count)
      throw badRequest(
        `${WHAT}: ${what}: has ${length} values for ${this.#count} tasks; it needs one for each`,
      );
  }

  fill(words: unknown): string | readonly Argument[] {
    return (Array.isArray(words) ? words.map(filled) : words) as string | readonly Argument[];
  }
  fillOptions(options: Record<string, unknown>): ExecuteOptions {
    const read: Record<string, unknown> = {};
    for (const [key, value] of Object.entries(options)) {
      const isMap = (key === "env" || key === "user") && isRecord(value);
      read[key] = isMap
        ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, filled(one)]))
        : filled(value);
    }
    return read;
  }

  inputsOf({ work }: Pattern): OwnInput[] {
    if (work.type !== "execute") throw new Error("the tasks of an array execute programs");
    return this.#inputs.map(({ place, of }) => {
      const arg = place === "stdin" ? { input: work.stdin } : work.args[place];
      if (typeof arg !== "object" || !("input" in arg) || arg.input === undefined)
        throw new Error(`input ${place} of an array is not there`);
      return { slot: arg.input, of };
    });
  }
}

const filled = (value: unknown): unknown => (value instanceof Hole ? value.read() : value);
const isRecord = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The value of a column that takes most room. */
function longestOf(column: ArrayColumn, count: number): PlaceValue {
  let [longest, length] = [valueAt(column, 0), -1];
  const places = "range" in column ? [0, count - 1] : column.values.keys();
  for (const place of places) {
    const value = valueAt(column, place);
    const its = typeof value === "string" ? utf8Length(value) : 0;
    if (its > length) [longest, length] = [value, its];
  }
  return longest;
}
