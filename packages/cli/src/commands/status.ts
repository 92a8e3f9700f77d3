import type { GovernorView, ReplyOf, Resources } from "@rain/protocol";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { runningServer } from "../instance.ts";
import {
  bold,
  formatAmount,
  formatBytes,
  formatDuration,
  print,
  table,
  type Column,
  type Io,
} from "../output.ts";
import { sessionJson, sessionTable, type SessionJson } from "../sessions-view.ts";

interface GovernorJson {
  readonly id: number;
  readonly name: string;
  readonly state: GovernorView["state"];
  readonly capacity: Resources;
  readonly used: Resources;
  readonly labels: GovernorView["labels"];
  /** Assigned and running ones, as SESSION/TASK. */
  readonly tasks: readonly string[];
  /** How many data objects it holds. */
  readonly objects: number;
}

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

const governorJson = (view: GovernorView): GovernorJson => ({
  id: view.governor,
  name: view.name,
  state: view.state,
  capacity: view.capacity,
  used: view.used,
  labels: view.labels,
  tasks: view.tasks.map(({ session, task }) => `${session}/${task}`),
  objects: view.objects.length,
});

const columns: readonly Column[] = [
  { title: "ID", align: "right" },
  { title: "GOVERNOR", flexible: true },
  { title: "STATE" },
  { title: "CPUS", align: "right" },
  { title: "GPUS", align: "right" },
  { title: "MEMORY", align: "right" },
  { title: "TASKS", align: "right" },
  { title: "OBJECTS", align: "right" },
];

/** The three parts of the status for people. */
export function statusText({ server, governors, sessions }: StatusJson, io: Io): string {
  const process = server.pid === null ? "" : `, pid ${server.pid}`;
  const head = `Server ${server.url}, version ${server.version}, up ${formatDuration(server.uptimeS)}${process}`;
  const share = (used: number, of: number, format: (n: number) => string): string =>
    of === 0 ? "-" : `${format(used)}/${format(of)}`;
  const rows = governors.map(({ id, name, state, capacity, used, tasks, objects }) => [
    String(id),
    name,
    state,
    share(used.cpus, capacity.cpus, formatAmount),
    share(used.gpus, capacity.gpus, formatAmount),
    share(used.memory, capacity.memory, formatBytes),
    String(tasks.length),
    String(objects),
  ]);
  const none = 'No governors: nothing can run. Start one with "rain governor".';
  return [
    bold(head, io),
    "",
    rows.length === 0 ? none : table(columns, rows, io),
    "",
    sessions.length === 0 ? "No sessions." : sessionTable(sessions, io),
  ].join("\n");
}
