import type { AttemptRef } from "@rain/protocol";
import { attemptKey, type Kernel } from "./kernel.ts";
import type { HeldAttempt, LiveGovernor, LiveTask, ResourceClass } from "./live.ts";
import type { Order, Room } from "./places.ts";
import { readAhead, type Spot } from "./locality.ts";
import { isBefore } from "./queue.ts";
import { fits, howOften, minus } from "./resources.ts";
import { mayStart } from "./schedule.ts";

/**
 * Work ahead: when nobody has room, a governor that runs short tasks of a class is given more of the same, so that it
 * need not ask for each. An attempt that waits there holds nothing of the governor. Since it has the resource request
 * of those that run, the next of them to end makes room for it: nothing large waits behind it, and nothing of it
 * behind something large.
 */

/** Most attempts ahead on one governor. */
const AHEAD_PER_GOVERNOR = 2_048;
/** A run is never taken for shorter than this, so that there are at most 100 ahead for each that runs. */
const SHORTEST_RUN_MS = 1;
/** Of many governors with work ahead, those with too little priority are looked for no more often than this. */
const LOOK_AGAIN_MS = 50;
const MANY = 64;
/** Governors beside those with its bytes that are looked at for a long task that must read. */
const READERS = 4;
/** Governors with room, and with work ahead for them, that one round looks at. */
const BALANCED = 16;

/** A run took so long. Longer ones count more for work ahead: too much of it is worse than too little. */
export function learn(k: Kernel, held: HeldAttempt, seconds: number | undefined): void {
  const { of } = held;
  if (!of) return;
  const ms = seconds === undefined ? k.now - held.since : seconds * 1_000;
  of.runs.add(ms);
  of.allRuns.add(ms);
  k.levels.learned(of);
  if (seconds === undefined) return;
  k.reading.learn(held, k.now, ms);
  const { runMs } = of;
  const weight = runMs === undefined ? 1 : ms > runMs ? 0.5 : 0.1;
  of.runMs = (runMs ?? 0) * (1 - weight) + Math.max(SHORTEST_RUN_MS, ms) * weight;
}

export function putAhead(governor: LiveGovernor, held: HeldAttempt): void {
  const { ahead } = governor;
  if (ahead.size === 0) governor.leastAhead = Infinity;
  governor.aheadRoom = ahead.size === 0 || governor.aheadRoom === held.room ? held.room : undefined;
  if (!held.retracted) governor.leastAhead = Math.min(governor.leastAhead, held.priority);
  if (held.room) held.room.hasWaited = true;
  ahead.add(held);
}
export function clearAhead(governor: LiveGovernor): void {
  governor.ahead.clear();
  governor.aheadRoom = undefined;
  governor.leastAhead = Infinity;
}

/** Room became free: attempts that waited have it before anything else, as on the governor itself. */
export function promote(governor: LiveGovernor, now: number): void {
  for (let held = governor.ahead.first; held;) {
    const { behind } = held;
    if (fits(held.request, governor.free)) {
      governor.ahead.delete(held);
      governor.free = minus(governor.free, held.request);
      held.since = now;
      held.missing = 0; // it had time to read
    } else if (governor.aheadRoom) return; // so are all others
    held = behind;
  }
}

/** The governor started an attempt that was thought to wait: then another of its kind does. */
export function startedAhead(k: Kernel, governor: LiveGovernor, ref: AttemptRef): void {
  const held = governor.attempts.get(attemptKey(ref));
  if (!held) return;
  held.started = true;
  if (!held.isAhead) return;
  for (const other of governor.attempts.values()) {
    if (other.started || other.room !== held.room || other.isAhead) continue;
    governor.ahead.delete(held);
    putAhead(governor, other);
    k.places.touch(governor);
    return;
  }
}

/** Did this attempt run, as far as can be known? */
export const mayHaveRun = ({ started, isAhead }: HeldAttempt): boolean => started || !isAhead;

/** Governors by the work of a class that waits there for each task of it that runs: least first, most first. */
export interface AheadOrders {
  readonly least: Order;
  readonly most: Order;
}
function ordersOf(k: Kernel, room: Room): AheadOrders {
  room.waits ??= {
    least: k.places.order((governor) => {
      if (governor.hello?.ahead !== true || governor.ahead.size >= AHEAD_PER_GOVERNOR) return undefined;
      const load = loadOf(room, governor);
      return load === Infinity ? undefined : load;
    }),
    most: k.places.order((governor) => (governor.ahead.size > 0 ? -loadOf(room, governor) : undefined)),
  };
  return room.waits;
}

/** Attempts ahead for each that runs; Infinity where no such work can wait. */
function loadOf(room: Room, { ahead, aheadRoom, held }: LiveGovernor): number {
  if (ahead.size > 0 && aheadRoom !== room) return Infinity;
  const running = (held.get(room) ?? 0) - ahead.size;
  return running > 0 ? ahead.size / running : Infinity;
}

/**
 * Places ready tasks that fit nowhere now, best first. A class closes the governors that could run it to all that
 * come after it, whether or not it can have work ahead there: so the order of tasks stays what it is.
 */
export function assignAhead(
  k: Kernel,
  reserved: ReadonlySet<LiveGovernor>,
  limit: number,
  assign: (live: LiveTask, spot: Spot) => void,
): void {
  const classes = [...k.live.classes.values()].filter(({ queue }) => queue.size > 0);
  const before: Room[] = [];
  const isOpen = (governor: LiveGovernor): boolean =>
    !reserved.has(governor) && (before.length === 0 || !before.some((room) => room.able.has(governor)));
  for (let placed = 0; placed < limit;) {
    const of = bestClass(classes);
    const head = of?.queue.peek();
    if (!of || !head) return;
    const chosen = choose(k, of, head, isOpen);
    if (chosen) {
      assign(head, chosen);
      placed++;
      continue;
    }
    classes.splice(classes.indexOf(of), 1);
    const room = k.places.roomOf(of);
    if (before.includes(room)) continue;
    retractBelow(k, room, head.task.spec.priority ?? 0);
    if (room.able.size === k.places.open.size) return;
    before.push(room);
  }
}

function bestClass(classes: readonly ResourceClass[]): ResourceClass | undefined {
  let best: ResourceClass | undefined;
  for (const each of classes) {
    const head = mayStart(each) ? each.queue.peek() : undefined;
    const before = best?.queue.peek();
    if (head && (!before || isBefore(head, before))) best = each;
  }
  return best;
}

/** The governor with the least work ahead for what it runs; for a long task, one that can read its inputs meanwhile. */
function choose(
  k: Kernel,
  of: ResourceClass,
  head: LiveTask,
  isOpen: (governor: LiveGovernor) => boolean,
): Spot | undefined {
  const { runMs } = of;
  const room = k.places.roomOf(of);
  const { least } = ordersOf(k, room);
  if (runMs === undefined || runMs > k.config.aheadMs)
    return k.config.aheadMs === 0 ? undefined : readAhead(k, head, room, least.some(READERS), isOpen);
  const each = Math.ceil(k.config.aheadMs / runMs);
  const governor = least.first(isOpen);
  if (!governor || loadOf(room, governor) >= each) return undefined;
  return { governor, ahead: true, missing: 0, stayMs: 0 };
}

/** Asks for attempts of less priority back from governors that could run this class. */
function retractBelow(k: Kernel, room: Room, priority: number): void {
  const { loaded } = k.places;
  if (loaded.size === 0 || priority <= k.places.leastAhead) return;
  if (loaded.size > MANY && k.now - room.lookedAt < LOOK_AGAIN_MS) return;
  room.lookedAt = k.now;
  let leastOfAll = Infinity;
  for (const governor of loaded) {
    if (governor.leastAhead < priority && governor.hello?.ahead === true && room.able.has(governor)) {
      let least = Infinity;
      for (const held of governor.ahead) {
        if (held.priority < priority) retract(k, governor, held);
        else if (!held.retracted) least = Math.min(least, held.priority);
      }
      governor.leastAhead = least;
    }
    leastOfAll = Math.min(leastOfAll, governor.leastAhead);
  }
  k.places.leastAhead = leastOfAll;
}

/** Asks for an attempt back that was not started yet. Its governor says "stopped", or goes on with it. */
function retract(k: Kernel, governor: LiveGovernor, held: HeldAttempt): void {
  if (held.retracted || governor.hello?.ahead !== true) return;
  held.retracted = true;
  if (held.room) held.room.retracted++;
  const { session, task, attempt } = held;
  k.send(governor, { type: "retract", session, task, attempt });
}

export function retractAll(k: Kernel, governor: LiveGovernor): void {
  for (const held of governor.ahead) retract(k, governor, held);
}

/** Work that waits on one governor goes to another that has room and nothing else to do. */
export function rebalance(k: Kernel, reserved: ReadonlySet<LiveGovernor>): void {
  if (k.places.loaded.size === 0) return;
  const rooms = new Map<Room, ResourceClass>();
  const wanted = new Set<Room>();
  for (const of of k.live.classes.values()) {
    if (!of.room?.hasWaited) continue;
    rooms.set(of.room, of);
    if (of.queue.size > 0) wanted.add(of.room); // others come there
  }
  for (const [room, { request }] of rooms) {
    const { most } = ordersOf(k, room);
    if (wanted.has(room) || !most.first()) continue;
    let count = -room.retracted; // what is on its way has its room already
    for (const governor of room.some(BALANCED))
      if (governor.ahead.size === 0 && !reserved.has(governor)) count += howOften(request, governor.free);
    if (count > 0) takeBack(k, most.some(BALANCED), count);
  }
}

/** Asks for so many attempts back, the last ones first, in turn from each of these governors. */
function takeBack(k: Kernel, governors: readonly LiveGovernor[], count: number): void {
  const waiting = governors.map((governor) => ({
    governor,
    left: [...governor.ahead].filter((held) => !held.retracted && held.staysUntil <= k.now),
  }));
  for (let taken = 0, some = true; some && taken < count;) {
    some = false;
    for (const { governor, left } of waiting) {
      const held = taken < count ? left.pop() : undefined;
      if (!held) continue;
      some = true;
      taken++;
      retract(k, governor, held);
    }
  }
}
