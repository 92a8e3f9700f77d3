import {
  limits,
  type Digest,
  type ObjectId,
  type SessionId,
  type TaskId,
  type TaskInfo,
  type UserAttributes,
} from "@rain/protocol";
import type { DataObject, Task } from "./state.ts";

/** One output of a task that finished, as another task may take it over. */
export interface CachedOutput {
  readonly size: number;
  readonly sha256: Digest;
  readonly contentType: string;
  readonly user?: UserAttributes | undefined;
  /** Small ones stay as long as the entry does. */
  readonly data?: Uint8Array | undefined;
  /** It is large, and its task does not have the bytes: nobody needed them, or it has those of an earlier run. */
  readonly gone?: boolean | undefined;
}

/** What is remembered of a task that finished with `cache`. */
export interface CacheEntry {
  readonly key: string;
  /** The task that really ran. Its session may be closed. */
  readonly session: SessionId;
  readonly task: TaskId;
  readonly name: string | undefined;
  readonly outputs: readonly CachedOutput[];
  readonly info: TaskInfo;
  hits: number;
  /** Tasks whose outputs have the bytes of the large ones: the last one of each session, oldest session first. */
  readonly sources: Map<SessionId, TaskId>;
}

const isLarge = (output: CachedOutput): boolean => output.data === undefined && output.gone !== true;
/** Bytes that the server itself keeps for an entry, nearly. */
const weightOf = ({ key, outputs }: CacheEntry): number =>
  outputs.reduce((sum, { data }) => sum + (data?.length ?? 0), key.length);
export const sizeOf = ({ outputs }: CacheEntry): number => outputs.reduce((sum, { size }) => sum + size, 0);

/**
 * Results of finished tasks by what was asked. A part of the durable state: it follows from the records alone, and
 * refers to objects only by number, so that nothing of a closed session stays but what an entry has itself.
 */
export class Cache {
  /** By key; the one that was made or used last is last. */
  readonly #entries: Map<string, CacheEntry> = new Map();
  readonly #bySource: Map<SessionId, Map<TaskId, CacheEntry>> = new Map();
  #size = 0;
  #weight = 0;

  get count(): number {
    return this.#entries.size;
  }
  /** Bytes of the outputs of all entries. */
  get size(): number {
    return this.#size;
  }
  /** Oldest first. */
  entries(): Iterable<CacheEntry> {
    return this.#entries.values();
  }
  get(key: string): CacheEntry | undefined {
    return this.#entries.get(key);
  }

  /** Takes an entry in place of the one with its key; the oldest make room. */
  add(entry: CacheEntry): void {
    this.#delete(this.#entries.get(entry.key));
    this.#entries.set(entry.key, entry);
    this.#size += sizeOf(entry);
    this.#weight += weightOf(entry);
    for (const [session, task] of entry.sources) {
      // It ran again over other inputs: what it has now is this entry's.
      const before = this.#bySource.get(session)?.get(task);
      if (before) this.#sourceGone(before, session);
      this.#index(session, task, entry);
    }
    for (const oldest of this.#entries.values()) {
      if (this.#entries.size <= limits.cacheEntries && this.#weight <= limits.cacheBytes) break;
      this.#delete(oldest);
    }
  }

  /** A task finished for real: `outputs` are its objects, after everything that nobody needs was dropped. */
  finished(key: string, task: Task, info: TaskInfo, outputs: readonly CachedOutput[]): void {
    const { session, spec } = task;
    const sources = new Map([[session.id, spec.id]]);
    const entry = {
      key,
      session: session.id,
      task: spec.id,
      name: spec.name,
      outputs,
      info,
      hits: 0,
      sources,
    };
    this.add(entry);
  }

  /** A task took an entry over; when it has the bytes too, they are there once more. */
  hit(key: string, task: Task): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    entry.hits += 1;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    const { session, spec } = task;
    const hasAll = entry.outputs.every((output, at) => {
      const id = spec.outputs[at]?.object;
      return !isLarge(output) || (id !== undefined && session.objects.get(id)?.state.kind === "finished");
    });
    if (!hasAll) return;
    const before = entry.sources.get(session.id);
    if (before !== undefined) this.#bySource.get(session.id)?.delete(before);
    // Set again, so that the order is that of the last use.
    entry.sources.delete(session.id);
    entry.sources.set(session.id, spec.id);
    this.#index(session.id, spec.id, entry);
  }

  /** The bytes of an object are not needed any more, or lost. */
  objectGone(object: DataObject): void {
    const { session, producer, id } = object;
    if (producer === undefined) return;
    const entry = this.#bySource.get(session.id)?.get(producer);
    if (!entry) return;
    const at = session.tasks.get(producer)?.spec.outputs.findIndex((output) => output.object === id) ?? -1;
    const output = entry.outputs[at];
    if (output && isLarge(output)) this.#sourceGone(entry, session.id);
  }

  sessionClosed(id: SessionId): void {
    for (const entry of [...(this.#bySource.get(id)?.values() ?? [])]) this.#sourceGone(entry, id);
    this.#bySource.delete(id);
  }

  clear(): void {
    this.#entries.clear();
    this.#bySource.clear();
    this.#size = 0;
    this.#weight = 0;
  }

  #sourceGone(entry: CacheEntry, session: SessionId): void {
    const task = entry.sources.get(session);
    if (task !== undefined) this.#bySource.get(session)?.delete(task);
    entry.sources.delete(session);
    if (entry.sources.size === 0 && entry.outputs.some(isLarge)) this.#delete(entry);
  }
  #index(session: SessionId, task: TaskId, entry: CacheEntry): void {
    const tasks = this.#bySource.get(session);
    if (tasks) tasks.set(task, entry);
    else this.#bySource.set(session, new Map([[task, entry]]));
  }
  #delete(entry: CacheEntry | undefined): void {
    if (!entry || !this.#entries.delete(entry.key)) return;
    this.#size -= sizeOf(entry);
    this.#weight -= weightOf(entry);
    for (const [session, task] of entry.sources) this.#bySource.get(session)?.delete(task);
  }
}

/**
 * The outputs of a run as an entry keeps them; undefined when one of them was not reported. Those of the run, and not
 * the task's objects: where it ran again for one lost output, the others are of an earlier run, perhaps of other inputs.
 */
export function cachedOutputs(
  task: Task,
  reports: readonly (Omit<CachedOutput, "gone"> & { readonly object: ObjectId })[],
): CachedOutput[] | undefined {
  const outputs: CachedOutput[] = [];
  for (const { object: id } of task.spec.outputs) {
    const state = task.session.objects.get(id)?.state;
    const report = reports.find(({ object }) => object === id);
    if (!report) return undefined;
    const { size, sha256, contentType, user, data } = report;
    const isThere = state?.kind === "finished" && state.sha256 === sha256;
    outputs.push({
      size,
      sha256,
      contentType,
      ...(user && { user }),
      ...(data ? { data } : isThere ? {} : { gone: true }),
    });
  }
  return outputs;
}
