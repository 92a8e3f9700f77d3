import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import type { RunRef } from "../options.ts";
import { print } from "../output.ts";
import { findRun } from "../runs/open.ts";
import { unsettled } from "../runs/view.ts";

/** `rain stop RUN`: cancels the trials that have not ended. What is there stays. */
export async function run(context: Context, ref: RunRef): Promise<number> {
  const { name, session, stopped } = await withClient(context, async (client) => {
    const { view, manifest } = await findRun(client, ref);
    const stopped = unsettled(view.counts);
    if (stopped > 0) await client.request("cancel", { session: view.session });
    return { name: manifest.name, session: view.session, stopped };
  });
  print(context.io, context.globals.output, { run: name, session, stopped }, () =>
    stopped === 0
      ? `nothing of ${name} was running`
      : `stopped ${stopped} trial${stopped === 1 ? "" : "s"} of ${name}; rain resume ${name} goes on with them`,
  );
  return exitCodes.ok;
}
