import {
  limits,
  taskStates,
  type HistoryItem,
  type Json,
  type TaskState,
  type UserAttributes,
} from "@rain/protocol";
import type { Session, Task } from "./state.ts";

interface Longest {
  /** Characters of a text, members of a list; what is longer is left out. */
  readonly text: number;
  readonly list: number;
}
/** The first of these by which attributes fit into `limits.userBytes` is taken; otherwise none are kept. */
const LONGEST: readonly Longest[] = [
  { text: 1_024, list: Number.POSITIVE_INFINITY },
  { text: 1_024, list: 64 },
  { text: 128, list: 8 },
];

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
  for (const longest of LONGEST) {
    const kept = shortened(user, longest);
    if (JSON.stringify(kept).length <= limits.userBytes) return kept as UserAttributes;
  }
  return undefined;
}

function shortened(value: Json, longest: Longest): Json | undefined {
  if (typeof value === "string") return value.length > longest.text ? undefined : value;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    if (value.length > longest.list) return undefined;
    return value.map((each) => shortened(each, longest)).filter((each) => each !== undefined);
  }
  const kept: Record<string, Json> = {};
  for (const [name, each] of Object.entries(value)) {
    const short = shortened(each, longest);
    if (short !== undefined) kept[name] = short;
  }
  return kept;
}
