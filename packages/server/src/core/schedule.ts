import type { LiveGovernor, LiveTask, ResourceClass } from "./live.ts";
import { isFull } from "./live.ts";
import type { Spot } from "./locality.ts";
import type { Room } from "./places.ts";
import { isBefore } from "./queue.ts";

/** What the scheduler sees. */
export interface Snapshot {
  readonly classes: readonly ResourceClass[];
  /** Governors with room for a task of this class. What `take` gives them is counted. */
  roomOf(of: ResourceClass): Room;
  /** Where this task is best run: `first` has the most room. At a busy governor only if it may wait there. */
  nearest(
    live: LiveTask,
    room: Room,
    first: LiveGovernor,
    isFree: (governor: LiveGovernor) => boolean,
    mayWait: (governor: LiveGovernor) => boolean,
  ): Spot;
  readonly now: number;
  /** A class blocked for longer than this gets the next fitting governor to itself. */
  readonly reserveAfterMs: number;
  /** At most so many assignments; the rest waits for the next call. */
  readonly limit: number;
}

export interface Assignment {
  readonly live: LiveTask;
  readonly spot: Spot;
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
  for (const of of classes) if (of.firstAt !== undefined) of.soFarMs = snapshot.now - of.firstAt;
  const reserved = new Set<LiveGovernor>();
  const full = new Set<Room>();
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
    const first = full.has(room) ? undefined : room.first(isFree);
    if (first === undefined) {
      of.blockedSince ??= snapshot.now;
      const since = Math.max(of.blockedSince, room.placedAt);
      if (!full.has(room) && snapshot.now - since > snapshot.reserveAfterMs) {
        const one = reserve(of, room, reserved, snapshot.now);
        if (one !== undefined) reserved.add(one);
      }
      full.add(room);
      classes.splice(best, 1);
      continue;
    }
    of.blockedSince = undefined;
    of.reserved = undefined;
    of.firstAt ??= snapshot.now;
    room.placedAt = snapshot.now;
    // Nothing waits before what came first in the order and found no room.
    const mayWait = (governor: LiveGovernor): boolean =>
      isFree(governor) && ![...full].some((other) => other.able.has(governor));
    take({ live: head, spot: snapshot.nearest(head, room, first, isFree, mayWait) });
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
