import {
  asTaskId,
  limits,
  RainError,
  taskOfArray,
  utf8Length,
  valueAt,
  type ObjectId,
  type ObjectKind,
  type TaskArray,
  type TaskId,
  type TaskSpec,
} from "@rain/protocol";
import { checkWork } from "./check-work.ts";
import { isNeeded, type Session } from "./state.ts";
import { anyIn } from "./tables.ts";
import type { Submit } from "./types.ts";

/** Says what is wrong with a submit, or nothing. Nothing of a refused submit takes effect. */
export function checkSubmit(session: Session, submit: Submit): RainError | undefined {
  const made = new Map<ObjectId, TaskId | undefined>();
  const addObject = (id: ObjectId, by: TaskId | undefined, what: string): RainError | undefined => {
    if (session.objects.has(id) || made.has(id)) {
      return new RainError(
        "duplicate-id",
        `${what}: data object o${id} exists already in session ${session.id}`,
      );
    }
    made.set(id, by);
    return undefined;
  };
  const arrays = submit.arrays ?? [];
  const kinds = new Map<ObjectId, ObjectKind>();
  for (const constant of submit.constants) {
    kinds.set(constant.id, constant.kind);
    const what = `constant o${constant.id} (${constant.label})`;
    const problem = addObject(constant.id, undefined, what);
    if (problem) return problem;
    if (constant.kind === "directory" && constant.contentType !== "") {
      return new RainError(
        "bad-request",
        `${what}: a directory has no content type, not ${constant.contentType}`,
      );
    }
    if (constant.data && constant.data.length !== constant.size) {
      return new RainError(
        "bad-request",
        `${what}: size says ${constant.size} bytes, but ${constant.data.length} came`,
      );
    }
  }
  const ids = new Set<TaskId>();
  const replaced = new Set<TaskId>();
  for (const spec of submit.tasks) {
    if (session.tasks.has(spec.id) || ids.has(spec.id)) {
      return new RainError("duplicate-id", `${describe(spec)} exists already in session ${session.id}`);
    }
    ids.add(spec.id);
    const wrong = checkReplaces(session, spec, replaced);
    if (wrong !== undefined) return bad(spec, wrong);
    for (const output of spec.outputs) {
      const problem = addObject(output.object, spec.id, describe(spec));
      if (problem) return problem;
      kinds.set(output.object, output.kind);
    }
  }
  const placed = checkPlaces(session, arrays, ids, made);
  if (placed) return placed;
  const madeBy = (id: ObjectId): Maker | undefined => {
    const by = made.get(id);
    if (by !== undefined || made.has(id)) return by ?? "client";
    return arrays.length === 0 ? undefined : arrayOf(arrays, id);
  };
  const kindOf = (id: ObjectId): ObjectKind | undefined =>
    kinds.get(id) ?? kindIn(arrays, id) ?? session.objects.kindOf(id);
  for (const spec of submit.tasks) {
    const problem = checkInputs(session, spec, madeBy);
    if (problem) return problem;
    const wrong = checkWork(spec, kindOf);
    if (wrong !== undefined) return bad(spec, wrong);
  }
  for (const array of arrays) {
    const problem = checkArray(session, array, madeBy, kindOf);
    if (problem) return problem;
  }
  return findCycle(submit, madeBy);
}

/** Who makes an object of this submit: a task, a whole array, or the client itself. */
type Maker = TaskId | TaskArray | "client";

/** The numbers of arrays, and of their outputs, are nobody else's. */
function checkPlaces(
  session: Session,
  arrays: readonly TaskArray[],
  tasks: ReadonlySet<TaskId>,
  made: ReadonlyMap<ObjectId, unknown>,
): RainError | undefined {
  const twice = (what: string): RainError =>
    new RainError("duplicate-id", `${what} exists already in session ${session.id}`);
  for (const array of arrays) {
    const { first, count, objects } = array;
    const size = count * array.task.outputs.length;
    const what = describeArray(array);
    if (session.tasks.overlaps(first, count) || anyIn(tasks, first, count)) return twice(`one of ${what}`);
    if (session.objects.overlaps(objects, size) || anyIn(made, objects, size))
      return twice(`${what}: one of their data objects o${objects} to o${objects + size - 1}`);
  }
  const overlap = (
    of: (array: TaskArray) => readonly [start: number, size: number],
  ): TaskArray | undefined => {
    const sorted = arrays.filter((array) => of(array)[1] > 0).toSorted((a, b) => of(a)[0] - of(b)[0]);
    return sorted.find((array, at) => {
      const before = sorted[at - 1];
      return before && of(before)[0] + of(before)[1] > of(array)[0];
    });
  };
  const task = overlap(({ first, count }) => [first, count]);
  if (task) return twice(`one of ${describeArray(task)}`);
  const object = overlap((array) => [array.objects, array.count * array.task.outputs.length]);
  return object && twice(`${describeArray(object)}: one of their data objects`);
}

/** Everything that holds for one task of an array holds for all, but for what the columns say. */
function checkArray(
  session: Session,
  array: TaskArray,
  madeBy: (id: ObjectId) => Maker | undefined,
  kindOf: (id: ObjectId) => ObjectKind | undefined,
): RainError | undefined {
  const isEach = array.vary.some(({ at }) => at[0] === "input");
  for (let index = 0; index < (isEach ? array.count : 1); index++) {
    const spec = taskOfArray(array, index);
    const problem = checkInputs(session, spec, madeBy);
    if (problem) return problem;
    const wrong = checkWork(index === 0 ? longestOf(array) : spec, kindOf);
    if (wrong !== undefined) return bad(spec, wrong);
    if (index > 0) continue;
    const { user } = longestOf(array);
    if (user && JSON.stringify(user).length > limits.userBytes)
      return bad(spec, `its user attributes have more than ${limits.userBytes} characters as JSON`);
  }
  return undefined;
}

const longest = new WeakMap<TaskArray, TaskSpec>();

/**
 * The first task with the longest text of each column: no task of the array is longer. Looked for once: the shell asks
 * for it as the array comes, so that a submit of many arrays is not all looked through in one step.
 */
export function longestOf(array: TaskArray): TaskSpec {
  let found = longest.get(array);
  if (!found) {
    found = findLongest(array);
    longest.set(array, found);
  }
  return found;
}

function findLongest(array: TaskArray): TaskSpec {
  const vary = array.vary.map((column): TaskArray["vary"][number] => {
    if (column.at[0] === "input") return column;
    let [longest, length] = [valueAt(column, 0), -1];
    const ends = "range" in column ? [0, array.count - 1] : column.values.keys();
    for (const index of ends) {
      const value = valueAt(column, index);
      const its = typeof value === "string" ? utf8Length(value) : 0;
      if (its > length) [longest, length] = [value, its];
    }
    return { at: column.at, values: [longest] };
  });
  return taskOfArray({ ...array, vary }, 0);
}

function arrayOf(arrays: readonly TaskArray[], id: ObjectId): TaskArray | undefined {
  return arrays.find(
    ({ objects, count, task }) => id >= objects && id < objects + count * task.outputs.length,
  );
}
function kindIn(arrays: readonly TaskArray[], id: ObjectId): ObjectKind | undefined {
  const array = arrayOf(arrays, id);
  return array?.task.outputs[(id - array.objects) % array.task.outputs.length]?.kind;
}

const describeArray = ({ first, count, task }: TaskArray): string =>
  `tasks ${first} to ${first + count - 1}${task.name === undefined ? "" : ` (${task.name}, …)`}`;

const describe = (spec: TaskSpec): string =>
  spec.name ? `task ${spec.id} (${spec.name})` : `task ${spec.id}`;
const bad = (spec: TaskSpec, what: string): RainError =>
  new RainError("bad-request", `${describe(spec)}: ${what}`, { task: spec.id });

/** Only a settled task of an earlier submit can be replaced, and only once. */
function checkReplaces(session: Session, { replaces }: TaskSpec, replaced: Set<TaskId>): string | undefined {
  if (replaces === undefined) return undefined;
  const old = session.tasks.get(replaces);
  if (!old) return `it replaces task ${replaces}, which session ${session.id} does not have`;
  if (old.state.kind === "open")
    return `it replaces task ${replaces}, which has not settled; cancel it first`;
  if (old.replacedBy !== undefined)
    return `it replaces task ${replaces}, which task ${old.replacedBy} has replaced already`;
  if (replaced.has(replaces)) return `it replaces task ${replaces}, as another task of this submit does`;
  replaced.add(replaces);
  return undefined;
}

/** Inputs are objects of this submit, constants of an earlier one, or kept results. */
function checkInputs(
  session: Session,
  spec: TaskSpec,
  madeBy: (id: ObjectId) => unknown,
): RainError | undefined {
  for (const [at, { object: id }] of spec.inputs.entries()) {
    if (madeBy(id) !== undefined) continue;
    const object = session.objects.get(id);
    const where = `${describe(spec)}: input ${at}, data object o${id}`;
    const facts = { task: spec.id, object: id };
    if (!object) return new RainError("unknown-object", `${where}, does not exist`, facts);
    if (object.state.kind === "removed" || (object.producer === undefined && !isNeeded(object))) {
      return new RainError(
        "object-removed",
        `${where}, was removed; keep() it before the submit that makes it`,
        facts,
      );
    }
    if (object.state.kind === "failed") {
      return new RainError("object-failed", `${where}, can never come: its task did not finish`, facts);
    }
    if (!object.keep) {
      return new RainError(
        "not-kept",
        `${where}, is of an earlier submit and is not kept; keep() it before the submit that makes it`,
        facts,
      );
    }
  }
  return undefined;
}

/**
 * Only tasks of one submit can form a cycle: older ones cannot name newer objects. An array counts as one node as long
 * as none of its tasks reads what another of the same array makes; else each of its tasks is one.
 */
function findCycle(submit: Submit, madeBy: (id: ObjectId) => Maker | undefined): RainError | undefined {
  const nodes: TaskSpec[] = [...submit.tasks];
  /** Arrays as one node: by the number of their first task. */
  const whole = new Set<TaskArray>();
  for (const array of submit.arrays ?? []) {
    const isVaried = array.vary.some(({ at }) => at[0] === "input");
    if (!isVaried) whole.add(array);
    for (let index = 0; index < (isVaried ? array.count : 1); index++) nodes.push(taskOfArray(array, index));
  }
  const nodeOf = (id: ObjectId): TaskId | undefined => {
    const maker = madeBy(id);
    if (maker === undefined || maker === "client") return undefined;
    if (typeof maker === "number") return maker;
    if (whole.has(maker)) return maker.first;
    return asTaskId(maker.first + Math.floor((id - maker.objects) / maker.task.outputs.length));
  };
  const waitsFor = new Map<TaskId, number>();
  const consumers = new Map<TaskId, TaskId[]>();
  for (const spec of nodes) {
    const producers = new Set<TaskId>();
    for (const { object } of spec.inputs) {
      const producer = nodeOf(object);
      if (producer !== undefined) producers.add(producer);
    }
    waitsFor.set(spec.id, producers.size);
    for (const producer of producers) {
      const list = consumers.get(producer);
      if (list) list.push(spec.id);
      else consumers.set(producer, [spec.id]);
    }
  }
  const free = [...waitsFor].filter(([, count]) => count === 0).map(([id]) => id);
  let sorted = 0;
  for (let id = free.pop(); id !== undefined; id = free.pop()) {
    sorted++;
    for (const consumer of consumers.get(id) ?? []) {
      const left = (waitsFor.get(consumer) ?? 0) - 1;
      waitsFor.set(consumer, left);
      if (left === 0) free.push(consumer);
    }
  }
  if (sorted === nodes.length) return undefined;
  const stuck = nodes.filter((spec) => (waitsFor.get(spec.id) ?? 0) > 0).slice(0, 5);
  return new RainError(
    "cycle",
    `the graph has a cycle: ${stuck.map(describe).join(", ")} wait for their own outputs or lie behind such tasks`,
  );
}
