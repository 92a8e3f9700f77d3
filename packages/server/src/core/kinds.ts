import type { SessionId, TaskSpec } from "@rain/protocol";
import { demandKey, demandOf } from "./demand.ts";
import { newClass, type Live, type LiveSession, type ResourceClass } from "./live.ts";
import { ReadyQueue } from "./queue.ts";
import { classKey, toAmounts } from "./resources.ts";

/**
 * Tasks of a kind are taken to run for about the same time: they were made at the same line of a script, run the same
 * program, and their names are the same up to the first digit.
 */
function kindOf({ work, name, origin }: Pick<TaskSpec, "work" | "name" | "origin">): string {
  const digit = name?.search(/\d/) ?? -1;
  const stem = digit < 0 ? (name ?? "") : (name ?? "").slice(0, digit);
  return `${origin ?? ""}|${programOf(work)}|${stem.slice(0, LONGEST_STEM)}`;
}

const LONGEST_STEM = 64;

function programOf(work: TaskSpec["work"]): string {
  if (work.type === "execute") {
    const [first] = work.args;
    return typeof first === "string" && work.shell !== true ? first : "execute";
  }
  return work.type === "custom" ? work.method : work.type;
}

/** More kinds of a shape than this are not told apart: each is a queue whose head every round looks at. */
const KINDS = 32;
/** How often a place is looked for when all are taken. */
const LOOK_EACH = 100;

/** The class of a task. Whatever asks for the same, in sessions without a limit of their own, has the same shape. */
export function classOf(
  live: Live,
  spec: Pick<TaskSpec, "request" | "labels" | "work" | "name" | "origin">,
  id: SessionId,
  session: LiveSession,
): ResourceClass {
  const request = toAmounts(spec.request);
  const demand = demandOf(spec);
  const gate = session.parallelism === undefined ? undefined : session;
  const shape = `${classKey(request)}${demandKey(demand)}${gate ? `@${id}` : ""}`;
  const kind = kindOf(spec);
  const known = live.classes.get(shape + kind);
  if (known) return known;
  const isOther = !hasPlace(live, shape);
  const key = isOther ? shape : shape + kind;
  const other = live.classes.get(key);
  if (other) return other;
  const made = newClass({ request, demand, queue: new ReadyQueue(), gate, shape, allRuns: live.runs });
  live.classes.set(key, made);
  live.kinds.set(shape, (live.kinds.get(shape) ?? 0) + 1);
  return made;
}

/** May this shape have one more kind? When it has many, those without open tasks are forgotten. */
function hasPlace(live: Live, shape: string): boolean {
  if ((live.kinds.get(shape) ?? 0) < KINDS) return true;
  if (live.order % LOOK_EACH !== 0) return false;
  for (const [key, of] of live.classes) {
    if (of.shape !== shape || of.tasks > 0 || of.queue.size > 0) continue;
    live.classes.delete(key);
    live.kinds.set(shape, (live.kinds.get(shape) ?? 0) - 1);
  }
  return (live.kinds.get(shape) ?? 0) < KINDS;
}
