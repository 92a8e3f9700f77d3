import { meets } from "./demand.ts";
import { isBefore } from "./queue.ts";
import { fits, minus, type Amounts } from "./resources.ts";
import { isFull, type LiveGovernor, type LiveTask, type ResourceClass } from "./live.ts";

/** What the scheduler sees. It changes nothing but the `free` copies that it is given. */
export interface Snapshot {
  readonly classes: readonly ResourceClass[];
  readonly governors: readonly { readonly governor: LiveGovernor; free: Amounts }[];
  /** Bytes of the task's inputs that lie on each governor that has some. */
  localBytes(live: LiveTask): ReadonlyMap<LiveGovernor, number>;
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
 * Works on the heads of the queues, one a resource class, and never walks all tasks. A class whose head fits nowhere
 * is left for this round; when that lasted for `reserveAfterMs`, the governor that could hold it and has the most
 * free gets nothing else, so that small tasks cannot starve a large one. The classes of a session that has as many
 * attempts as it may have are passed over.
 */
export function schedule(snapshot: Snapshot, take: (assignment: Assignment) => void): Rest {
  const classes = snapshot.classes.filter((each) => each.queue.size > 0 && mayStart(each));
  const governors = [...snapshot.governors];
  const reserved: LiveGovernor[] = [];
  for (let placed = 0; placed < snapshot.limit && classes.length > 0 && governors.length > 0;) {
    const best = bestClass(classes);
    if (best === undefined) break;
    const head = classes[best]?.queue.peek();
    const of = classes[best];
    if (!head || !of || !mayStart(of)) {
      classes.splice(best, 1);
      continue;
    }
    const chosen = chooseGovernor(of, governors, snapshot, head);
    if (chosen === undefined) {
      of.blockedSince ??= snapshot.now;
      if (snapshot.now - of.blockedSince > snapshot.reserveAfterMs) {
        const one = reserve(of, governors);
        if (one !== undefined) reserved.push(one);
      }
      classes.splice(best, 1);
      continue;
    }
    of.blockedSince = undefined;
    chosen.free = minus(chosen.free, of.request);
    take({ live: head, governor: chosen.governor });
    placed++;
  }
  return { open: governors.map(({ governor }) => governor), reserved };
}

/** The governors by what became of them: those that a large task waits for get nothing else. */
interface Rest {
  readonly open: readonly LiveGovernor[];
  readonly reserved: readonly LiveGovernor[];
}

/** A session with as many attempts as it may have is not blocked by governors: it reserves none. */
export function mayStart(of: ResourceClass): boolean {
  if (!of.gate || !isFull(of.gate)) return true;
  of.blockedSince = undefined;
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

type Place = Snapshot["governors"][number];

/** The governor with the most of the inputs' bytes, then with the most free cpus, then the first. */
function chooseGovernor(
  { request, demand }: ResourceClass,
  governors: readonly Place[],
  snapshot: Snapshot,
  head: LiveTask,
): Place | undefined {
  const local = head.task.inputs.length > 0 ? snapshot.localBytes(head) : undefined;
  let chosen: Place | undefined;
  let chosenBytes = -1;
  for (const place of governors) {
    if (!fits(request, place.free) || !meets(demand, place.governor.hello)) continue;
    const bytes = local?.get(place.governor) ?? 0;
    if (!chosen || bytes > chosenBytes || (bytes === chosenBytes && place.free.cpus > chosen.free.cpus)) {
      chosen = place;
      chosenBytes = bytes;
    }
  }
  return chosen;
}

/** Takes the governor that will be able to hold a task of this class soonest out of this round. */
function reserve({ request, demand }: ResourceClass, governors: Place[]): LiveGovernor | undefined {
  let best: number | undefined;
  for (const [at, place] of governors.entries()) {
    if (!fits(request, place.governor.capacity) || !meets(demand, place.governor.hello)) continue;
    if (best === undefined || place.free.cpus > (governors[best]?.free.cpus ?? 0)) best = at;
  }
  return best === undefined ? undefined : governors.splice(best, 1)[0]?.governor;
}
