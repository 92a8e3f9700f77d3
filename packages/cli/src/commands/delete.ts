import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import type { RunRef } from "../options.ts";
import { print } from "../output.ts";
import { findRun } from "../runs/open.ts";
import { unsettled } from "../runs/view.ts";

export interface DeleteFlags {
  readonly yes: boolean;
}

/** `rain delete RUN`: stops a run and removes it with its results. One that still runs needs a yes. */
export async function run(context: Context, ref: RunRef, { yes }: DeleteFlags): Promise<number> {
  const { name, session } = await withClient(context, async (client) => {
    const { view, manifest } = await findRun(client, ref);
    const running = unsettled(view.counts);
    if (running > 0 && !yes) await confirm(context, manifest.name, running);
    await client.request("session.close", { session: view.session });
    return { name: manifest.name, session: view.session };
  });
  print(context.io, context.globals.output, { deleted: name, session }, () => `deleted ${name}`);
  return exitCodes.ok;
}

async function confirm({ io }: Context, name: string, running: number): Promise<void> {
  const trials = `${running} trial${running === 1 ? "" : "s"} not ended`;
  if (io.ask === undefined)
    throw usageError(`${name} still runs (${trials}): --yes stops and deletes it all the same`);
  if (await io.ask(`${name} still runs (${trials}). Stop and delete it?`, false)) return;
  throw new CommandError(exitCodes.failed, `${name} was left as it is`);
}
