import { escapeText } from "../escape.ts";
import type { Context } from "../context.ts";
import { print } from "../output.ts";
import { commandOf, planLine, resourceLines, shellLine, tooMany, type RunPlan } from "./plan.ts";

/** `rain run --dry-run`: what would be run. The text is a shell script of its commands, the rest stands in comments. */
export async function printPreview(context: Context, plan: RunPlan, config: string): Promise<void> {
  const { sweep, settings } = plan;
  const { cpus = 1, gpus = 0, memory = 0 } = settings;
  const refusal = tooMany(plan);
  for (const warning of [
    ...plan.warnings,
    ...(refusal === undefined ? [] : [`rain run refuses it: ${refusal}`]),
  ])
    warn(context, warning);
  const { count } = sweep.trials;
  if (context.globals.output === "json") {
    const commands = [...sweep.trials].map((trial) => ({
      experiment: trial.index,
      command: commandOf(plan, trial),
      env: trial.env,
      params: trial.params,
    }));
    const resources = { cpus: cpus * count, gpus: gpus * count, memory: memory * count };
    const { seed, strategy, parameters } = sweep;
    const json = { trials: count, seed, strategy, parameters, resources, refused: refusal ?? null };
    print(context.io, "json", { ...json, warnings: plan.warnings, commands, config }, () => "");
    return;
  }
  const { io } = context;
  for (const line of [planLine(plan), ...resourceLines(plan)]) io.stdout(`# ${escapeText(line)}\n`);
  for (const trial of sweep.trials) {
    const env = Object.entries(trial.env).map(([name, value]) => `${name}=${value} `);
    io.stdout(`${env.join("")}${shellLine(commandOf(plan, trial))}\n`);
    if (trial.index % AT_ONCE === 0) await io.drained();
  }
  io.stdout("# nothing was started: this is a dry run\n");
}

/** Commands between two looks at whether their reader is there. */
const AT_ONCE = 1_000;

export const warn = ({ io }: Context, text: string): void =>
  io.stderr(`rain: warning: ${escapeText(text)}\n`);
