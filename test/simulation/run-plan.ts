import { asObjectId, asTaskId, type Digest, type TaskId, type TaskSpec } from "@rain/protocol";
import type { ClientPlan, SubmitPlan } from "./plan.ts";
import { argsOf, behaviourOf, contentOf } from "./programs.ts";
import type { Random } from "./random.ts";

/** What a client does beside its tasks when its session is a run. */
export interface RunPlan {
  /** Its session's name is its own. */
  readonly unique: boolean;
  readonly parallelism: number | undefined;
  readonly maxFails: number | undefined;
  /** Probability that a task that did not finish is tried once more by another one in its place. */
  readonly again: number;
  readonly datastores: readonly DatastorePlan[];
}
export interface DatastorePlan {
  readonly key: string;
  /** Clients have names in common. */
  readonly name: string;
  readonly size: number;
  readonly sha256: Digest;
}

const LARGE_BYTES = 90_000;

/** Makes a run of what a client does; from a source of chance of its own, so that the rest stays as it is. */
export function planRun(random: Random, plan: ClientPlan): ClientPlan {
  const datastores = Array.from({ length: random.int(0, 2) }, (_, at): DatastorePlan => {
    const { size, sha256 } = contentOf(`${plan.name} datastore ${at}`, LARGE_BYTES);
    return { key: random.token("datastore"), name: random.pick(["digits", "letters"]), size, sha256 };
  });
  const run: RunPlan = {
    unique: random.chance(0.5),
    parallelism: random.chance(0.5) ? random.int(1, 3) : undefined,
    maxFails: random.chance(0.3) ? random.int(1, 3) : undefined,
    again: random.pick([0, 0.5, 1]),
    datastores,
  };
  const measured = random.pick([0, 0.3, 1]);
  const submits = plan.submits.map((submit): SubmitPlan => {
    const tasks = submit.tasks.map((task) => (random.chance(measured) ? withMetrics(random, task) : task));
    const constants = submit.constants.map((constant) => {
      if (constant.data !== undefined || datastores.length === 0 || random.chance(0.5)) return constant;
      const { size, sha256 } = random.pick(datastores);
      return { ...constant, size, sha256 };
    });
    return { ...submit, tasks, constants };
  });
  return { ...plan, submits, run };
}

function withMetrics(random: Random, task: TaskSpec): TaskSpec {
  if (task.work.type !== "execute") return task;
  const behaviour = { ...behaviourOf(task), points: random.int(1, 12) };
  return { ...task, metrics: true, work: { ...task.work, args: argsOf(behaviour) } };
}

/** New tasks in the place of these. */
export function planAgain(random: Random, tasks: readonly TaskSpec[]): SubmitPlan {
  const FIRST = 1_000;
  return {
    key: random.token("again"),
    delay: random.skewed(0, 1_000),
    tasks: tasks.map((task) => ({
      ...task,
      id: asTaskId(FIRST + task.id),
      name: `${task.name} again`,
      replaces: task.id satisfies TaskId,
      outputs: task.outputs.map((output) => ({ ...output, object: asObjectId(FIRST + output.object) })),
    })),
    constants: [],
    unkeeps: [],
    cancels: [],
    looks: [],
  };
}
