import { z } from "zod";
import { taskFailure, type TaskFailure } from "./errors.ts";
import { asTaskId, type TaskId } from "./ids.ts";
import { limits } from "./limits.ts";
import { idList } from "./numbers.ts";
import { settledStates, type SettledState } from "./views.ts";

/** Entries of a settled log as columns: as `SettledItem`s, each would be an object at both ends. */
export interface SettledColumns {
  /** Numbers of the tasks, in the order in which they settled: four bytes each, the lowest first. */
  readonly tasks: Uint8Array;
  /** What became of them: so many one after another are in this state. */
  readonly states: readonly (readonly [state: SettledState, count: number])[];
  /** For each failed one why, in their order. */
  readonly failures?: readonly TaskFailure[] | undefined;
  /** For each aborted one the task whose output can never come, in their order. */
  readonly causes?: readonly number[] | undefined;
}

/** Bytes of the number of a task. */
const WIDTH = 4;

/** A loop over the columns, since a schema for each entry would cost more than what is done with it. */
function columnsProblem({ tasks, states, failures = [], causes = [] }: SettledColumns): string | undefined {
  if (tasks.length % WIDTH !== 0) return `the numbers of the tasks have ${tasks.length} bytes`;
  const sums = { finished: 0, failed: 0, cancelled: 0, aborted: 0 };
  for (const [state, count] of states) sums[state] += count;
  const all = sums.finished + sums.failed + sums.cancelled + sums.aborted;
  if (all !== tasks.length / WIDTH) return `the states of ${all} for ${tasks.length / WIDTH} tasks`;
  if (failures.length !== sums.failed) return `${failures.length} failures of ${sums.failed} tasks`;
  if (causes.length !== sums.aborted) return `${causes.length} causes for ${sums.aborted} aborted tasks`;
  for (let at = WIDTH - 1; at < tasks.length; at += WIDTH)
    if ((tasks[at] ?? 0) > 127) return "a number of a task is too large";
  return undefined;
}

export const settledColumns: z.ZodType<SettledColumns> = z
  .strictObject({
    tasks: z
      .instanceof(Uint8Array)
      .refine(({ length }) => length <= limits.nextColumns * WIDTH, `at most ${limits.nextColumns} tasks`),
    states: z.array(z.tuple([z.enum(settledStates), z.int().min(1)])).max(limits.nextColumns),
    failures: z.array(taskFailure).min(1).optional(),
    causes: idList.optional(),
  })
  .superRefine((columns, context) => {
    const problem = columnsProblem(columns);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  });

/** What a failure weighs in a message, bytes; never less. */
export const failureBytes = ({ message, stderr = "" }: TaskFailure): number =>
  512 + (message.length + stderr.length) * 3;

/** Collects the columns of one page. */
export class SettledPage {
  readonly max: number;
  readonly #tasks: Uint8Array;
  #count = 0;
  readonly #states: [SettledState, number][] = [];
  readonly #failures: TaskFailure[] = [];
  readonly #causes: TaskId[] = [];
  #bytes = 0;

  /** For at most so many entries. */
  constructor(max: number) {
    this.max = max;
    this.#tasks = new Uint8Array(max * WIDTH);
  }

  /** Are its failures as large as those of one message may be together? */
  get isFull(): boolean {
    return this.#bytes > limits.inlineBytesPerMessage;
  }

  /** Adds an entry; `failure` for a failed one, `cause` for an aborted one. */
  add(task: TaskId, state: SettledState, failure?: TaskFailure, cause?: TaskId): void {
    const bytes = this.#tasks;
    let at = this.#count++ * WIDTH;
    bytes[at++] = task;
    bytes[at++] = task >>> 8;
    bytes[at++] = task >>> 16;
    bytes[at] = task >>> 24;
    const last = this.#states.at(-1);
    if (last?.[0] === state) last[1]++;
    else this.#states.push([state, 1]);
    if (failure !== undefined) {
      this.#failures.push(failure);
      this.#bytes += failureBytes(failure);
    }
    if (cause !== undefined) this.#causes.push(cause);
  }

  pack(): SettledColumns {
    return {
      tasks: this.#tasks.subarray(0, this.#count * WIDTH),
      states: this.#states,
      ...(this.#failures.length > 0 && { failures: this.#failures }),
      ...(this.#causes.length > 0 && { causes: this.#causes }),
    };
  }
}

/** Number of the entries. */
export const countSettled = ({ tasks }: SettledColumns): number => tasks.length / WIDTH;

/** Tells each entry, in order: `failure` of a failed one, `cause` of an aborted one. */
export function eachSettled(
  { tasks, states, failures = [], causes = [] }: SettledColumns,
  tell: (
    task: TaskId,
    state: SettledState,
    failure: TaskFailure | undefined,
    cause: TaskId | undefined,
  ) => void,
): void {
  let [byte, failed, aborted] = [0, 0, 0];
  const next = (): number => tasks[byte++] ?? 0;
  for (const [state, count] of states)
    for (let left = count; left > 0; left--) {
      const task = asTaskId(next() | (next() << 8) | (next() << 16) | (next() << 24));
      const failure = state === "failed" ? failures[failed++] : undefined;
      const cause = state === "aborted" ? causes[aborted++] : undefined;
      tell(task, state, failure, cause === undefined ? undefined : asTaskId(cause));
    }
}
