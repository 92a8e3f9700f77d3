import {
  limits,
  taskStates,
  type HistoryItem,
  type Json,
  type TaskState,
  type UserAttributes,
} from "@rain/protocol";
import type { Session, Task } from "./state.ts";

/** Longer texts of the attributes are not kept, and nothing when the rest is still longer than `limits.userBytes`. */
const LONGEST_TEXT = 1_024;

/** What is remembered of a session that closes. Tasks that had not settled count as cancelled: they are. */
export function historyItem(session: Session): HistoryItem {
  const none = taskStates.map((state): [TaskState, number] => [state, 0]);
  const counts = Object.fromEntries(none) as Record<TaskState, number>;
  const count = (kind: Task["state"]["kind"], by: number): void => {
    counts[kind === "open" ? "cancelled" : kind] += by;
  };
  for (const { state, replacedBy } of session.tasks.expandedOnes())
    if (replacedBy === undefined) count(state.kind, 1);
  for (const { virtual, counts: folded } of session.tasks.arrays) {
    count("open", virtual);
    for (const [kind, many] of folded) count(kind, many);
  }
  const { id, name, created } = session;
  return { session: id, name, created, counts, user: session.user && withoutLong(session.user) };
}

function withoutLong(user: UserAttributes): UserAttributes | undefined {
  const kept = shortened(user);
  if (kept === undefined || JSON.stringify(kept).length > limits.userBytes) return undefined;
  return kept as UserAttributes;
}

function shortened(value: Json): Json | undefined {
  if (typeof value === "string") return value.length > LONGEST_TEXT ? undefined : value;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(shortened).filter((each) => each !== undefined);
  const kept: Record<string, Json> = {};
  for (const [name, each] of Object.entries(value)) {
    const short = shortened(each);
    if (short !== undefined) kept[name] = short;
  }
  return kept;
}
