import {
  asObjectId,
  limits,
  taskOfArray,
  type ArrayColumn,
  type PlaceValue,
  type TaskArray,
} from "@rain/protocol";

/** Values of one array, and their bytes: the server reads an array in one go, and one has to fit into a message. */
export const MOST_VALUES: number = limits.messageItems / 16;
export const MOST_BYTES: number = limits.messageBytes / 4;

/** Bytes of a value in a message; never less. */
export const valueBytes = (value: PlaceValue): number =>
  typeof value === "string" ? Buffer.byteLength(value) + 5 : 9;

/** An array as several that each fit into a message; as itself when it does. */
export function* cutArray(array: TaskArray): Generator<TaskArray, void> {
  const lists = array.vary.flatMap((column) => ("values" in column ? [column.values] : []));
  let from = 0;
  let [values, bytes] = [0, 0];
  for (let index = 0; lists.length > 0 && index < array.count; index++) {
    let weight = 0;
    for (const list of lists) weight += valueBytes(list[index] ?? null);
    if (index > from && (values + lists.length > MOST_VALUES || bytes + weight > MOST_BYTES)) {
      yield slice(array, from, index);
      from = index;
      [values, bytes] = [0, 0];
    }
    values += lists.length;
    bytes += weight;
  }
  yield from === 0 ? array : slice(array, from, array.count);
}

function slice(array: TaskArray, from: number, to: number): TaskArray {
  const { id, outputs, ...task } = taskOfArray(array, from);
  return {
    first: id,
    count: to - from,
    objects: asObjectId(array.objects + from * outputs.length),
    task: { ...task, outputs: array.task.outputs },
    vary: array.vary.map((column): ArrayColumn => {
      if ("values" in column) return { at: column.at, values: column.values.slice(from, to) };
      const { range } = column;
      return { at: column.at, range: { ...range, from: range.from + range.step * from } };
    }),
  };
}
