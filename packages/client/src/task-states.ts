import { asTaskId, settledStates, type SettledState, type TaskId } from "@rain/protocol";

const PAGE_BITS = 12;
const PAGE = 1 << PAGE_BITS;
/** In a byte of a page: submitted, and not settled. */
const OPEN = 8;

/** What is known of the ends of a session's tasks: a byte for each, and four for its place in their order. */
export class TaskStates {
  /** By number; 0 for a task of which nothing is known, `OPEN`, or 1 + the place of its state in `settledStates`. */
  readonly #pages: (Uint8Array | undefined)[] = [];
  #order = new Uint32Array(16);
  #settled = 0;
  #open = 0;

  /** Number of those that have settled. */
  get settled(): number {
    return this.#settled;
  }
  /** Number of those that are submitted and have not settled. */
  get open(): number {
    return this.#open;
  }

  /** Undefined as long as it has not settled. */
  get(task: TaskId): SettledState | undefined {
    const code = this.#pages[task >> PAGE_BITS]?.[task & (PAGE - 1)];
    return code === undefined || code === 0 || code === OPEN ? undefined : settledStates[code - 1];
  }

  /** Place 0, 1, ... of the order in which they settled. */
  at(place: number): TaskId | undefined {
    return place < this.#settled ? asTaskId(this.#order[place] ?? 0) : undefined;
  }

  /** These are submitted: `count` of them from `first` on. */
  expect(first: TaskId, count: number): void {
    for (let task = first; task < first + count; task = asTaskId(task + 1)) {
      const page = this.#pageOf(task);
      const at = task & (PAGE - 1);
      if (page[at] !== 0) continue;
      page[at] = OPEN;
      this.#open++;
    }
  }

  /** Notes that a task has settled; whether it is for the first time: one that runs again for a lost output settles twice. */
  settle(task: TaskId, state: SettledState): boolean {
    const page = this.#pageOf(task);
    const at = task & (PAGE - 1);
    const was = page[at] ?? 0;
    page[at] = 1 + settledStates.indexOf(state);
    if (was === OPEN) this.#open--;
    else if (was !== 0) return false;
    if (this.#settled === this.#order.length) {
      const larger = new Uint32Array(this.#settled * 2);
      larger.set(this.#order);
      this.#order = larger;
    }
    this.#order[this.#settled++] = task;
    return true;
  }

  /** Those that settled without finishing, by number. */
  *unfinished(): Generator<TaskId, void> {
    // Of a sparse list only what is there.
    for (const [number, page = []] of Object.entries(this.#pages))
      for (const [at, code] of page.entries())
        if (code > FINISHED && code !== OPEN) yield asTaskId(Number(number) * PAGE + at);
  }

  #pageOf(task: TaskId): Uint8Array {
    return (this.#pages[task >> PAGE_BITS] ??= new Uint8Array(PAGE));
  }
}
const FINISHED = 1 + settledStates.indexOf("finished");
