import {
  limits,
  type ArrayColumn,
  type Place,
  type PlaceValue,
  type TaskArray,
  type TaskSpec,
} from "@rain/protocol";

import { MOST_BYTES, MOST_VALUES, valueBytes } from "./cut-array.ts";
import { weigh } from "./weight.ts";

/** Fewer tasks than this are not worth an array. */
const FEWEST = 4;
/** One of the places in which the tasks of a run differ, with the values so far. */
interface Varying {
  readonly at: Place;
  readonly values: PlaceValue[];
}

/** Tasks in their order, those that are alike as arrays. */
export function* groupTasks(tasks: Iterable<TaskSpec>): Generator<TaskSpec | TaskArray, void> {
  let run: Run | undefined;
  for (const spec of tasks) {
    if (run?.take(spec) === true) continue;
    if (run) yield* run.end();
    run = new Run(spec);
  }
  if (run) yield* run.end();
}

/** Consecutive tasks that differ from the first in a few places only. */
class Run {
  readonly #first: TaskSpec;
  readonly #few: TaskSpec[];
  readonly #vary: Map<string, Varying> = new Map();
  readonly #objects: number;
  #count = 1;
  #values = 0;
  #bytes = 0;

  constructor(first: TaskSpec) {
    this.#first = first;
    this.#few = [first];
    this.#objects = first.outputs[0]?.object ?? 0;
  }

  /** Takes the next task, unless it is not like the others. */
  take(spec: TaskSpec): boolean {
    const first = this.#first;
    if (spec.replaces !== undefined || first.replaces !== undefined) return false;
    if (this.#count === 1 && weigh(first).bytes > MOST_BYTES) return false;
    if (spec.id !== first.id + this.#count || !this.#followsOn(spec)) return false;
    if (this.#values > MOST_VALUES || this.#bytes > MOST_BYTES) return false;
    const found = differences(first, spec);
    if (!found || this.#vary.size + found.length > limits.arrayColumns) return false;
    const before = this.#vary.size;
    for (const { at, was } of found) {
      const key = at.join("\0");
      if (this.#vary.has(key)) continue;
      // All so far have what the first one has.
      const values = Array.from({ length: this.#count }, () => was);
      this.#vary.set(key, { at, values });
    }
    if (this.#vary.size > before) this.#values = this.#vary.size * this.#count;
    for (const { at, values } of this.#vary.values()) {
      const other = found.find((each) => isSame(each.at, at));
      const value = other ? other.is : (values[0] as PlaceValue);
      values.push(value);
      this.#bytes += valueBytes(value);
    }
    this.#values += this.#vary.size;
    this.#count++;
    if (this.#count < FEWEST) this.#few.push(spec);
    return true;
  }
  #followsOn({ outputs }: TaskSpec): boolean {
    if (this.#first.outputs[0] && this.#first.outputs.some(({ object }, k) => object !== this.#objects + k))
      return false;
    const start = this.#objects + this.#count * outputs.length;
    return outputs.every(({ object }, k) => object === start + k);
  }

  *end(): Generator<TaskSpec | TaskArray, void> {
    if (this.#count < FEWEST) return yield* this.#few;
    const { id, outputs, replaces: _, ...task } = this.#first;
    yield {
      first: id,
      count: this.#count,
      objects: this.#objects as TaskArray["objects"],
      task: { ...task, outputs: outputs.map(({ object: _object, ...output }) => output) },
      vary: [...this.#vary.values()].map(asColumn),
    };
  }
}

const isSame = (a: Place, b: Place): boolean => a[0] === b[0] && a[1] === b[1];

interface Difference {
  readonly at: Place;
  readonly was: PlaceValue;
  readonly is: PlaceValue;
}

/** Where two tasks differ; undefined when that is anywhere else than where tasks of an array may. */
function differences(a: TaskSpec, b: TaskSpec): readonly Difference[] | undefined {
  const found: Difference[] = [];
  const note = (at: Place, was: PlaceValue, is: PlaceValue): void => void found.push({ at, was, is });
  const {
    id: _a,
    name: nameA,
    origin: originA,
    user: userA,
    work: workA,
    inputs: inputsA,
    outputs: outA,
    ...restA
  } = a;
  const {
    id: _b,
    name: nameB,
    origin: originB,
    user: userB,
    work: workB,
    inputs: inputsB,
    outputs: outB,
    ...restB
  } = b;
  if (!isEqual(restA, restB)) return undefined;
  if ((nameA === undefined) !== (nameB === undefined)) return undefined;
  if (nameA !== undefined && nameB !== undefined && nameA !== nameB) note(["name"], nameA, nameB);
  if ((originA === undefined) !== (originB === undefined)) return undefined;
  if (originA !== undefined && originB !== undefined && originA !== originB)
    note(["origin"], originA, originB);
  const isSound =
    differentUser(userA, userB, note) &&
    differentWork(workA, workB, note) &&
    inputsA.length === inputsB.length &&
    outA.length === outB.length &&
    outA.every((output, k) => isEqual({ ...output, object: 0 }, { ...outB[k], object: 0 })) &&
    inputsA.every((input, k) => {
      const other = inputsB[k];
      if (!other) return false;
      if (input.object !== other.object) note(["input", k], input.object, other.object);
      return isEqual({ ...input, object: 0 }, { ...other, object: 0 });
    });
  return isSound ? found : undefined;
}

type Note = (at: Place, was: PlaceValue, is: PlaceValue) => void;

function differentUser(a: TaskSpec["user"], b: TaskSpec["user"], note: Note): boolean {
  if (a === undefined || b === undefined) return a === b;
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  return names.every((name) => {
    if (!Object.hasOwn(b, name)) return false;
    const [was, is] = [a[name], b[name]];
    if (isEqual(was, is)) return true;
    if (!isScalar(was) || !isScalar(is)) return false;
    note(["user", name], was, is);
    return true;
  });
}
const isScalar = (value: unknown): value is PlaceValue =>
  value === null ||
  typeof value === "number" ||
  typeof value === "boolean" ||
  (typeof value === "string" && value.length <= limits.nameBytes);

function differentWork(a: TaskSpec["work"], b: TaskSpec["work"], note: Note): boolean {
  if (a.type === "custom" && b.type === "custom") {
    if (a.config !== undefined && b.config !== undefined && a.config !== b.config)
      note(["config"], a.config, b.config);
    return isEqual({ ...a, config: a.config === undefined }, { ...b, config: b.config === undefined });
  }
  if (a.type !== "execute" || b.type !== "execute") return isEqual(a, b);
  const { args: argsA, env: envA = {}, ...restA } = a;
  const { args: argsB, env: envB = {}, ...restB } = b;
  if (argsA.length !== argsB.length || !isEqual(restA, restB)) return false;
  if ((a.env === undefined) !== (b.env === undefined)) return false;
  const names = Object.keys(envA);
  if (names.length !== Object.keys(envB).length) return false;
  const both = (was: unknown, is: unknown, at: Place): boolean => {
    if (typeof was !== "string" || typeof is !== "string") return isEqual(was, is);
    if (was !== is) note(at, was, is);
    return true;
  };
  return (
    argsA.every((arg, k) => both(arg, argsB[k], ["args", k])) &&
    names.every((name) => Object.hasOwn(envB, name) && both(envA[name], envB[name], ["env", name]))
  );
}

/** Of plain data. A field that is undefined is none. */
function isEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [Object.entries(a), Object.entries(b)];
  const isThere = ([, value]: [string, unknown]): boolean => value !== undefined;
  if (left.filter(isThere).length !== right.filter(isThere).length) return false;
  return left.every(([name, value]) => value === undefined || isEqual(value, Reflect.get(b, name)));
}

/** Numbers that count up, or down, between two texts that stay are a range; anything else is a list. */
function asColumn({ at, values }: Varying): ArrayColumn {
  const isNumber = typeof values[0] === "number";
  const parse = isNumber ? asNumber : numberIn;
  const [first, second] = [parse(values[0]), parse(values[1])];
  if (!first || !second) return { at, values };
  const { prefix, suffix, number: from } = first;
  const step = second.number - from;
  const affixes = isNumber ? {} : { prefix, suffix };
  const last = from + step * (values.length - 1);
  const isRange =
    Number.isSafeInteger(last) &&
    prefix.length <= limits.nameBytes &&
    suffix.length <= limits.nameBytes &&
    values.every(
      (value, k) => value === (isNumber ? from + step * k : `${prefix}${from + step * k}${suffix}`),
    );
  return isRange ? { at, range: { from, step, ...affixes } } : { at, values };
}

interface Numbered {
  readonly prefix: string;
  readonly number: number;
  readonly suffix: string;
}
const asNumber = (value: unknown): Numbered | undefined =>
  typeof value === "number" && Number.isSafeInteger(value) && !Object.is(value, -0)
    ? { prefix: "", number: value, suffix: "" }
    : undefined;
/** The last whole number of a text. */
function numberIn(value: unknown): Numbered | undefined {
  const match = typeof value === "string" ? /^([^]*?)(0|[1-9]\d{0,14})(\D*)$/.exec(value) : null;
  if (!match) return undefined;
  const [, prefix = "", digits = "", suffix = ""] = match;
  return { prefix, number: Number(digits), suffix };
}
