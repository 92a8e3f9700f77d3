import { outputsOf } from "./apply-tasks.ts";
import { expectedMs, type Live, type LiveTask, type ResourceClass } from "./live.ts";
import type { Session, Task } from "./state.ts";

/** The length of the longest path behind a task: what its consumers take, and what is behind them. */
function levelOf({ task }: LiveTask, live: Live): number {
  let level = 0;
  for (const output of outputsOf(task)) {
    for (const consumer of output.consumers) {
      const below = live.tasks.get(consumer);
      if (below) level = Math.max(level, below.level + expectedMs(below.class));
    }
  }
  return level;
}

function setLevel(entry: LiveTask, level: number): void {
  const isQueued = entry.phase.kind === "ready";
  if (isQueued) entry.class.queue.leave(entry);
  entry.level = level;
  if (isQueued) entry.class.queue.push(entry);
}

/**
 * Gives new tasks their levels; older open tasks that feed them are raised too. Each task is visited again only when
 * its level grew.
 */
export function assignLevels(tasks: readonly Task[], live: Live): void {
  // Consumers come after producers in a valid order of submit more often than not, so going backwards settles most at once.
  const work: LiveTask[] = [];
  for (const task of tasks) {
    const entry = live.tasks.get(task);
    if (entry) work.push(entry);
  }
  // Those that feed a new task may be older, and longer paths begin with them now, also when nothing is behind it.
  const unseen = new Set(work);
  for (let entry = work.pop(); entry; entry = work.pop()) {
    const level = levelOf(entry, live);
    const isNew = unseen.delete(entry);
    if (level <= entry.level && !isNew) continue;
    if (level > entry.level) setLevel(entry, level);
    for (const input of entry.task.inputs) {
      if (input.producer === undefined) continue;
      const producer = input.session.tasks.there(input.producer);
      const above = producer && live.tasks.get(producer);
      if (above && above.level < level + expectedMs(entry.class)) work.push(above);
    }
  }
}

/** Levels follow what is learned of durations when they are off by more than this factor. */
const OFF = 1.5;
/** Tasks that one step looks at. */
const STEP = 1_000;
/** Between two passes; longer after one over many tasks. */
const PASS_MS = 500;
const PASS_MS_PER_TASK = 0.01;

/** Keeps the levels of sessions with paths up to what is learned of durations, some tasks at a time. */
export class Levels {
  readonly #live: Live;
  #isStale = false;
  #sessions: Session[] = [];
  #tasks: Task[] = [];
  #nextPass: number = -Infinity;
  #seen = 0;

  constructor(live: Live) {
    this.#live = live;
  }

  learned(of: ResourceClass): void {
    const ms = expectedMs(of);
    if (ms > of.levelMs * OFF || ms * OFF < of.levelMs) this.#isStale = true;
  }

  /** Goes on with the pass, or begins one when durations have changed. */
  step(now: number): void {
    if (this.#tasks.length === 0 && !this.#next(now)) return;
    for (let left = STEP; left > 0; left--) {
      // Consumers come after producers in a session.
      const task = this.#tasks.pop();
      if (!task) return;
      const entry = this.#live.tasks.get(task);
      if (!entry) continue;
      const level = levelOf(entry, this.#live);
      if (level !== entry.level) setLevel(entry, level);
    }
  }

  #next(now: number): boolean {
    if (this.#sessions.length === 0 && !this.#begin(now)) return false;
    const session = this.#sessions.pop();
    if (!session) return false;
    this.#tasks = [...session.open];
    this.#seen += this.#tasks.length;
    this.#nextPass = now + Math.max(PASS_MS, this.#seen * PASS_MS_PER_TASK);
    return true;
  }

  #begin(now: number): boolean {
    if (!this.#isStale || now < this.#nextPass) return false;
    this.#isStale = false;
    this.#seen = 0;
    this.#nextPass = now + PASS_MS;
    for (const of of this.#live.classes.values()) of.levelMs = expectedMs(of);
    for (const [session, { isLinked }] of this.#live.sessions) if (isLinked) this.#sessions.push(session);
    return true;
  }
}
