import { atCaller } from "./origin.ts";
import { executePattern, type Argument, type ExecuteOptions } from "./execute.ts";
import { checkOptions } from "./check.ts";
import { fillSlots, type Pattern } from "./pattern.ts";
import type { ObjectLike } from "./slots.ts";
import { readTaskOptions, taskOptionNames, type TaskOptions } from "./task-options.ts";

/** For the library's own files: the pattern of a program with its slots filled. */
export let fillProgram: (
  program: Program,
  inputs: Readonly<Record<string, ObjectLike>>,
  options: TaskOptions,
) => Pattern;

/** A pattern of tasks: arguments and options as for `session.execute`, where an `input(label)` is filled at each run. */
export class Program {
  readonly #pattern: Pattern;

  static {
    fillProgram = (program, inputs, options) => {
      const pattern = fillSlots(program.#pattern, inputs);
      checkOptions("run", options, new Set(taskOptionNames));
      const { request, ...rest } = readTaskOptions("run", options);
      const asksResources = ["cpus", "gpus", "memory", "resources"].some((name) => name in options);
      return { ...pattern, common: { ...pattern.common, ...rest, ...(asksResources && { request }) } };
    };
  }

  constructor(args: string | readonly Argument[], options: ExecuteOptions = {}) {
    this.#pattern = atCaller({ Program }, "Program", () => executePattern(args, options));
  }

  /** Labels of the inputs that each run fills. */
  get inputs(): readonly string[] {
    return this.#pattern.inputs.flatMap((slot) =>
      slot.object || slot.label === undefined ? [] : [slot.label],
    );
  }
}
