import type { TaskSpec } from "@rain/protocol";
import { quote } from "shlex";

/** Variables that change what a program does; the others of Rain's only say where it runs. */
const telling = new Set(["RAIN_SEED", "RAIN_COMPLETION_INDEX", "RAIN_COMPLETIONS"]);

/**
 * The line for a shell that does what the task did, in the run's project folder: as the task's own description has
 * it. Undefined for a task that runs no program.
 */
export function commandLine({ work, inputs, outputs }: TaskSpec): string | undefined {
  if (work.type !== "execute") return undefined;
  const words = work.args.map((arg) => {
    if (typeof arg === "string") return work.shell === true ? arg : quote(arg);
    const place = "input" in arg ? inputs[arg.input] : outputs[arg.output];
    return quote(place?.path ?? place?.label ?? "?");
  });
  const env = Object.entries(work.env ?? {}).flatMap(([name, value]) =>
    typeof value === "string" && (!name.startsWith("RAIN_") || telling.has(name))
      ? [`${name}=${quote(value)}`]
      : [],
  );
  return [...env, ...words].join(" ");
}
