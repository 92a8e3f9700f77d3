import type { Client } from "@rain/client";
import { RainError, type SessionId } from "@rain/protocol";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { print } from "../output.ts";
import { manifestOf, type FoundRun } from "../runs/open.ts";
import { runJson, runTable } from "../runs/view.ts";

/** `rain list`: the runs of the server, the newest last. */
export async function run(context: Context): Promise<number> {
  const runs = await withClient(context, async (client) => {
    const { sessions } = await client.request("session.list", {});
    const named = sessions.filter(({ unique }) => unique === true);
    const found = await Promise.all(named.map(({ session }) => runOf(client, session)));
    return found.filter((one) => one !== undefined).map(runJson);
  });
  print(context.io, context.globals.output, { runs }, () =>
    runs.length === 0 ? "no runs" : runTable(runs, context.io, Date.now()),
  );
  return exitCodes.ok;
}

/** Undefined for a session that is no run, or was deleted since it was listed. */
async function runOf(client: Client, session: SessionId): Promise<FoundRun | undefined> {
  try {
    const { view, user } = await client.request("session.get", { session });
    const manifest = manifestOf(user);
    return manifest && { view, manifest };
  } catch (error) {
    if (error instanceof RainError && error.code === "unknown-session") return undefined;
    throw error;
  }
}
