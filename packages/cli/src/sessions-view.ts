import { taskStates, type SessionView, type TaskCounts } from "@rain/protocol";
import { table, type Column, type Io } from "./output.ts";

/** A session in `-o json`. */
export interface SessionJson {
  readonly id: number;
  readonly name: string;
  readonly state: SessionView["state"];
  readonly onError: SessionView["onError"];
  readonly detached: boolean;
  readonly connected: boolean;
  readonly counts: TaskCounts;
  /** The task that failed the session. */
  readonly failure: { readonly task: string; readonly message: string } | null;
}

export const sessionJson = (view: SessionView): SessionJson => ({
  id: view.session,
  name: view.name,
  state: view.state,
  onError: view.onError,
  detached: view.detached,
  connected: view.connected,
  counts: view.counts,
  failure:
    view.failure === undefined
      ? null
      : { task: `${view.session}/${view.failure.task}`, message: view.failure.failure.message },
});

/** `12 running, 3 finished`: the states that have tasks. */
function countsText(counts: TaskCounts): string {
  const parts = taskStates.filter((state) => counts[state] > 0).map((state) => `${counts[state]} ${state}`);
  return parts.length === 0 ? "no tasks" : parts.join(", ");
}

const columns: readonly Column[] = [
  { title: "SESSION", align: "right" },
  { title: "NAME", flexible: true },
  { title: "STATE" },
  { title: "CLIENT" },
  { title: "TASKS", flexible: true },
];
/** Sessions as a table. */
export function sessionTable(sessions: readonly SessionJson[], io: Io): string {
  const client = (one: SessionJson): string =>
    one.connected ? "connected" : one.detached ? "detached" : "gone";
  const rows = sessions.map((one) => [
    String(one.id),
    one.name,
    one.state,
    client(one),
    countsText(one.counts),
  ]);
  return table(columns, rows, io);
}
