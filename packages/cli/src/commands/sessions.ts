import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { print } from "../output.ts";
import { sessionJson, sessionTable } from "../sessions-view.ts";

/** `rain sessions`: the sessions of the server. */
export async function run(context: Context): Promise<number> {
  const { sessions } = await withClient(context, (client) => client.request("session.list", {}));
  const json = { sessions: sessions.map(sessionJson) };
  print(context.io, context.globals.output, json, () =>
    json.sessions.length === 0 ? "no sessions" : sessionTable(json.sessions, context.io),
  );
  return exitCodes.ok;
}
