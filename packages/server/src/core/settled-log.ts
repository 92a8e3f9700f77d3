import { asTaskId, type TaskId } from "@rain/protocol";

const PAGE = 8_192;

/** Tasks of a session in the order in which they settled: four bytes each. */
export class SettledLog implements Iterable<TaskId> {
  readonly #pages: Uint32Array[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(task: TaskId): void {
    const at = this.#length % PAGE;
    if (at === 0) this.#pages.push(new Uint32Array(this.#length === 0 ? 16 : PAGE));
    let page = this.#pages.at(-1);
    if (page === undefined) throw new Error("the settled log has no page");
    if (at === page.length) {
      // The first page grows: most sessions are small.
      const larger = new Uint32Array(Math.min(PAGE, page.length * 4));
      larger.set(page);
      page = larger;
      this.#pages[this.#pages.length - 1] = page;
    }
    page[at] = task;
    this.#length++;
  }

  /** The entry at this place, from 0. */
  at(place: number): TaskId {
    const task = place < this.#length ? this.#pages[Math.floor(place / PAGE)]?.[place % PAGE] : undefined;
    if (task === undefined) throw new Error(`the settled log has ${this.#length} entries, none at ${place}`);
    return asTaskId(task);
  }

  /** Entries from `from` on, up to `to`. */
  slice(from: number, to: number): TaskId[] {
    const tasks: TaskId[] = [];
    for (let at = from; at < Math.min(to, this.#length); at++)
      tasks.push(asTaskId(this.#pages[Math.floor(at / PAGE)]?.[at % PAGE] ?? 0));
    return tasks;
  }

  *[Symbol.iterator](): Iterator<TaskId> {
    for (let at = 0; at < this.#length; at += PAGE) yield* this.slice(at, at + PAGE);
  }
}
