/** A graph of tasks as a scheduler's quality is measured on: durations in seconds, sizes in bytes. */
export interface Graph {
  readonly name: string;
  readonly tasks: readonly GraphTask[];
  readonly objects: readonly GraphObject[];
}
export interface GraphTask {
  readonly id: number;
  /** Tasks that do the same have the same kind. */
  readonly kind: string;
  readonly durationS: number;
  /** What its author would say before it ran. */
  readonly expectedS: number;
  readonly cpus: number;
  readonly inputs: GraphObject[];
  readonly outputs: GraphObject[];
}
export interface GraphObject {
  readonly id: number;
  readonly size: number;
  readonly expectedSize: number;
  readonly producer: GraphTask;
  readonly consumers: GraphTask[];
}

/** Sizes in the definitions are in MiB. */
export const MIB = 1_048_576;
export interface Size {
  readonly mib: number;
  readonly expected: number;
}

export class GraphMaker {
  readonly tasks: GraphTask[] = [];
  readonly objects: GraphObject[] = [];

  /** `duration`: what it takes and what is expected, seconds. */
  task(
    kind: string,
    duration: { readonly s: number; readonly expected: number },
    more: { cpus?: number; inputs?: readonly GraphObject[]; outputs?: readonly Size[] } = {},
  ): GraphTask {
    const { cpus = 1, inputs = [], outputs = [] } = more;
    const task: GraphTask = {
      id: this.tasks.length,
      kind,
      durationS: duration.s,
      expectedS: duration.expected,
      cpus,
      inputs: [...inputs],
      outputs: [],
    };
    this.tasks.push(task);
    for (const input of inputs) input.consumers.push(task);
    for (const { mib, expected } of outputs) {
      const object: GraphObject = {
        id: this.objects.length,
        size: Math.ceil(mib * MIB),
        expectedSize: Math.ceil(expected * MIB),
        producer: task,
        consumers: [],
      };
      this.objects.push(object);
      task.outputs.push(object);
    }
    return task;
  }

  done(name: string): Graph {
    return { name, tasks: this.tasks, objects: this.objects };
  }
}

/** The only output of a task that has one. */
export function outputOf(task: GraphTask): GraphObject {
  const [first] = task.outputs;
  if (first === undefined || task.outputs.length > 1)
    throw new Error(`${task.kind} has ${task.outputs.length} outputs`);
  return first;
}

/** Seconds from the start of each task to the end of the graph, transfers not counted. */
export function bLevels(graph: Graph, secondsOf: (task: GraphTask) => number): number[] {
  const levels: number[] = [];
  // Producers come before consumers.
  for (const task of graph.tasks.toReversed()) {
    let below = 0;
    for (const { consumers } of task.outputs)
      for (const { id } of consumers) below = Math.max(below, levels[id] ?? 0);
    levels[task.id] = below + secondsOf(task);
  }
  return levels;
}
