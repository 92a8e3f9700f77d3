import type { ObjectId, TaskArray, TaskId } from "@rain/protocol";
import type { DataObject, Session, Task } from "./state.ts";
import { ArrayState, FoldStore } from "./task-array.ts";

/** What the live side has to do with the forms of tasks: see `ArrayState`. */
export interface FoldHooks {
  /** A task is expanded. */
  expanded(task: Task): void;
  /** May it be taken back? */
  mayFold(task: Task): boolean;
  /** It will be. */
  folding(task: Task): void;
}

/** Tasks that something was done with, which may be folded: for all sessions of a state. */
export class Folding {
  readonly #touched: Task[] = [];
  /** Undefined while a journal is read. */
  hooks: FoldHooks | undefined;

  /** Folds what was touched and can be folded. Nobody may hold on to one of these tasks meanwhile. */
  fold(): void {
    const touched = this.#touched;
    const { hooks } = this;
    for (let at = 0; at < touched.length; at++) {
      const task = touched[at];
      if (task?.array === undefined || hooks?.mayFold(task) === false) continue;
      if (task.array.canFold(task)) {
        hooks?.folding(task);
        task.array.fold(task);
      }
    }
    for (const task of touched) task.isTouched = false;
    touched.length = 0;
  }

  /** It may be folded at the next `fold`. */
  touch(task: Task): void {
    if (task.isTouched) return;
    task.isTouched = true;
    this.#touched.push(task);
  }
}

/** Arrays by the first of their numbers. */
class ArrayList {
  readonly #arrays: ArrayState[] = [];
  readonly #startOf: (array: ArrayState) => number;
  readonly #sizeOf: (array: ArrayState) => number;

  constructor(startOf: (array: ArrayState) => number, sizeOf: (array: ArrayState) => number) {
    this.#startOf = startOf;
    this.#sizeOf = sizeOf;
  }
  [Symbol.iterator](): Iterator<ArrayState> {
    return this.#arrays[Symbol.iterator]();
  }
  get length(): number {
    return this.#arrays.length;
  }
  /** Index of the last array that starts at this number or before. */
  #before(number: number): number {
    let low = 0;
    for (let high = this.#arrays.length; low < high;) {
      const middle = (low + high) >> 1;
      const array = this.#arrays[middle];
      if (array && this.#startOf(array) <= number) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
  add(array: ArrayState): void {
    if (this.#sizeOf(array) === 0) return;
    this.#arrays.splice(this.#before(this.#startOf(array)) + 1, 0, array);
  }
  find(number: number): ArrayState | undefined {
    const array = this.#arrays[this.#before(number)];
    return array && number < this.#startOf(array) + this.#sizeOf(array) ? array : undefined;
  }
  /** Is any number of this range one of an array's? */
  overlaps(start: number, size: number): boolean {
    const array = this.#arrays[this.#before(start + size - 1)];
    return array !== undefined && size > 0 && start < this.#startOf(array) + this.#sizeOf(array);
  }
}

interface Numbers {
  readonly size: number;
  has(id: number): boolean;
  keys(): Iterable<number>;
}
/** Does one of these numbers lie in the range? */
export function anyIn(numbers: Numbers, start: number, size: number): boolean {
  if (numbers.size < size) {
    for (const id of numbers.keys()) if (id >= start && id < start + size) return true;
    return false;
  }
  for (let id = start; id < start + size; id++) if (numbers.has(id)) return true;
  return false;
}

/** The tasks of a session, by their number. */
export class TaskTable {
  readonly #folding: Folding;
  /** Those that are of no array. */
  readonly #tasks: Map<TaskId, Task> = new Map();
  readonly #arrays: ArrayList = new ArrayList(
    ({ first }) => first,
    ({ count }) => count,
  );
  readonly #store: FoldStore = new FoldStore();
  /** Open tasks that are virtual; kept by the arrays. */
  virtual: number = 0;
  #inArrays = 0;
  /** Numbers of `#tasks` in order; undefined when some were added since. */
  #sorted: readonly TaskId[] | undefined;

  constructor(folding: Folding) {
    this.#folding = folding;
  }

  get size(): number {
    return this.#tasks.size + this.#inArrays;
  }
  get arrays(): Iterable<ArrayState> {
    return this.#arrays;
  }

  /** The task, expanded if need be. */
  get(id: TaskId): Task | undefined {
    const own = this.#tasks.get(id);
    if (own) return own;
    const array = this.#arrays.length > 0 ? this.#arrays.find(id) : undefined;
    return array?.get(id - array.first);
  }
  /** The task, if it is an object of its own now. */
  there(id: TaskId): Task | undefined {
    const own = this.#tasks.get(id);
    if (own) return own;
    const array = this.#arrays.find(id);
    return array?.expanded.get(id - array.first);
  }
  arrayOf(id: TaskId): ArrayState | undefined {
    return this.#tasks.has(id) ? undefined : this.#arrays.find(id);
  }
  has(id: TaskId): boolean {
    return this.#tasks.has(id) || this.#arrays.find(id) !== undefined;
  }
  overlaps(first: number, count: number): boolean {
    return this.#arrays.overlaps(first, count) || anyIn(this.#tasks, first, count);
  }

  add(task: Task): void {
    this.#tasks.set(task.spec.id, task);
    this.#sorted = undefined;
  }
  addArray(session: Session, spec: TaskArray, isReady: boolean): ArrayState {
    const array = new ArrayState(session, spec, isReady, this.#store);
    this.#arrays.add(array);
    this.#inArrays += array.count;
    this.virtual += array.count;
    session.objects.addArray(array);
    return array;
  }

  /** It may be folded at the end of this step. */
  touch(task: Task): void {
    if (task.array !== undefined) this.#folding.touch(task);
  }
  /** A task of an array was expanded. */
  expanded(task: Task): void {
    this.#folding.hooks?.expanded(task);
  }

  /** Tasks that are of no array, in the order of their numbers. */
  *own(): Generator<Task, void> {
    for (const id of this.#inOrder()) {
      const task = this.#tasks.get(id);
      if (task) yield task;
    }
  }
  /** Those that are objects of their own. */
  *expandedOnes(): Generator<Task, void> {
    yield* this.#tasks.values();
    for (const array of this.#arrays) yield* array.expanded.values();
  }
  /** All of them, each expanded: for tests and for small sessions. */
  *values(): Generator<Task, void> {
    yield* this.#tasks.values();
    for (const array of this.#arrays)
      for (let index = 0; index < array.count; index++) yield array.get(index);
  }
  *[Symbol.iterator](): Generator<readonly [TaskId, Task], void> {
    for (const task of this.values()) yield [task.spec.id, task];
  }

  /** The first numbers from `from` on, in order, at most `max`. */
  idsFrom(from: TaskId, max: number): TaskId[] {
    const sorted = this.#inOrder();
    let low = 0;
    for (let high = sorted.length; low < high;) {
      const middle = (low + high) >> 1;
      if ((sorted[middle] ?? 0) < from) low = middle + 1;
      else high = middle;
    }
    const ids: number[] = sorted.slice(low, low + max);
    let inArrays = 0;
    for (const { first, count } of this.#arrays) {
      if (first + count <= from) continue;
      const start = Math.max(first, from);
      for (let id = start; id < Math.min(first + count, start + max); id++) {
        ids.push(id);
        inArrays++;
      }
      // What starts behind a full page cannot be on it.
      if (inArrays >= max) break;
    }
    return (ids as TaskId[]).toSorted((a, b) => a - b).slice(0, max);
  }
  #inOrder(): readonly TaskId[] {
    return (this.#sorted ??= [...this.#tasks.keys()].toSorted((a, b) => a - b));
  }
}

/** The data objects of a session, by their number. Those of a task that is not expanded come with it. */
export class ObjectTable {
  readonly #objects: Map<ObjectId, DataObject> = new Map();
  readonly #arrays: ArrayList = new ArrayList(
    ({ spec }) => spec.objects,
    ({ count, width }) => count * width,
  );

  /** The object; its task is expanded if need be. */
  get(id: ObjectId): DataObject | undefined {
    const known = this.#objects.get(id);
    if (known || this.#arrays.length === 0) return known;
    const array = this.#arrays.find(id);
    const index = array?.indexOfObject(id);
    if (index === undefined) return undefined;
    array?.get(index);
    return this.#objects.get(id);
  }
  /** The object, if its task is expanded or it is none of an array's. */
  there(id: ObjectId): DataObject | undefined {
    return this.#objects.get(id);
  }
  has(id: ObjectId): boolean {
    return this.#objects.has(id) || this.#arrays.find(id) !== undefined;
  }
  get isEmpty(): boolean {
    return this.#objects.size === 0 && this.#arrays.length === 0;
  }
  /** What an object of an array was declared as, without expanding its task. */
  kindOf(id: ObjectId): DataObject["kind"] | undefined {
    const known = this.#objects.get(id);
    if (known) return known.kind;
    const array = this.#arrays.find(id);
    return array?.spec.task.outputs[(id - array.spec.objects) % array.width]?.kind;
  }
  overlaps(first: number, count: number): boolean {
    return this.#arrays.overlaps(first, count) || anyIn(this.#objects, first, count);
  }

  add(object: DataObject): void {
    this.#objects.set(object.id, object);
  }
  forget({ id }: DataObject): void {
    this.#objects.delete(id);
  }
  addArray(array: ArrayState): void {
    this.#arrays.add(array);
  }

  /** Those that are there: all but the outputs of array tasks that are not expanded. */
  expandedOnes(): Iterable<DataObject> {
    return this.#objects.values();
  }
  /** All of them, their tasks expanded: for tests and small sessions. */
  *values(): Generator<DataObject, void> {
    for (const array of this.#arrays) for (let index = 0; index < array.count; index++) array.get(index);
    yield* this.#objects.values();
  }
  *[Symbol.iterator](): Generator<readonly [ObjectId, DataObject], void> {
    for (const object of this.values()) yield [object.id, object];
  }
}
