import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import type { RunRef } from "../options.ts";
import { readRun, rowOfExperiment } from "../runs/open.ts";
import { run as explain } from "./explain.ts";

/** `rain explain RUN N`: why a trial is in the state it is in. */
export async function run(context: Context, ref: RunRef, experiment: number): Promise<number> {
  const task = await withClient(context, async (client) => {
    const found = await readRun(client, ref);
    return { session: found.view.session, task: rowOfExperiment(found, experiment).task };
  });
  return await explain(context, task);
}
