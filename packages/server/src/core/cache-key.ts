import type { TaskSpec } from "@rain/protocol";
import type { Task } from "./state.ts";

/**
 * What makes two tasks the same for `cache`: everything that a program can notice, as one exact text. Fields that are
 * not named here count, so that a new field of a task makes tasks different until somebody says that it does not.
 */

/** Variables that only say who asks: a trial keeps its result when it gets another number, or is in another run. */
const asksOnly: ReadonlySet<string> = new Set(["RAIN_RUN", "RAIN_EXPERIMENT"]);

const none: ReadonlySet<string> = new Set();
/** First part of every key: another one when what stands in a key changes its meaning. */
const KEY_VERSION = 1;

/** Fields of a task that say when, where and for whom it runs, or that have a part of their own in the key. */
const specFields: ReadonlySet<string> = new Set<keyof TaskSpec>([
  "id",
  "work",
  "inputs",
  "outputs",
  "request",
  "name",
  "priority",
  "timeoutS",
  "retries",
  "user",
  "origin",
  "cache",
  "replaces",
]);
const workFields: ReadonlySet<string> = new Set(["env"]);
const inputFields: ReadonlySet<string> = new Set<keyof TaskSpec["inputs"][number]>(["object"]);
const outputFields: ReadonlySet<string> = new Set<keyof TaskSpec["outputs"][number]>([
  "object",
  "keep",
  "user",
]);

/** The key of a task whose inputs are there; undefined when the bytes of one are not known. */
export function cacheKey(task: Task): string | undefined {
  const { spec, session } = task;
  const inputs: unknown[] = [];
  for (const input of spec.inputs) {
    const object = session.objects.get(input.object);
    if (object?.state.kind !== "finished") return undefined;
    const { sha256, contentType } = object.state;
    inputs.push([inOrder(input, inputFields), object.kind, sha256, contentType]);
  }
  const { work } = spec;
  const env = work.type === "execute" ? inOrder(work.env ?? {}, asksOnly) : null;
  const outputs = spec.outputs.map((output) => inOrder(output, outputFields));
  const rest = inOrder(spec, specFields);
  return JSON.stringify([KEY_VERSION, rest, inOrder(work, workFields), env, outputs, inputs]);
}

/** An object as pairs in the order of their names, all the way down: the order in which it was written is no difference. */
function inOrder(value: unknown, leftOut: ReadonlySet<string> = none): unknown {
  if (Array.isArray(value)) return value.map((each) => inOrder(each));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value)
    // A switch that is off is one that was not given.
    .filter(([name, each]) => each !== undefined && each !== false && !leftOut.has(name))
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  return { pairs: entries.map(([name, each]) => [name, inOrder(each)]) };
}

/** Says why a task cannot be asked for `cache`, or nothing. */
export function checkCache({ cache, work, outputs }: TaskSpec): string | undefined {
  if (cache !== true) return undefined;
  if (work.type === "load" || work.type === "store")
    return `cache: ${work.type} reads or writes files of a machine, which may change; leave cache out`;
  if (outputs.length === 0)
    return "cache: it has no output, so that nothing could be taken over; declare one, or leave cache out";
  return undefined;
}
