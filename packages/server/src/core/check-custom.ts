import type { TaskSpec } from "@rain/protocol";

/** Says what a task of an own executor cannot be asked, or nothing: the executor is told where its files are. */
export function checkCustom({ inputs, outputs }: TaskSpec): string | undefined {
  for (const [at, input] of inputs.entries()) {
    if (input.path !== undefined)
      return `input ${at} of an own executor has no path, but ${input.path} is given`;
  }
  for (const output of outputs) {
    if (output.path !== undefined || output.capture !== undefined)
      return `output ${output.label} of an own executor has neither a path nor a capture`;
    if (output.kind !== "blob") return `output ${output.label} of an own executor is a blob, not a directory`;
  }
  return undefined;
}
