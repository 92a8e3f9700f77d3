import { limits, RainError, utf8Length, type ObjectId, type TaskId, type TaskSpec } from "@rain/protocol";
import { checkCustom } from "./check-custom.ts";
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
  for (const constant of submit.constants) {
    const what = `constant o${constant.id} (${constant.label})`;
    const problem = addObject(constant.id, undefined, what);
    if (problem) return problem;
    if (constant.data && constant.data.length !== constant.size) {
      return new RainError(
        "bad-request",
        `${what}: size says ${constant.size} bytes, but ${constant.data.length} came`,
      );
    }
  }
  const ids = new Set<TaskId>();
  for (const spec of submit.tasks) {
    if (session.tasks.has(spec.id) || ids.has(spec.id)) {
      return new RainError("duplicate-id", `${describe(spec)} exists already in session ${session.id}`);
    }
    ids.add(spec.id);
    for (const output of spec.outputs) {
      const problem = addObject(output.object, spec.id, describe(spec));
      if (problem) return problem;
    }
  }
  for (const spec of submit.tasks) {
    const problem = checkWork(spec) ?? checkInputs(session, spec, made);
    if (problem) return problem;
  }
  return findCycle(submit.tasks, made);
}

const describe = (spec: TaskSpec): string =>
  spec.name ? `task ${spec.id} (${spec.name})` : `task ${spec.id}`;
const bad = (spec: TaskSpec, what: string): RainError =>
  new RainError("bad-request", `${describe(spec)}: ${what}`, { task: spec.id });

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

function checkWork(spec: TaskSpec): RainError | undefined {
  const { work, inputs, outputs } = spec;
  const paths = new Set<string>();
  for (const each of [...inputs, ...outputs]) {
    if (each.path === undefined) continue;
    if (paths.has(each.path) && work.type === "execute")
      return bad(spec, `the path ${each.path} is used twice`);
    paths.add(each.path);
  }
  switch (work.type) {
    case "execute": {
      if (work.stdin !== undefined && work.stdin >= inputs.length) {
        return bad(spec, `stdin is input ${work.stdin}, but there are ${inputs.length} inputs`);
      }
      let bytes = 0;
      for (const arg of work.args) {
        if (typeof arg === "string") bytes += utf8Length(arg) + 1;
        else if ("input" in arg && inputs[arg.input]?.path === undefined) {
          return bad(spec, `an argument is input ${arg.input}, which has no path`);
        } else if ("output" in arg && outputs[arg.output]?.path === undefined) {
          return bad(spec, `an argument is output ${arg.output}, which has no path`);
        }
      }
      for (const [name, value] of Object.entries(work.env ?? {}))
        bytes += utf8Length(name) + utf8Length(value) + 2;
      if (bytes > limits.argsBytes) {
        return bad(spec, `arguments and environment have ${bytes} bytes; the limit is ${limits.argsBytes}`);
      }
      for (const output of outputs) {
        if ((output.path === undefined) === (output.capture === undefined)) {
          return bad(spec, `output ${output.label} needs a path, or to be stdout or stderr, and not both`);
        }
      }
      return undefined;
    }
    case "concat":
    case "sleep": {
      if (outputs.length !== 1) return bad(spec, `${work.type} has one output, not ${outputs.length}`);
      if (work.type === "sleep" && inputs.length !== 1) {
        return bad(spec, `sleep has one input, not ${inputs.length}`);
      }
      return undefined;
    }
    case "custom": {
      const problem = checkCustom(spec);
      return problem === undefined ? undefined : bad(spec, problem);
    }
  }
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
