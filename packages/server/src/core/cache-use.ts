import type { GovernorId, ObjectId, OutputReport, ReplyOf, ServerToGovernor } from "@rain/protocol";
import { sizeOf, type CacheEntry } from "./cache.ts";
import { cacheKey } from "./cache-key.ts";
import type { Kernel } from "./kernel.ts";
import { knows, type LiveGovernor, type LiveTask } from "./live.ts";
import { isNeeded, type DataObject, type Task } from "./state.ts";

type Adopted = Extract<ServerToGovernor, { type: "adopt" }>["objects"][number];

/** Finishes ready tasks that need not run, because the same task finished before and what it made is still there. */
export class CacheUse {
  readonly #k: Kernel;
  /** Tasks with `cache` that became ready and were not looked up yet. */
  #ready: Set<LiveTask> = new Set();

  constructor(k: Kernel) {
    this.#k = k;
  }

  noteReady(live: LiveTask): void {
    if (live.task.spec.cache === true) this.#ready.add(live);
  }

  /** Looks up at most `limit` of the tasks that became ready. Answers whether some are left. */
  serve(limit: number): boolean {
    let left = limit;
    // Those that become ready by a hit come after the others.
    for (const live of this.#ready) {
      if (left === 0) return true;
      left -= 1;
      this.#ready.delete(live);
      this.take(live);
    }
    return false;
  }

  /** Finishes this task without an attempt, if that can be; answers whether. */
  take(live: LiveTask): boolean {
    const { task } = live;
    if (task.spec.cache !== true || task.mustRun || live.phase.kind !== "ready") return false;
    const entry = this.find(task);
    const result = entry && this.#outputs(task, entry);
    if (!entry || !result) return false;
    const { session, spec } = task;
    const { outputs, holders } = result;
    const copies: { object: ObjectId; governor: GovernorId }[] = [];
    for (const [{ id: object }, [first]] of holders) if (first) copies.push({ object, governor: first.id });
    const { info } = entry;
    const from = { session: entry.session, task: entry.task, name: entry.name };
    const cost = info.cost === undefined ? {} : { cost: 0 };
    this.#k.commit({
      type: "cached",
      session: session.id,
      task: spec.id,
      from,
      outputs,
      copies,
      info: { ...info, ...cost, cached: true },
    });
    this.#adopt(holders);
    return true;
  }

  /** The entry for what this task asks. */
  find(task: Task): CacheEntry | undefined {
    const { cache } = this.#k.durable;
    if (cache.count === 0) return undefined;
    const key = cacheKey(task);
    return key === undefined ? undefined : cache.get(key);
  }

  /** The outputs as they would be reported, and who has the large ones; undefined when bytes of one are nowhere. */
  #outputs(
    task: Task,
    entry: CacheEntry,
  ): { outputs: OutputReport[]; holders: Map<DataObject, LiveGovernor[]> } | undefined {
    const outputs: OutputReport[] = [];
    const holders = new Map<DataObject, LiveGovernor[]>();
    for (const [at, { object: id }] of task.spec.outputs.entries()) {
      const object = task.session.objects.get(id);
      const cached = entry.outputs[at];
      if (!object || !cached) return undefined;
      const { gone: _gone, ...report } = cached;
      outputs.push({ object: id, ...report });
      if (report.data || !isNeeded(object)) continue;
      const there = this.#holders(entry, at);
      if (there.length === 0) return undefined;
      holders.set(object, there);
    }
    return { outputs, holders };
  }

  /**
   * Governors from which a large output can be read now, and that can be told to hold it under another name: those of
   * the first task that still has it.
   */
  #holders(entry: CacheEntry, at: number): LiveGovernor[] {
    const { live, durable, copies } = this.#k;
    for (const [session, id] of entry.sources) {
      const of = durable.sessions.get(session);
      const output = of?.tasks.get(id)?.spec.outputs[at];
      const object = output && of?.objects.get(output.object);
      if (object?.state.kind !== "finished" || object.state.sha256 !== entry.outputs[at]?.sha256) continue;
      const there: LiveGovernor[] = [];
      for (const holder of copies.readableFrom(object)) {
        const governor = live.governors.get(holder);
        if (governor && !governor.leaving && knows(governor, "adopt")) there.push(governor);
      }
      if (there.length > 0) return there;
    }
    return [];
  }

  /** The copies of the one task are copies of the other. Goes out before anything that is dropped in this step. */
  #adopt(holders: ReadonlyMap<DataObject, readonly LiveGovernor[]>): void {
    const byGovernor = new Map<LiveGovernor, DataObject[]>();
    for (const [object, governors] of holders) {
      for (const governor of governors) {
        this.#k.copies.add(object, governor);
        byGovernor.set(governor, [...(byGovernor.get(governor) ?? []), object]);
      }
    }
    for (const [governor, objects] of byGovernor) this.tellToAdopt(governor, objects);
  }

  /** Says that the bytes of these objects, which are there under another name, are copies of them too. */
  tellToAdopt(governor: LiveGovernor, list: readonly DataObject[]): void {
    const objects: Adopted[] = [];
    for (const { session, id, state } of list) {
      if (state.kind === "finished") objects.push({ session: session.id, object: id, sha256: state.sha256 });
    }
    if (objects.length > 0) this.#k.send(governor, { type: "adopt", objects });
  }
}

export function listCache({ durable }: Kernel, max: number): ReplyOf<"cache.list"> {
  const { cache } = durable;
  const newest = [...cache.entries()].slice(-max).toReversed();
  const entries = newest.map((entry) => {
    const { session, task, name, hits } = entry;
    return { session, task, name, hits, size: sizeOf(entry) };
  });
  return { entries, count: cache.count, bytes: cache.size };
}

export function clearCache(k: Kernel): ReplyOf<"cache.clear"> {
  const removed = k.durable.cache.count;
  if (removed > 0) k.commit({ type: "cache.cleared" });
  return { removed };
}
