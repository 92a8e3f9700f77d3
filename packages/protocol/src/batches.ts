import { z } from "zod";
import {
  amountColumn,
  at,
  idList,
  integerColumn,
  isAsLong,
  numberColumn,
  ordinalColumn,
  toColumn,
  type Numbers,
} from "./numbers.ts";
import { assignedInput, outputReport, type AssignedInput, type OutputReport } from "./data-parts.ts";
import { asObjectId, asTaskId, sessionId, type Attempt, type SessionId, type TaskId } from "./ids.ts";
import type { TaskArray } from "./arrays.ts";
import { limits } from "./limits.ts";
import {
  nameText,
  originText,
  taskSpec,
  userAttributes,
  work,
  type InputSpec,
  type OutputSpec,
  type TaskInfo,
  type TaskSpec,
  type UserAttributes,
  type Work,
} from "./specs.ts";
import type { AttemptRef } from "./views.ts";

/** Many attempts of one session in one message, as columns: `unpack` of what was packed is what was packed. */

const LENGTHS = "the lists of a batch must be equally long";
const items = limits.batchItems;

// -------------------------------------------------------------------------------------------------- references

export interface RefBatch {
  readonly session: SessionId;
  readonly tasks: readonly number[];
  readonly attempts: Numbers;
}
const tasks = idList.refine((list) => list.length <= items, `at most ${items} tasks`);
export const refBatch: {
  readonly session: z.ZodType<SessionId>;
  readonly tasks: z.ZodType<readonly number[]>;
  readonly attempts: z.ZodType<Numbers>;
} = { session: sessionId, tasks, attempts: ordinalColumn };

export function* unpackRefs({ session, tasks: ids, attempts }: RefBatch): Generator<AttemptRef, void> {
  for (const [place, task] of ids.entries())
    yield { session, task: asTaskId(task), attempt: at(attempts, place) };
}

/** The columns of these attempts. */
export const packRefs = (
  refs: readonly Pick<AttemptRef, "task" | "attempt">[],
): Pick<RefBatch, "tasks" | "attempts"> => ({
  tasks: refs.map(({ task }) => task),
  attempts: toColumn(refs.map(({ attempt }) => attempt)),
});

// -------------------------------------------------------------------------------------------------- finishes

/** What a report of success says, without `metrics`. */
export interface Finish {
  readonly task: TaskId;
  readonly attempt: Attempt;
  readonly outputs: readonly OutputReport[];
  readonly info: TaskInfo;
}
const measures = ["startTime", "durationS", "exitCode", "cpuTimeS", "maxRssBytes", "cost"] as const;
type Measure = (typeof measures)[number];
export interface FinishBatch extends RefBatch {
  /** What was measured of every one of them. */
  readonly measures: { readonly [M in Measure]?: Numbers | undefined };
  /** Outputs of each; absent when none has any. */
  readonly outputs?: readonly (readonly OutputReport[])[] | undefined;
}
export const finishBatch: typeof refBatch & {
  readonly measures: z.ZodType<FinishBatch["measures"]>;
  readonly outputs: z.ZodOptional<z.ZodArray<z.ZodArray<typeof outputReport>>>;
} = {
  ...refBatch,
  measures: z.strictObject({
    startTime: numberColumn.optional(),
    durationS: numberColumn.optional(),
    exitCode: integerColumn.optional(),
    cpuTimeS: numberColumn.optional(),
    maxRssBytes: numberColumn.optional(),
    cost: amountColumn.optional(),
  }),
  outputs: z.array(z.array(outputReport).max(limits.outputsPerTask)).max(items).optional(),
};

/** For schemas: is every list of a batch as long as the others? */
export const isWhole: [
  (batch: RefBatch & Partial<Pick<FinishBatch, "measures" | "outputs">>) => boolean,
  string,
] = [
  ({ tasks: ids, attempts, measures: columns = {}, outputs }) =>
    isAsLong(attempts, ids.length) &&
    (outputs === undefined || outputs.length === ids.length) &&
    measures.every((name) => isAsLong(columns[name] ?? 0, ids.length)),
  LENGTHS,
];

/** Which measures an info has, as bits; -1 when it says more than that. */
function measuresOf(info: TaskInfo): number {
  let bits = 0;
  for (const name in info) {
    if (info[name as keyof TaskInfo] === undefined) continue;
    const bit = measures.indexOf(name as Measure);
    if (bit < 0) return -1;
    bits |= 1 << bit;
  }
  return bits;
}

/** Finishes that fit into one message: of one session, with the same measures, and not too many bytes. */
export class FinishList {
  readonly session: SessionId;
  readonly #measures: number;
  readonly #finishes: Finish[] = [];
  #hasOutputs = false;
  #room: number = limits.inlineBytesPerMessage;

  constructor(session: SessionId, first: Finish) {
    this.session = session;
    this.#measures = measuresOf(first.info);
    this.#take(first);
  }

  get length(): number {
    return this.#finishes.length;
  }
  /** In the order of their coming. */
  get all(): readonly Finish[] {
    return this.#finishes;
  }

  /** Answers whether it is in. */
  add(session: SessionId, finish: Finish): boolean {
    if (session !== this.session || this.#finishes.length >= items || this.#room <= 0) return false;
    if (this.#measures < 0 || measuresOf(finish.info) !== this.#measures) return false;
    this.#take(finish);
    return true;
  }

  #take(finish: Finish): void {
    this.#finishes.push(finish);
    for (const { data, user } of finish.outputs) {
      this.#hasOutputs = true;
      // What an output weighs beside its bytes: two thousand of them fill a message.
      this.#room -= 512 + (data?.length ?? 0) + (user === undefined ? 0 : limits.userBytes);
    }
  }

  pack(): FinishBatch {
    const columns: { [M in Measure]?: Numbers } = {};
    for (const [bit, name] of measures.entries())
      if ((this.#measures & (1 << bit)) !== 0)
        columns[name] = toColumn(this.#finishes.map(({ info }) => info[name] ?? NaN));
    return {
      session: this.session,
      ...packRefs(this.#finishes),
      measures: columns,
      ...(this.#hasOutputs ? { outputs: this.#finishes.map(({ outputs }) => outputs) } : {}),
    };
  }
}

const NO_OUTPUTS: readonly OutputReport[] = [];

export function* unpackFinishes(batch: FinishBatch): Generator<Finish, void> {
  const { tasks: ids, attempts, outputs } = batch;
  const columns = measures.flatMap((name) => {
    const column = batch.measures[name];
    return column === undefined ? [] : [[name, column] as const];
  });
  for (const [place, task] of ids.entries()) {
    const info: { [M in Measure]?: number } = {};
    for (const [name, column] of columns) info[name] = at(column, place);
    const attempt = at(attempts, place);
    yield { task: asTaskId(task), attempt, outputs: outputs?.[place] ?? NO_OUTPUTS, info };
  }
}

// ----------------------------------------------------------------------------------------------- assignments

export interface Assignment {
  readonly attempt: Attempt;
  readonly spec: TaskSpec;
  readonly inputs: readonly AssignedInput[];
  /** The array that it is of, where that is known: its tasks need not be compared. */
  readonly array?: TaskArray | undefined;
}
/** What tasks that are alike may have each for itself. */
interface Own {
  readonly work?: Work | undefined;
  readonly name?: string | undefined;
  readonly user?: UserAttributes | undefined;
  readonly origin?: string | undefined;
}
const own = z.strictObject({
  work: work.optional(),
  name: nameText.optional(),
  user: userAttributes.optional(),
  origin: originText.optional(),
});
/** Tasks that are alike: what no list says of the others is as of the first. */
interface AssignGroup {
  /** Of the first of them. */
  readonly spec: TaskSpec;
  readonly tasks: readonly number[];
  readonly attempts: Numbers;
  /** Objects of all their outputs, in order; absent when they have none. */
  readonly objects?: readonly number[] | undefined;
  readonly own?: readonly Own[] | undefined;
  /** For each its inputs, in the order of `spec.inputs`; absent when they have none. */
  readonly inputs?: readonly (readonly AssignedInput[])[] | undefined;
}
export interface AssignBatch {
  readonly session: SessionId;
  readonly groups: readonly AssignGroup[];
}
const group: z.ZodType<AssignGroup> = z
  .strictObject({
    spec: taskSpec,
    tasks,
    attempts: ordinalColumn,
    objects: idList.optional(),
    own: z.array(own).max(items).optional(),
    inputs: z.array(z.array(assignedInput)).max(items).optional(),
  })
  .refine(
    (each) =>
      isAsLong(each.attempts, each.tasks.length) &&
      (each.objects?.length ?? 0) === each.spec.outputs.length * each.tasks.length &&
      (each.own ?? each.tasks).length === each.tasks.length &&
      (each.spec.inputs.length === 0) === (each.inputs === undefined) &&
      (each.inputs ?? each.tasks).length === each.tasks.length &&
      (each.inputs ?? []).every((list) => list.length === each.spec.inputs.length),
    LENGTHS,
  );
export const assignBatch: {
  readonly session: z.ZodType<SessionId>;
  readonly groups: z.ZodType<AssignBatch["groups"]>;
} = { session: sessionId, groups: z.array(group).min(1).max(items) };

/** Longest text, and most arguments, inputs or outputs, of a task that goes with others into one message. */
const SHORT = 1_024;
const FEW = 32;

/** Is this description so small that a thousand of them make no large message? */
export function isSmall({ work: what, inputs, outputs }: TaskSpec): boolean {
  if (inputs.length > FEW || outputs.length > FEW) return false;
  switch (what.type) {
    case "execute":
      return (
        what.args.length <= FEW &&
        what.args.every((arg) => typeof arg !== "string" || arg.length <= SHORT) &&
        (what.env === undefined || isSmallEnv(Object.values(what.env)))
      );
    case "custom":
      return (what.config?.length ?? 0) <= SHORT;
    case "makeDirectory":
      return what.paths.length <= FEW;
    case "concat":
    case "sleep":
    case "load":
    case "store":
    case "sliceDirectory":
      return true;
  }
}

const isSmallEnv = (values: readonly unknown[]): boolean =>
  values.length <= FEW && values.every((value) => typeof value !== "string" || value.length <= SHORT);

/** Throws when an assignment has not as many inputs as its task. */
export function packAssignments(session: SessionId, list: readonly Assignment[]): AssignBatch {
  const groups: AssignGroup[] = [];
  let from = 0;
  for (let to = 1; to <= list.length; to++) {
    const [first, next] = [list[from], list[to]];
    if (first === undefined || (next !== undefined && goTogether(first, next))) continue;
    groups.push(packGroup(first.spec, list.slice(from, to)));
    from = to;
  }
  return { session, groups };
}

/** All tasks of an array are alike; the same task twice is not in one group. */
const goTogether = (a: Assignment, b: Assignment): boolean =>
  a.array !== undefined && a.array === b.array ? a.spec.id !== b.spec.id : areAlike(a.spec, b.spec);

function packGroup(spec: TaskSpec, list: readonly Assignment[]): AssignGroup {
  const array = list[0]?.array;
  const isOneArray = array?.vary.length === 0 && list.every((one) => one.array === array);
  const each = isOneArray
    ? []
    : list.map((one): Own => (one.spec === spec ? {} : differences(spec, one.spec)));
  const isAnyOwn = each.some((one) => Object.keys(one).length > 0);
  for (const one of list)
    if (one.inputs.length !== spec.inputs.length)
      throw new Error(
        `task ${one.spec.id} has ${spec.inputs.length} inputs, and is assigned ${one.inputs.length}`,
      );
  return {
    spec,
    tasks: list.map((one) => one.spec.id),
    attempts: toColumn(list.map(({ attempt }) => attempt)),
    ...(spec.outputs.length === 0
      ? {}
      : { objects: list.flatMap((one) => one.spec.outputs.map(({ object }) => object)) }),
    ...(isAnyOwn ? { own: each } : {}),
    ...(spec.inputs.length === 0 ? {} : { inputs: list.map(({ inputs }) => inputs) }),
  };
}

function differences(first: TaskSpec, spec: TaskSpec): Own {
  return {
    ...(isSame(first.work, spec.work) ? {} : { work: spec.work }),
    ...(first.name === spec.name ? {} : { name: spec.name }),
    ...(isSame(first.user, spec.user) ? {} : { user: spec.user }),
    ...(first.origin === spec.origin ? {} : { origin: spec.origin }),
  };
}

/** Can a group say all of `b` with `a` as its first? */
function areAlike(a: TaskSpec, b: TaskSpec): boolean {
  if (a === b) return false; // the same task twice
  for (const key in a) {
    const name = key as keyof TaskSpec;
    if (a[name] === undefined || name === "id" || name === "work") continue;
    if (name === "name" || name === "user" || name === "origin") {
      if (b[name] === undefined) return false;
    } else if (name === "inputs" || name === "outputs") {
      if (!sameButObjects(a[name], b[name])) return false;
    } else if (!isSame(a[name], b[name])) return false;
  }
  for (const key in b) {
    const name = key as keyof TaskSpec;
    if (b[name] !== undefined && a[name] === undefined) return false;
  }
  return true;
}

function sameButObjects(a: readonly { readonly object: number }[], b: typeof a): boolean {
  if (a === b) return true;
  return (
    a.length === b.length &&
    a.every((one, place) => {
      const other = b[place];
      return other !== undefined && (one === other || isSame({ ...one, object: other.object }, other));
    })
  );
}

/** Of plain values: an absent field is as one that is undefined. */
function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  for (const key in left) if (!isSame(left[key], right[key])) return false;
  for (const key in right) if (right[key] !== undefined && left[key] === undefined) return false;
  return true;
}

export function* unpackAssignments({ groups }: AssignBatch): Generator<Assignment, void> {
  for (const each of groups) {
    const { spec: first, objects = NONE, own: differing = [] } = each;
    for (const [place, id] of each.tasks.entries()) {
      const inputs = each.inputs?.[place] ?? NO_INPUTS;
      const { work: what = first.work, name, user, origin } = differing[place] ?? first;
      const spec = {
        ...first,
        id: asTaskId(id),
        work: what,
        inputs: withObjects(first.inputs, inputs),
        outputs: withNumbers(first.outputs, objects, place * first.outputs.length),
        ...(name === undefined ? {} : { name }),
        ...(user === undefined ? {} : { user }),
        ...(origin === undefined ? {} : { origin }),
      };
      yield { attempt: at(each.attempts, place), spec, inputs };
    }
  }
}

const NONE: readonly number[] = [];
const NO_INPUTS: readonly AssignedInput[] = [];

function withObjects(specs: readonly InputSpec[], inputs: readonly AssignedInput[]): readonly InputSpec[] {
  if (specs.length === 0) return specs;
  return specs.map((spec, index) => ({ ...spec, object: inputs[index]?.object ?? spec.object }));
}
function withNumbers(
  specs: readonly OutputSpec[],
  objects: readonly number[],
  from: number,
): readonly OutputSpec[] {
  if (specs.length === 0) return specs;
  return specs.map((spec, index) => ({ ...spec, object: asObjectId(objects[from + index] ?? spec.object) }));
}
