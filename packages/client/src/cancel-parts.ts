import { asTaskId, limits, type TaskId, type TaskRange } from "@rain/protocol";
import type { IdSet } from "./id-set.ts";

/** Tasks in one request: not more than a server takes that knows no ranges. */
const MOST = limits.submitChunk * 5;

/** Tasks for requests that cancel them: as many in each as a server takes that knows no ranges. */
export function* cancelParts(ids: IdSet): Generator<CancelPart, void> {
  let part: CancelPart = { tasks: [], ranges: [] };
  let size = 0;
  for (let range = 0; range < ids.ranges; range++) {
    for (let first = ids.start(range); first < ids.end(range); first += MOST) {
      const count = Math.min(MOST, ids.end(range) - first);
      if (count === 1) part.tasks.push(asTaskId(first));
      else part.ranges.push([asTaskId(first), count]);
      size += count;
      if (size < MOST && part.ranges.length < limits.submitChunk) continue;
      yield part;
      part = { tasks: [], ranges: [] };
      size = 0;
    }
  }
  if (size > 0) yield part;
}
export interface CancelPart {
  readonly tasks: TaskId[];
  readonly ranges: TaskRange[];
}
/** The same as numbers alone. */
export const numbersOf = ({ tasks, ranges }: CancelPart): TaskId[] => [
  ...tasks,
  ...ranges.flatMap(([first, count]) => Array.from({ length: count }, (_, k) => asTaskId(first + k))),
];
