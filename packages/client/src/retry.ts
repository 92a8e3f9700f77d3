import { settledStates, type ObjectId, type TaskSpec } from "@rain/protocol";
import { badRequest, show, wrongType } from "./check.ts";
import { checkUsable, nameObject, recordOf, type DataObject } from "./data-object.ts";
import type { Graph } from "./graph.ts";
import type { Origin } from "./origin.ts";
import type { Pattern } from "./pattern.ts";
import type { Session } from "./session.ts";
import { describeTask, Task, taskRecordOf } from "./task.ts";

/** Objects of the tasks that are retried, and the new ones in their place. */
type Renewed = ReadonlyMap<ObjectId, DataObject>;

/**
 * Adds a task in the place of each of these, with the same description. Those that read an output of another of them
 * read the new one. Nothing is changed when it throws.
 */
export function retryTasks(
  session: Session,
  graph: Graph,
  tasks: readonly Task[],
  origin: Origin,
): readonly Task[] {
  if (!Array.isArray(tasks)) throw wrongType(`retry: needs a list of tasks, not ${show(tasks)}`);
  const own = [...new Set(tasks)].map((task) => checkReplaceable(session, task));
  // A task of one session has a larger number than those that make its inputs.
  const ordered = own.toSorted((a, b) => a.spec.id - b.spec.id);
  const coming = new Set(ordered.flatMap(({ spec }) => spec.outputs.map(({ object }) => object)));
  for (const { task, spec } of ordered)
    for (const { object } of spec.inputs) if (!coming.has(object)) checkInput(session, graph, task, object);
  const renewed = new Map<ObjectId, DataObject>();
  const added = new Map<Task, Task>();
  for (const { task, spec } of ordered) {
    const made = graph.add(patternOf(graph, spec, renewed), origin);
    graph.noteReplaced(task, made);
    for (const [index, output] of spec.outputs.entries()) {
      const object = made.outputs.at(index);
      if (output.keep) object.keep();
      renewed.set(output.object, object);
    }
    added.set(task, made);
  }
  return tasks.map((task) => added.get(task) ?? task);
}

interface Replaceable {
  readonly task: Task;
  readonly spec: TaskSpec;
}

function checkReplaceable(session: Session, task: Task): Replaceable {
  if (!(task instanceof Task)) throw wrongType(`retry: must be a task, not ${show(task)}`);
  const { state, replacedBy, sent } = taskRecordOf(task);
  const what = `retry: ${describeTask(task)}`;
  if (task.session !== session) throw badRequest(`${what} does not belong to session ${session.id}`);
  if (!sent) throw badRequest(`${what} is not submitted; submit() comes first`);
  if (replacedBy !== undefined)
    throw badRequest(`${what} was retried already: task ${session.id}/${replacedBy} is in its place`);
  if (!settledStates.some((settled) => settled === state))
    throw badRequest(
      `${what} is ${state ?? "submitted"}: only a task that has ended can run again; wait() for it`,
    );
  return { task, spec: task.spec };
}

function checkInput(session: Session, graph: Graph, task: Task, id: ObjectId): void {
  const object = graph.object(id);
  if (!object) throw badRequest(`retry: ${describeTask(task)}: its input ${id} is not known here`);
  const { producer, state } = recordOf(object);
  if (producer && state === "failed")
    throw badRequest(
      `retry: ${describeTask(task)}: its input ${nameObject(object)} can never come, since ${describeTask(producer)} ` +
        "did not finish; retry that task along with it",
    );
  checkUsable(object, session);
}

function patternOf(graph: Graph, spec: TaskSpec, renewed: Renewed): Pattern {
  const { id, work, inputs, outputs, origin: _, ...common } = spec;
  return {
    what: "retry",
    work,
    inputs: inputs.map(({ object: read, label, path, write = false, shared = false, contentType = "" }) => {
      const object = renewed.get(read) ?? graph.object(read);
      return { object, label, path, write, shared, contentType, kind: object?.kind };
    }),
    outputs: outputs.map(({ label, kind, contentType, user, path, capture }) => ({
      label,
      kind,
      contentType,
      user,
      path,
      capture,
    })),
    common: { ...common, replaces: id },
  };
}
