import { RainError, type ObjectId, type ObjectKind, type TaskId, type TaskSpec } from "@rain/protocol";
import { checkWork } from "./check-work.ts";
import { isNeeded, type Session } from "./state.ts";
import type { Submit } from "./types.ts";

/** Says what is wrong with a submit, or nothing. Nothing of a refused submit takes effect. */
export function checkSubmit(session: Session, submit: Submit): RainError | undefined {
  const made = new Map<ObjectId, TaskId | undefined>();
  const addObject = (id: ObjectId, by: TaskId | undefined, what: string): RainError | undefined => {
    if (session.objects.has(id) || made.has(id)) {
      return new RainError(
        "duplicate-id",
        `${what}: data object o${id} exists already in session ${session.id}`,
      );
    }
    made.set(id, by);
    return undefined;
  };
  const kinds = new Map<ObjectId, ObjectKind>();
  for (const constant of submit.constants) {
    kinds.set(constant.id, constant.kind);
    const what = `constant o${constant.id} (${constant.label})`;
    const problem = addObject(constant.id, undefined, what);
    if (problem) return problem;
    if (constant.kind === "directory" && constant.contentType !== "") {
      return new RainError(
        "bad-request",
        `${what}: a directory has no content type, not ${constant.contentType}`,
      );
    }
    if (constant.data && constant.data.length !== constant.size) {
      return new RainError(
        "bad-request",
        `${what}: size says ${constant.size} bytes, but ${constant.data.length} came`,
      );
    }
  }
  const ids = new Set<TaskId>();
  const replaced = new Set<TaskId>();
  for (const spec of submit.tasks) {
    if (session.tasks.has(spec.id) || ids.has(spec.id)) {
      return new RainError("duplicate-id", `${describe(spec)} exists already in session ${session.id}`);
    }
    ids.add(spec.id);
    const wrong = checkReplaces(session, spec, replaced);
    if (wrong !== undefined) return bad(spec, wrong);
    for (const output of spec.outputs) {
      const problem = addObject(output.object, spec.id, describe(spec));
      if (problem) return problem;
      kinds.set(output.object, output.kind);
    }
  }
  for (const spec of submit.tasks) {
    const problem = checkInputs(session, spec, made);
    if (problem) return problem;
    const wrong = checkWork(spec, (id) => kinds.get(id) ?? session.objects.get(id)?.kind);
    if (wrong !== undefined) return bad(spec, wrong);
  }
  return findCycle(submit.tasks, made);
}

const describe = (spec: TaskSpec): string =>
  spec.name ? `task ${spec.id} (${spec.name})` : `task ${spec.id}`;
const bad = (spec: TaskSpec, what: string): RainError =>
  new RainError("bad-request", `${describe(spec)}: ${what}`, { task: spec.id });

/** Only a settled task of an earlier submit can be replaced, and only once. */
function checkReplaces(session: Session, { replaces }: TaskSpec, replaced: Set<TaskId>): string | undefined {
  if (replaces === undefined) return undefined;
  const old = session.tasks.get(replaces);
  if (!old) return `it replaces task ${replaces}, which session ${session.id} does not have`;
  if (old.state.kind === "open")
    return `it replaces task ${replaces}, which has not settled; cancel it first`;
  if (old.replacedBy !== undefined)
    return `it replaces task ${replaces}, which task ${old.replacedBy} has replaced already`;
  if (replaced.has(replaces)) return `it replaces task ${replaces}, as another task of this submit does`;
  replaced.add(replaces);
  return undefined;
}

/** Inputs are objects of this submit, constants of an earlier one, or kept results. */
function checkInputs(
  session: Session,
  spec: TaskSpec,
  made: ReadonlyMap<ObjectId, TaskId | undefined>,
): RainError | undefined {
  for (const [at, { object: id }] of spec.inputs.entries()) {
    if (made.has(id)) continue;
    const object = session.objects.get(id);
    const where = `${describe(spec)}: input ${at}, data object o${id}`;
    const facts = { task: spec.id, object: id };
    if (!object) return new RainError("unknown-object", `${where}, does not exist`, facts);
    if (object.state.kind === "removed" || (object.producer === undefined && !isNeeded(object))) {
      return new RainError(
        "object-removed",
        `${where}, was removed; keep() it before the submit that makes it`,
        facts,
      );
    }
    if (object.state.kind === "failed") {
      return new RainError("object-failed", `${where}, can never come: its task did not finish`, facts);
    }
    if (!object.keep) {
      return new RainError(
        "not-kept",
        `${where}, is of an earlier submit and is not kept; keep() it before the submit that makes it`,
        facts,
      );
    }
  }
  return undefined;
}

/** Only tasks of one submit can form a cycle: older ones cannot name newer objects. */
function findCycle(
  tasks: readonly TaskSpec[],
  made: ReadonlyMap<ObjectId, TaskId | undefined>,
): RainError | undefined {
  const waitsFor = new Map<TaskId, number>();
  const consumers = new Map<TaskId, TaskId[]>();
  for (const spec of tasks) {
    const producers = new Set<TaskId>();
    for (const { object } of spec.inputs) {
      const producer = made.get(object);
      if (producer !== undefined) producers.add(producer);
    }
    waitsFor.set(spec.id, producers.size);
    for (const producer of producers) {
      const list = consumers.get(producer);
      if (list) list.push(spec.id);
      else consumers.set(producer, [spec.id]);
    }
  }
  const free = [...waitsFor].filter(([, count]) => count === 0).map(([id]) => id);
  let sorted = 0;
  for (let id = free.pop(); id !== undefined; id = free.pop()) {
    sorted++;
    for (const consumer of consumers.get(id) ?? []) {
      const left = (waitsFor.get(consumer) ?? 0) - 1;
      waitsFor.set(consumer, left);
      if (left === 0) free.push(consumer);
    }
  }
  if (sorted === tasks.length) return undefined;
  const stuck = tasks.filter((spec) => (waitsFor.get(spec.id) ?? 0) > 0).slice(0, 5);
  return new RainError(
    "cycle",
    `the graph has a cycle: ${stuck.map(describe).join(", ")} wait for their own outputs or lie behind such tasks`,
  );
}
