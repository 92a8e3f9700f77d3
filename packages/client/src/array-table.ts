import type { ObjectId, TaskId } from "@rain/protocol";
import type { DataObject } from "./data-object.ts";
import type { Task } from "./task.ts";
import { handleAt, liveHandles, type ArrayRecord } from "./task-array.ts";

/** The arrays of a session, by the numbers of their tasks and of their outputs, which are in the same order. */
export class ArrayTable {
  readonly #arrays: ArrayRecord[] = [];

  /** Its numbers are larger than those of all before. */
  add(array: ArrayRecord): void {
    this.#arrays.push(array);
  }
  /** By number. */
  [Symbol.iterator](): ArrayIterator<ArrayRecord> {
    return this.#arrays[Symbol.iterator]();
  }

  /** The array that has the task with this number. */
  of(task: TaskId): ArrayRecord | undefined {
    const array = lastBefore(this.#arrays, ({ first }) => first <= task);
    return array && task < array.first + array.count ? array : undefined;
  }

  /** An output of a task of one of them, by its number. */
  object(id: ObjectId): DataObject | undefined {
    const array = lastBefore(this.#arrays, ({ objects }) => objects <= id);
    const width = array?.outputs.length ?? 0;
    if (!array || width === 0) return undefined;
    const index = Math.floor((id - array.objects) / width);
    return index < array.count ? handleAt(array, index).outputs.at((id - array.objects) % width) : undefined;
  }

  /** The handle of a task, if it is there. */
  handle(array: ArrayRecord, task: TaskId): Task | undefined {
    return array.handles.size === 0 ? undefined : array.handles.get(task - array.first)?.deref();
  }
  *handles(): Generator<Task, void> {
    for (const array of this.#arrays) yield* liveHandles(array);
  }
}

/** The last one of a sorted list for which this is still true. */
function lastBefore<T>(list: readonly T[], isBefore: (each: T) => boolean): T | undefined {
  let low = 0;
  for (let high = list.length; low < high;) {
    const middle = (low + high) >> 1;
    const each = list[middle];
    if (each !== undefined && isBefore(each)) low = middle + 1;
    else high = middle;
  }
  return list[low - 1];
}
