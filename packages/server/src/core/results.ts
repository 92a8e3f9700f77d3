import {
  type HistoryItem,
  type MetricSummaries,
  type ReplyOf,
  type RequestOf,
  type ResultRow,
  type TaskFailure,
  type TaskInfo,
} from "@rain/protocol";
import { outputsOf } from "./apply-tasks.ts";
import type { Kernel } from "./kernel.ts";
import type { Session, Task } from "./state.ts";
import { objectState, taskState, taskView } from "./views.ts";

/** The table of a session's results, by pages of what has changed; and what is remembered of closed sessions. */

/** Entries of one reply together, as characters of JSON: on the wire that is less than three times as many bytes. */
const PAGE_CHARS = 800_000;
/** What a row shows of a failed program's stderr; `task.get` has the rest. */
const STDERR_CHARS = 400;

export function resultsPage(k: Kernel, session: Session, request: RequestOf<"results">): ReplyOf<"results"> {
  const { rows: table } = k.openSession(session);
  const { instance } = k.config;
  // A cursor of another process means nothing here.
  let cursor = request.instance === instance ? request.since : 0;
  const rows: ResultRow[] = [];
  let chars = 0;
  let more = false;
  for (const id of table.after(cursor)) {
    more = rows.length >= request.max;
    if (more) break;
    const task = session.tasks.get(id);
    if (!task) throw new Error(`there is a row of task ${session.id}/${id}, which does not exist`);
    const row = resultRow(k, task);
    const length = JSON.stringify(row).length;
    more = rows.length > 0 && chars + length > PAGE_CHARS;
    if (more) break;
    rows.push(row);
    chars += length;
    cursor = table.revisionOf(id);
  }
  return { rows, cursor, instance, more, counts: table.copyCounts() };
}

/** The newest closed sessions, as many as one message holds. */
export function historyPage(k: Kernel, { max }: RequestOf<"history">): HistoryItem[] {
  const items: HistoryItem[] = [];
  let chars = 0;
  for (let at = k.durable.history.length - 1; at >= 0 && items.length < max; at--) {
    const item = k.durable.history[at];
    if (!item) break;
    chars += JSON.stringify(item).length;
    if (chars > PAGE_CHARS && items.length > 0) break;
    items.push(item);
  }
  return items;
}

function resultRow(k: Kernel, task: Task): ResultRow {
  const { spec } = task;
  const { attempt, governor, info, failure } = taskView(k, task);
  return {
    task: spec.id,
    state: taskState(k, task),
    attempt,
    name: spec.name,
    user: spec.user,
    governor,
    ...measured(task, info),
    failure: failure && shortened(failure),
    replaces: spec.replaces,
    replacedBy: task.replacedBy,
    outputs: [...outputsOf(task)].map((output) => ({
      object: output.id,
      label: output.label,
      kind: output.kind,
      state: objectState(output),
      size: output.state.kind === "finished" ? output.state.size : undefined,
    })),
  };
}

/** The governor sums the metrics up when the program has ended; until then, and where it never could, the server does. */
function measured(
  { curves, state }: Task,
  info: TaskInfo | undefined,
): { readonly info?: TaskInfo | undefined; readonly metrics?: MetricSummaries | undefined } {
  const current = curves?.attempt === state.attempt ? curves : undefined;
  const params = info?.params ?? current?.params;
  const told = params === undefined ? info : { ...info, params };
  const metrics = info?.metrics === undefined ? current?.summaries : undefined;
  return { info: told?.debug === undefined ? told : { ...told, debug: undefined }, metrics };
}

const shortened = (failure: TaskFailure): TaskFailure =>
  failure.stderr === undefined ? failure : { ...failure, stderr: failure.stderr.slice(-STDERR_CHARS) };
