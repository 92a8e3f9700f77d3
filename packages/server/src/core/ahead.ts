import type { AttemptRef } from "@rain/protocol";
import { meets } from "./demand.ts";
import { attemptKey, type Kernel } from "./kernel.ts";
import type { HeldAttempt, LiveGovernor, LiveTask, ResourceClass } from "./live.ts";
import { isBefore } from "./queue.ts";
import { fits, minus } from "./resources.ts";
import { mayStart } from "./schedule.ts";

/**
 * Work ahead: when nobody has room, a governor that runs short tasks of a class is given more of the same, so that it
 * need not ask for each. An attempt that waits there holds nothing of the governor. Since it has the resource request
 * of those that run, the next of them to end makes room for it: nothing large waits behind it, and nothing of it
 * behind something large.
 */

/** Most attempts ahead for each that can run at once: enough for some rounds of messages. */
const AHEAD_PER_PLACE = 16;
/** Most attempts ahead on one governor. */
const AHEAD_PER_GOVERNOR = 512;
/** A run is never taken for shorter than this: starting it takes as long. */
const SHORTEST_RUN_MS = 1;

/** A run of this class took so long. Longer ones count more: too much work ahead is worse than too little. */
export function learn(of: ResourceClass, ms: number): void {
  const { runMs } = of;
  const weight = runMs === undefined ? 1 : ms > runMs ? 0.5 : 0.1;
  of.runMs = (runMs ?? 0) * (1 - weight) + Math.max(SHORTEST_RUN_MS, ms) * weight;
}

/** Room became free: attempts that waited have it before anything else, as on the governor itself. */
export function promote(governor: LiveGovernor): void {
  for (const [key, held] of governor.ahead) {
    if (!fits(held.request, governor.free)) continue;
    governor.ahead.delete(key);
    governor.free = minus(governor.free, held.request);
  }
}

/** The governor started an attempt that was thought to wait: then another of its kind does. */
export function startedAhead(governor: LiveGovernor, ref: AttemptRef): void {
  const key = attemptKey(ref);
  const held = governor.attempts.get(key);
  if (!held) return;
  held.started = true;
  if (!governor.ahead.has(key)) return;
  for (const [otherKey, other] of governor.attempts) {
    if (other.started || other.of !== held.of || governor.ahead.has(otherKey)) continue;
    governor.ahead.delete(key);
    governor.ahead.set(otherKey, other);
    return;
  }
}

/** Did this attempt run, as far as can be known? */
export const mayHaveRun = (governor: LiveGovernor, held: HeldAttempt): boolean =>
  held.started || !governor.ahead.has(attemptKey(held));

/**
 * Places ready tasks that fit nowhere now, best first. A class closes the governors that could run it to all that
 * come after it, whether or not it can have work ahead there: so the order of tasks stays what it is.
 */
export function assignAhead(
  k: Kernel,
  governors: readonly LiveGovernor[],
  limit: number,
  assign: (live: LiveTask, governor: LiveGovernor) => void,
): void {
  const open = new Set(governors.filter((governor) => governor.hello?.ahead === true));
  const classes = [...k.live.classes.values()];
  for (let placed = 0; placed < limit && open.size > 0;) {
    const of = bestClass(classes);
    const head = of?.queue.peek();
    if (!of || !head) return;
    const chosen = choose(k, of, open);
    if (chosen) {
      assign(head, chosen);
      placed++;
      continue;
    }
    classes.splice(classes.indexOf(of), 1);
    for (const governor of open) {
      if (!couldRun(of, governor)) continue;
      open.delete(governor);
      retractBelow(k, governor, head.task.spec.priority ?? 0);
    }
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

const couldRun = ({ request, demand }: ResourceClass, governor: LiveGovernor): boolean =>
  fits(request, governor.capacity) && meets(demand, governor.hello);

/** The governor with the least work ahead for what it can run at once. */
function choose(k: Kernel, of: ResourceClass, open: Iterable<LiveGovernor>): LiveGovernor | undefined {
  const { runMs } = of;
  if (runMs === undefined || runMs > k.config.aheadMs) return undefined;
  const each = Math.min(AHEAD_PER_PLACE, Math.ceil(k.config.aheadMs / runMs));
  let chosen: LiveGovernor | undefined;
  let least = each;
  for (const governor of open) {
    const [first] = governor.ahead.values();
    if (governor.ahead.size >= AHEAD_PER_GOVERNOR || (first && first.of !== of)) continue;
    const running = runningOf(of, governor);
    const load = running === 0 ? Infinity : governor.ahead.size / running;
    if (load >= least) continue;
    chosen = governor;
    least = load;
  }
  return chosen;
}

/** Attempts of this class that hold resources of the governor. */
function runningOf(of: ResourceClass, governor: LiveGovernor): number {
  return (governor.held.get(of) ?? 0) - countAhead(of, governor);
}
function countAhead(of: ResourceClass, governor: LiveGovernor): number {
  const [first] = governor.ahead.values();
  return first?.of === of ? governor.ahead.size : 0;
}

function retractBelow(k: Kernel, governor: LiveGovernor, priority: number): void {
  for (const held of governor.ahead.values()) if (held.priority < priority) retract(k, governor, held);
}

/** Asks for an attempt back that was not started yet. Its governor says "stopped", or goes on with it. */
function retract(k: Kernel, governor: LiveGovernor, held: HeldAttempt): void {
  if (held.retracted || governor.hello?.ahead !== true) return;
  held.retracted = true;
  const { session, task, attempt } = held;
  k.send(governor, { type: "retract", session, task, attempt });
}

export function retractAll(k: Kernel, governor: LiveGovernor): void {
  for (const held of governor.ahead.values()) retract(k, governor, held);
}

/** Work that waits on one governor goes to another that has room and nothing else to do. */
export function rebalance(k: Kernel, governors: readonly LiveGovernor[]): void {
  const loaded = governors.filter((governor) => governor.ahead.size > 0);
  if (loaded.length === 0) return;
  for (const idle of governors) {
    if (idle.ahead.size > 0) continue;
    let { free } = idle;
    for (const governor of loaded) {
      for (const held of [...governor.ahead.values()].toReversed()) {
        if (!held.of || held.of.queue.size > 0) continue;
        if (!fits(held.request, free) || !meets(held.of.demand, idle.hello)) continue;
        free = minus(free, held.request);
        retract(k, governor, held); // once; one that is on its way has its room already
      }
    }
  }
}
