import { asTaskId, taskStates, type TaskCounts, type TaskId, type TaskState } from "@rain/protocol";
import type { Task } from "./state.ts";

/** Revisions in one chunk of the log, and tasks in one page of the index. */
const CHUNK = 4_096;
const PAGE = 128;
/** A chunk with fewer entries that count than this part of it is written anew without the others. */
const SPARSE = 8;

/** A part of the log: revision `first + i` is of task `ids[i]`, or of task `from + i`. */
interface Chunk {
  readonly first: number;
  count: number;
  /** Entries that are the last of their task. */
  fresh: number;
  ids: number[] | undefined;
  from: number;
  /** Those entries alone, when they are few: revisions in order. */
  few: { readonly revision: number; readonly task: TaskId }[] | undefined;
}

/** What is known of tasks with numbers near one another; a revision of 0: nothing of its own. */
interface Page {
  readonly revisions: Float64Array;
  /** State as which it is counted, from 1; 0: not counted. */
  readonly counted: Uint8Array;
}

/** Tasks that were shown together, with revisions in the order of their numbers. */
interface Block {
  readonly task: number;
  readonly count: number;
  readonly revision: number;
  readonly counted: number;
}

/**
 * The table of a session's tasks: how many are in each state, and in which order they changed last. Every change of
 * what a row shows gives the task the next revision; reading from a revision on costs what has changed since. A task
 * takes no object here, only its place in a few columns.
 */
export class Rows {
  /** How many are counted as each state, by its code. */
  readonly #counts: number[] = [0, ...taskStates.map(() => 0)];
  /** The last revision given. */
  revision = 0;
  readonly #pages: Map<number, Page> = new Map();
  /** By the number of the first task. */
  readonly #blocks: Block[] = [];
  /** By the number of the first revision, in chunks. */
  readonly #chunks: (Chunk | undefined)[] = [];

  get counts(): Readonly<Record<TaskState, number>> {
    const counts = taskStates.map((state, at): [TaskState, number] => [state, this.#counts[at + 1] ?? 0]);
    return Object.fromEntries(counts) as Record<TaskState, number>;
  }
  #count(code: number, by: number): void {
    if (code > 0) this.#counts[code] = (this.#counts[code] ?? 0) + by;
  }

  /** The row of this task changed. A task that was replaced has a row, and counts no more. */
  show(task: Task, state: TaskState): void {
    this.#show(task.spec.id, task.replacedBy === undefined ? codeOf(state) : 0);
  }

  /** New rows of many tasks, all in this state; undefined: they are not counted. */
  showNew(first: TaskId, count: number, state: TaskState | undefined): void {
    const counted = state === undefined ? 0 : codeOf(state);
    this.#count(counted, count);
    const block = { task: first, count, revision: this.revision + 1, counted };
    this.#blocks.splice(this.#blockBefore(first) + 1, 0, block);
    for (let done = 0; done < count;) {
      const chunk = this.#chunkFor(asTaskId(first + done));
      const room = Math.min(count - done, CHUNK - chunk.count);
      for (let at = 0; at < room && chunk.ids; at++) chunk.ids.push(first + done + at);
      chunk.count += room;
      chunk.fresh += room;
      this.revision += room;
      done += room;
    }
  }

  /** Many rows changed to this state. */
  showMany(first: TaskId, count: number, state: TaskState): void {
    const end = first + count;
    for (let id: number = first; id < end;) {
      const alike = Math.min(this.#alikeFrom(asTaskId(id)), end);
      if (alike > id) this.#showAlike(asTaskId(id), alike - id, state);
      else this.#show(asTaskId(id), codeOf(state));
      id = Math.max(alike, id + 1);
    }
  }

  /** Tasks from here up to this number were shown together, and not since. */
  #alikeFrom(id: TaskId): number {
    const block = this.#blockOf(id);
    if (!block) return id;
    const end = block.task + block.count;
    let page = Math.floor(id / PAGE);
    while (page * PAGE < end && !this.#pages.has(page)) page++;
    return Math.max(id, Math.min(end, page * PAGE));
  }
  /** A part of a block changed as a whole: it becomes a block of its own. */
  #showAlike(first: TaskId, count: number, state: TaskState): void {
    const at = this.#blockBefore(first);
    const block = this.#blocks[at];
    if (!block) throw new Error(`task ${first} was not shown with others`);
    const { task, revision, counted } = block;
    const before = first - task;
    const behind = block.count - before - count;
    const parts: Block[] = [];
    if (before > 0) parts.push({ task, count: before, revision, counted });
    if (behind > 0)
      parts.push({ task: first + count, count: behind, revision: revision + before + count, counted });
    this.#blocks.splice(at, 1, ...parts);
    this.#count(counted, -count);
    this.#retireMany(revision + before, count);
    this.showNew(first, count, state);
  }

  #show(id: TaskId, counted: number): void {
    const page = this.#pageOf(id);
    const at = id % PAGE;
    const known = page.revisions[at] ?? 0;
    const block = known === 0 ? this.#blockOf(id) : undefined;
    const before = block ? block.counted : (page.counted[at] ?? 0);
    if (before !== counted) {
      this.#count(before, -1);
      this.#count(counted, 1);
    }
    const old = block ? block.revision + (id - block.task) : known;
    if (old > 0) this.#retire(old);
    page.counted[at] = counted;
    page.revisions[at] = this.#append(id);
  }

  #append(id: TaskId): number {
    const chunk = this.#chunkFor(id);
    chunk.ids?.push(id);
    chunk.count++;
    chunk.fresh++;
    return ++this.revision;
  }
  /** The chunk of the next revision, with room for this task. */
  #chunkFor(id: TaskId): Chunk {
    const number = Math.floor(this.revision / CHUNK);
    const known = this.#chunks[number];
    if (!known) {
      // Revisions start at 1: the first chunk begins with one that nobody has.
      const first = this.revision + 1;
      const made = { first, count: 0, fresh: 0, ids: undefined, from: id, few: undefined };
      this.#chunks[number] = made;
      return made;
    }
    if (!known.ids && known.from + known.count !== id) known.ids = idsOf(known);
    return known;
  }

  /** This revision is not the last of its task any more. */
  #retire(revision: number): void {
    const number = Math.floor((revision - 1) / CHUNK);
    const chunk = this.#chunks[number];
    if (!chunk) return;
    chunk.fresh--;
    if (chunk.count < CHUNK) return;
    if (chunk.fresh === 0) this.#chunks[number] = undefined;
    else if (chunk.fresh * SPARSE < CHUNK && !chunk.few) {
      chunk.few = [...this.#entries(chunk, chunk.first)].filter((each) => each.revision !== revision);
      chunk.ids = undefined;
    }
  }

  /** The same for revisions that follow on one another. */
  #retireMany(first: number, count: number): void {
    for (let revision = first; revision < first + count;) {
      const number = Math.floor((revision - 1) / CHUNK);
      const next = Math.min((number + 1) * CHUNK + 1, first + count);
      const chunk = this.#chunks[number];
      if (chunk) {
        chunk.fresh -= next - revision;
        if (chunk.fresh === 0 && chunk.count === CHUNK) this.#chunks[number] = undefined;
      }
      revision = next;
    }
  }

  #pageOf(id: TaskId): Page {
    const number = Math.floor(id / PAGE);
    let page = this.#pages.get(number);
    if (!page) {
      page = { revisions: new Float64Array(PAGE), counted: new Uint8Array(PAGE) };
      this.#pages.set(number, page);
    }
    return page;
  }
  #blockBefore(id: number): number {
    let low = 0;
    for (let high = this.#blocks.length; low < high;) {
      const middle = (low + high) >> 1;
      if ((this.#blocks[middle]?.task ?? 0) <= id) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
  #blockOf(id: TaskId): Block | undefined {
    const block = this.#blocks[this.#blockBefore(id)];
    return block && id < block.task + block.count ? block : undefined;
  }

  /** The revision of the last change of a task; 0 for one that has no row. */
  revisionOf(id: TaskId): number {
    const own = this.#pages.get(Math.floor(id / PAGE))?.revisions[id % PAGE] ?? 0;
    if (own > 0) return own;
    const block = this.#blockOf(id);
    return block ? block.revision + (id - block.task) : 0;
  }

  copyCounts(): TaskCounts {
    return this.counts;
  }

  /** Tasks with a revision above `since`, by rising revision. */
  *after(since: number): Generator<TaskId, void> {
    for (let number = Math.floor(since / CHUNK); number < this.#chunks.length; number++) {
      const chunk = this.#chunks[number];
      if (chunk) for (const { task } of this.#entries(chunk, since + 1)) yield task;
    }
  }
  *#entries(chunk: Chunk, from: number): Generator<{ readonly revision: number; readonly task: TaskId }> {
    if (chunk.few) {
      for (const each of chunk.few)
        if (each.revision >= from && this.revisionOf(each.task) === each.revision) yield each;
      return;
    }
    for (let at = Math.max(0, from - chunk.first); at < chunk.count; at++) {
      const task = asTaskId(chunk.ids?.[at] ?? chunk.from + at);
      const revision = chunk.first + at;
      if (this.revisionOf(task) === revision) yield { revision, task };
    }
  }
}

const codes: ReadonlyMap<TaskState, number> = new Map(taskStates.map((state, at) => [state, at + 1]));
const codeOf = (state: TaskState): number => codes.get(state) ?? 0;

const idsOf = ({ from, count }: Chunk): number[] => Array.from({ length: count }, (_, at) => from + at);
