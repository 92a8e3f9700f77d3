import { atCaller } from "./origin.ts";
import { executePattern, type Argument, type ExecuteOptions } from "./execute.ts";
import { fillSlots, type Pattern } from "./pattern.ts";
import type { ObjectLike } from "./slots.ts";

/** For the library's own files: the pattern of a program with its slots filled. */
export let fillProgram: (program: Program, inputs: Readonly<Record<string, ObjectLike>>) => Pattern;

/** A pattern of tasks: arguments and options as for `session.execute`, where an `input(label)` is filled at each run. */
export class Program {
  readonly #pattern: Pattern;

  static {
    fillProgram = (program, inputs) => fillSlots(program.#pattern, inputs);
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
