import type { ReplyOf } from "@rain/protocol";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { runningServer } from "../instance.ts";
import { governorJson, governorTable, type GovernorJson } from "../governors-view.ts";
import { bold, formatDuration, print, type Io } from "../output.ts";
import { sessionJson, sessionTable, type SessionJson } from "../sessions-view.ts";

interface StatusJson {
  readonly server: {
    readonly url: string;
    /** Of the server's process, when it runs on this machine as this instance. */
    readonly pid: number | null;
    readonly version: string;
    readonly clusterId: string;
    readonly uptimeS: number;
  };
  readonly governors: readonly GovernorJson[];
  readonly sessions: readonly SessionJson[];
}

/** `rain status`: the server, its governors and sessions. */
export async function run(context: Context): Promise<number> {
  const json = await withClient(context, async (client, instance) => {
    const info = await client.request("server.info", {});
    const daemon = runningServer(instance);
    // The access file may be that of another server than the one of this instance.
    return statusJson(info, client.url, daemon?.url === client.url ? daemon.pid : null);
  });
  print(context.io, context.globals.output, json, () => statusText(json, context.io));
  return exitCodes.ok;
}

function statusJson(info: ReplyOf<"server.info">, url: string, pid: number | null): StatusJson {
  const { version, clusterId, uptimeS } = info;
  return {
    server: { url, pid, version, clusterId, uptimeS },
    governors: info.governors.map(governorJson),
    sessions: info.sessions.map(sessionJson),
  };
}

/** The three parts of the status for people. */
export function statusText({ server, governors, sessions }: StatusJson, io: Io): string {
  const process = server.pid === null ? "" : `, pid ${server.pid}`;
  const head = `Server ${server.url}, version ${server.version}, up ${formatDuration(server.uptimeS)}${process}`;
  const none = 'No governors: nothing can run. Start one with "rain governor".';
  return [
    bold(head, io),
    "",
    governors.length === 0 ? none : governorTable(governors, io),
    "",
    sessions.length === 0 ? "No sessions." : sessionTable(sessions, io),
  ].join("\n");
}
