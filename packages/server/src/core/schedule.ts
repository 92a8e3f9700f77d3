import type { LiveGovernor, LiveTask, ResourceClass } from "./live.ts";
import { isFull } from "./live.ts";
import type { Room } from "./places.ts";
import { isBefore } from "./queue.ts";

/** What the scheduler sees. */
export interface Snapshot {
  readonly classes: readonly ResourceClass[];
  /** Governors with room for a task of this class. What `take` gives them is counted. */
  roomOf(of: ResourceClass): Room;
  /** Of those, the one where this task is best run; `first` has the most room. */
  nearest(
    live: LiveTask,
    room: Room,
    first: LiveGovernor,
    isFree: (governor: LiveGovernor) => boolean,
  ): LiveGovernor;
  readonly now: number;
  /** A class blocked for longer than this gets the next fitting governor to itself. */
  readonly reserveAfterMs: number;
  /** At most so many assignments; the rest waits for the next call. */
  readonly limit: number;
}

export interface Assignment {
  readonly live: LiveTask;
  readonly governor: LiveGovernor;
}

/**
 * Places ready tasks, best first over all classes: `take` is called for each and must take it out of its queue.
 * Works on the heads of the queues, one a resource class, and never walks all tasks or all governors. A class whose
 * head fits nowhere is left for this round; when that lasted for `reserveAfterMs`, the governor that could hold it and
 * has the most free gets nothing else, so that small tasks cannot starve a large one. The classes of a session that
 * has as many attempts as it may have are passed over. Answers which governors large tasks wait for.
 */
export function schedule(
  snapshot: Snapshot,
  take: (assignment: Assignment) => void,
): ReadonlySet<LiveGovernor> {
  const classes = snapshot.classes.filter((each) => each.queue.size > 0 && mayStart(each));
  const reserved = new Set<LiveGovernor>();
  const isFree = (governor: LiveGovernor): boolean => !reserved.has(governor);
  for (let placed = 0; placed < snapshot.limit && classes.length > 0;) {
    const best = bestClass(classes);
    if (best === undefined) break;
    const of = classes[best];
    const head = of?.queue.peek();
    if (!head || !of || !mayStart(of)) {
      classes.splice(best, 1);
      continue;
    }
    const room = snapshot.roomOf(of);
    const first = room.first(isFree);
    if (first === undefined) {
      of.blockedSince ??= snapshot.now;
      if (snapshot.now - of.blockedSince > snapshot.reserveAfterMs) {
        const one = reserve(of, room, reserved, snapshot.now);
        if (one !== undefined) reserved.add(one);
      }
      classes.splice(best, 1);
      continue;
    }
    of.blockedSince = undefined;
    of.reserved = undefined;
    take({ live: head, governor: snapshot.nearest(head, room, first, isFree) });
    placed++;
  }
  return reserved;
}

/** A session with as many attempts as it may have is not blocked by governors: it reserves none. */
export function mayStart(of: ResourceClass): boolean {
  if (!of.gate || !isFull(of.gate)) return true;
  of.blockedSince = undefined;
  of.reserved = undefined;
  return false;
}

function bestClass(classes: readonly ResourceClass[]): number | undefined {
  let best: number | undefined;
  let bestHead: LiveTask | undefined;
  for (const [at, each] of classes.entries()) {
    const head = each.queue.peek();
    if (head && (!bestHead || isBefore(head, bestHead))) {
      best = at;
      bestHead = head;
    }
  }
  return best;
}

/** How long a choice among all governors stands before it is made again. */
const CHOOSE_AGAIN_MS = 500;

/** The governor that will be able to hold a task of this class soonest: it gets nothing else. */
function reserve(
  of: ResourceClass,
  room: Room,
  reserved: ReadonlySet<LiveGovernor>,
  now: number,
): LiveGovernor | undefined {
  const { able } = room;
  const before = of.reserved;
  if (before && now - before.at < CHOOSE_AGAIN_MS) {
    const { governor } = before;
    if (governor === undefined || (able.has(governor) && !reserved.has(governor))) return governor;
  }
  let best: LiveGovernor | undefined;
  for (const governor of able) {
    if (reserved.has(governor)) continue;
    if (best === undefined || governor.free.cpus > best.free.cpus) best = governor;
  }
  of.reserved = { governor: best, at: now };
  return best;
}
