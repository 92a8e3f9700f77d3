import {
  asObjectId,
  asTaskId,
  type ConstantSpec,
  type ObjectId,
  type OnError,
  type Resources,
  type TaskSpec,
} from "@rain/protocol";
import { argsOf, contentOf, type Behaviour } from "./programs.ts";
import type { Random } from "./random.ts";
import type { RunPlan } from "./run-plan.ts";

/** What one client will do, all of it fixed before the history starts. */
export interface ClientPlan {
  readonly name: string;
  readonly onError: OnError;
  readonly detached: boolean;
  readonly submits: readonly SubmitPlan[];
  /** Goes away for good at this time, ms. */
  readonly vanishesAt: number | undefined;
  /** Closes its session at this time whatever its tasks do, ms. */
  readonly closesAt: number | undefined;
  /** Some of its tasks are the same as others, of this client or of another one, and are asked for with `cache`. */
  readonly cached: boolean;
  /** Tasks that are alike are sent as arrays. */
  readonly inArrays: boolean;
  /** Its session is a run. */
  readonly run?: RunPlan | undefined;
}
export interface SubmitPlan {
  readonly key: string;
  /** After the acknowledgement of the one before, ms. */
  readonly delay: number;
  readonly tasks: readonly TaskSpec[];
  readonly constants: readonly ConstantSpec[];
  /** Objects to let go of and tasks to cancel, each so long after the acknowledgement. */
  readonly unkeeps: readonly { readonly after: number; readonly objects: readonly ObjectId[] }[];
  /** Without tasks: all. */
  readonly cancels: readonly {
    readonly after: number;
    readonly tasks?: readonly TaskSpec["id"][] | undefined;
  }[];
  /** When it looks at its tasks, each so long after the acknowledgement. */
  readonly looks: readonly number[];
}

/** Kinds of work that a history has; drawn once, so that histories differ from one another. */
interface Mood {
  readonly longest: number;
  readonly keep: number;
  readonly large: number;
  readonly failing: number;
  readonly flaky: number;
  readonly random: number;
  readonly greedy: number;
  readonly fanIn: number;
}

const LARGE_BYTES = 100_000;

/** Programs that tasks with `cache` run: few, so that many tasks are the same. */
const sameBehaviours: readonly Behaviour[] = [
  { sizes: [20] },
  { sizes: [LARGE_BYTES] },
  { sizes: [30, LARGE_BYTES], ms: 2_000 },
  { sizes: [LARGE_BYTES], ms: 500, random: true },
  { sizes: [40], flaky: 0.3 },
].map((each) => ({ ms: 50, exit: 0, flaky: 0, stubborn: false, random: false, ...each }));

/**
 * `cached`: the chance of everything about `cache`, for a history that has it; `arrays`: of everything about arrays.
 * Sources of their own.
 */
export function planClient(
  random: Random,
  name: string,
  safetyMs: number,
  cached: Random | undefined,
  arrays?: Random,
): ClientPlan {
  const mood: Mood = {
    longest: random.pick([50, 2_000, 20_000]),
    keep: random.pick([0.1, 0.5, 1]),
    large: random.pick([0, 0.3, 0.8]),
    failing: random.pick([0, 0, 0.1]),
    flaky: random.pick([0, 0.3]),
    random: random.pick([0, 0.2]),
    greedy: random.pick([0.1, 0.6]),
    fanIn: random.pick([1, 2, 5]),
  };
  const builder = new Builder(random, name, mood, cached, arrays);
  const submits: SubmitPlan[] = [];
  const count = random.int(1, 3);
  for (let at = 0; at < count; at++) submits.push(builder.submit(random.int(2, 16), safetyMs));
  return {
    name,
    onError: random.chance(0.3) ? "fail" : "continue",
    detached: random.chance(0.3),
    submits,
    vanishesAt: random.chance(0.05) ? random.between(0, safetyMs) : undefined,
    closesAt: random.chance(0.1)
      ? random.between(0, safetyMs)
      : cached?.chance(0.4) === true
        ? cached.between(0, 1.5 * safetyMs)
        : undefined,
    cached: cached !== undefined,
    inArrays: arrays !== undefined,
  };
}

class Builder {
  readonly #random: Random;
  readonly #name: string;
  readonly #mood: Mood;
  readonly #cached: Random | undefined;
  readonly #arrays: Random | undefined;
  #task = 0;
  #object = 0;
  /** Kept by earlier submits: what a later one may use. */
  #kept: ObjectId[] = [];

  constructor(
    random: Random,
    name: string,
    mood: Mood,
    cached: Random | undefined,
    arrays: Random | undefined,
  ) {
    this.#arrays = arrays;
    this.#cached = cached;
    this.#random = random;
    this.#name = name;
    this.#mood = mood;
  }

  submit(size: number, safetyMs: number): SubmitPlan {
    const random = this.#random;
    const constants = Array.from({ length: random.int(0, 3) }, () => this.#constant());
    const objects = [...this.#kept, ...constants.map(({ id }) => id)];
    const tasks: TaskSpec[] = [];
    const shape = random.pick(["chain", "fan", "layers", "any"] as const);
    let layer = objects.slice();
    let next: ObjectId[] = [];
    for (let at = 0; at < size; at++) {
      const all = this.#from(shape, at, tasks, layer, objects);
      const from = this.#alike ? all.filter((id) => constants.some((constant) => constant.id === id)) : all;
      const task = this.#taskOver(from);
      tasks.push(task);
      for (const { object } of task.outputs) {
        objects.push(object);
        next.push(object);
      }
      if (shape === "layers" && next.length >= 4) {
        layer = next;
        next = [];
      }
    }
    tasks.push(...this.#alikeOver(objects));
    const kept = tasks.flatMap((task) => task.outputs.filter(({ keep }) => keep).map(({ object }) => object));
    const unkept = kept.filter(() => random.chance(0.2));
    this.#kept.push(...kept.filter((object) => !unkept.includes(object)));
    this.#kept.push(...constants.filter(({ keep }) => keep).map(({ id }) => id));
    const some = tasks.filter(() => random.chance(0.1)).map(({ id }) => id);
    return {
      key: random.token("submit"),
      delay: random.skewed(0, safetyMs / 2),
      tasks,
      constants,
      unkeeps: unkept.map((object) => ({ after: random.skewed(0, safetyMs), objects: [object] })),
      cancels: [
        ...(random.chance(0.15) && some.length > 0
          ? [{ after: random.skewed(0, safetyMs), tasks: some }]
          : []),
        ...(this.#arrays?.chance(0.15) === true ? [{ after: this.#arrays.skewed(0, safetyMs) }] : []),
      ],
      looks: Array.from(
        { length: this.#arrays?.int(0, 4) ?? 0 },
        () => this.#arrays?.between(0, safetyMs) ?? 0,
      ),
    };
  }

  /** Runs of tasks that are alike: over nothing, over one object, or over another object each. */
  #alikeOver(objects: readonly ObjectId[]): TaskSpec[] {
    const arrays = this.#arrays;
    const tasks: TaskSpec[] = [];
    for (let runs = arrays?.int(0, 3) ?? 0; arrays && runs > 0; runs--) {
      const count = arrays.int(2, 25);
      const from = objects.length > 0 && arrays.chance(0.5) ? [arrays.pick(objects)] : [];
      const behaviour = {
        // Many of them, one at a time, still come to an end.
        ms: Math.round(arrays.skewed(1, Math.min(2_000, this.#mood.longest))),
        exit: arrays.chance(0.1) ? 1 : 0,
        flaky: arrays.pick([0, 0, 0.3]),
        stubborn: false,
        random: false,
        sizes: arrays.pick([[], [20], [20], [30, 5], [LARGE_BYTES]]),
      };
      const first = this.#task;
      const keep = arrays.chance(0.6);
      const isEach = objects.length > 0 && arrays.chance(0.2);
      const request = { cpus: arrays.pick([0.5, 1, 2]), gpus: 0, memory: 0, named: {} };
      for (let at = 0; at < count; at++) {
        const id = asTaskId(this.#task++);
        const inputs = (isEach ? [arrays.pick(objects)] : from).map((object) => ({ object, path: "in" }));
        tasks.push({
          id,
          name: `${this.#name} array ${first} task ${id}`,
          work: {
            type: "execute",
            args: argsOf(behaviour),
            env: { RAIN_TASK: `${at}`, WORD: arrays.token("w") },
          },
          inputs,
          outputs: behaviour.sizes.map((_size, k) => ({
            object: asObjectId(this.#object++),
            label: `out${k}`,
            kind: "blob",
            contentType: "",
            keep,
            path: `out${k}`,
          })),
          request,
          retries: 2,
        });
      }
    }
    return tasks;
  }

  #from(
    shape: "chain" | "fan" | "layers" | "any",
    at: number,
    tasks: readonly TaskSpec[],
    layer: readonly ObjectId[],
    objects: readonly ObjectId[],
  ): ObjectId[] {
    const random = this.#random;
    const outputs = (task: TaskSpec | undefined): ObjectId[] =>
      task?.outputs.map(({ object }) => object) ?? [];
    switch (shape) {
      case "chain":
        return outputs(tasks.at(-1));
      case "fan":
        if (at === 0) return [];
        return random.chance(0.2) ? tasks.flatMap(outputs) : outputs(tasks[0]);
      case "layers":
      case "any": {
        const pool = shape === "layers" ? layer : objects;
        if (pool.length === 0) return [];
        return Array.from({ length: random.int(0, this.#mood.fanIn) }, () => random.pick(pool));
      }
    }
  }

  #constant(): ConstantSpec {
    const random = this.#random;
    const id = asObjectId(this.#object++);
    const large = random.chance(this.#mood.large);
    const size = large ? LARGE_BYTES : random.int(0, 100);
    const shared = this.#cached?.int(0, 2);
    const content =
      shared === undefined
        ? contentOf(`${this.#name} constant ${id}`, size)
        : contentOf(`constant ${shared}`, large ? LARGE_BYTES : 10);
    const base = {
      id,
      kind: "blob",
      label: `constant ${id}`,
      contentType: "",
      keep: random.chance(0.5),
    } as const;
    return content.data ? { ...base, ...content } : { ...base, size: content.size, sha256: content.sha256 };
  }

  #taskOver(from: readonly ObjectId[]): TaskSpec {
    const random = this.#random;
    const mood = this.#mood;
    const id = asTaskId(this.#task++);
    const same = this.#cached?.chance(0.7) === true ? this.#cached.pick(sameBehaviours) : undefined;
    const count = random.chance(0.05) ? 0 : random.chance(0.2) ? 2 : 1;
    const own = Array.from({ length: count }, () =>
      random.chance(mood.large) ? LARGE_BYTES + random.int(0, 3) * 50_000 : random.int(0, 60),
    );
    const sizes = same?.sizes ?? own;
    const ms = Math.round(random.skewed(1, mood.longest));
    const fails = random.chance(mood.failing);
    const how = {
      ms,
      exit: fails ? random.int(1, 5) : 0,
      flaky: random.chance(0.3) ? mood.flaky : 0,
      stubborn: random.chance(0.1),
      random: random.chance(mood.random),
    };
    return {
      id,
      ...(same ? { cache: true } : {}),
      name: `${this.#name} task ${id}`,
      work: {
        type: "execute",
        args: argsOf(same ?? { ...how, sizes }),
      },
      // Of many inputs hardly ever all are the same.
      inputs: [...new Set(same ? from.slice(0, this.#cached?.int(0, 1)) : from)].map((object, at) => ({
        object,
        path: `in${at}`,
      })),
      outputs: sizes.map((_size, at) => ({
        object: asObjectId(this.#object++),
        label: `out${at}`,
        kind: "blob",
        contentType: "",
        keep: random.chance(mood.keep),
        path: `out${at}`,
      })),
      request: this.#request(),
      ...(random.chance(0.3) ? { retries: random.int(1, 4) } : {}),
      ...(random.chance(0.1) ? { priority: random.int(-2, 2) } : {}),
      ...(random.chance(0.05) ? { timeoutS: random.pick([0.01, 1, 100]) } : {}),
    };
  }

  /** Many tasks of one kind that are ready at once, as a sweep has them: governors get them ahead. */
  get #alike(): boolean {
    return this.#mood.fanIn === 1;
  }

  #request(): Resources {
    const random = this.#random;
    if (this.#alike) return { cpus: 2, gpus: 0, memory: 0, named: {} };
    const greedy = random.chance(this.#mood.greedy);
    return {
      cpus: greedy ? random.pick([2, 4]) : random.pick([0, 0.1, 0.5, 1]),
      gpus: greedy && random.chance(0.3) ? random.pick([1, 2]) : 0,
      memory: random.pick([0, 1e9, 3e9]),
      named: random.chance(0.1) ? { slot: 1 } : {},
    };
  }
}

/** Capacity of a governor; the first one can hold every request. */
export function planCapacity(random: Random, number: number): Resources {
  if (number === 1) return { cpus: 4, gpus: 2, memory: 8e9, named: { slot: 2 } };
  return {
    cpus: random.int(1, 8),
    gpus: random.int(0, 2),
    memory: random.pick([2e9, 8e9]),
    named: random.chance(0.3) ? { slot: 1 } : {},
  };
}
