import { taskStates, type SessionView, type TaskCounts } from "@rain/protocol";
import { table, type Column, type Io } from "./output.ts";

type Shown = Pick<SessionView, "name" | "state" | "onError" | "detached" | "connected" | "counts">;

/** A session in `-o json`. */
export interface SessionJson extends Shown {
  readonly id: number;
  /** The task that failed the session. */
  readonly failure: { readonly task: string; readonly message: string } | null;
}

export function sessionJson(view: SessionView): SessionJson {
  const { session: id, name, state, onError, detached, connected, counts, failure: failed } = view;
  const failure = failed && { task: `${id}/${failed.task}`, message: failed.failure.message };
  return { id, name, state, onError, detached, connected, counts, failure: failure ?? null };
}

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
