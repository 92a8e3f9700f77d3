import {
  failureBytes,
  limits,
  RainError,
  SettledPage,
  type RequestOf,
  type SettledItem,
  type TaskFailure,
  type SettledState,
  type TaskId,
} from "@rain/protocol";
import type { Kernel } from "./kernel.ts";
import type { NextWaiter, Waiter } from "./live.ts";
import { openCount, type Session } from "./state.ts";

/** The settled log, as clients read it. */

/** Answers `next`, or parks it until there is something to read. */
export function next(k: Kernel, session: Session, waiter: Waiter, request: RequestOf<"next">): void {
  const { from, columns = false } = request;
  if (from > session.settled.length)
    throw new RainError("bad-request", `the settled log has ${session.settled.length} entries, not ${from}`);
  const parked: NextWaiter = { ...waiter, from, columns };
  if (session.failure || from < session.settled.length) answerNext(k, session, parked);
  else k.openSession(session).next.push(parked);
}

export function answerNext(k: Kernel, session: Session, waiter: NextWaiter): void {
  const { from, columns } = waiter;
  const outstanding = openCount(session);
  const { failure } = session;
  if (columns) {
    const page = new SettledPage(Math.min(limits.nextColumns, session.settled.length - from));
    for (let at = from; at < from + page.max && !page.isFull; at++)
      tell(session, session.settled.at(at), page);
    k.reply(waiter, "next", { from, items: [], columns: page.pack(), outstanding, failure });
    return;
  }
  const items: SettledItem[] = [];
  let bytes = 0;
  const list = {
    add: (task: TaskId, state: SettledState, why?: TaskFailure, cause?: TaskId): void => {
      bytes += why === undefined ? 0 : failureBytes(why);
      items.push({
        task,
        state,
        ...(why !== undefined && { failure: why }),
        ...(cause !== undefined && { cause }),
      });
    },
  };
  const to = Math.min(session.settled.length, from + limits.nextItems);
  for (let at = from; at < to && bytes <= limits.inlineBytesPerMessage; at++)
    tell(session, session.settled.at(at), list);
  k.reply(waiter, "next", { from, items, outstanding, failure });
}

/** Adds what became of a task; one of an array that is not expanded stays so, as long as that says it all. */
function tell(session: Session, id: TaskId, page: Pick<SettledPage, "add">): void {
  const kind = session.tasks.arrayOf(id)?.kindOf(id);
  if (kind === "finished" || kind === "cancelled") return page.add(id, kind);
  const state = session.tasks.get(id)?.state;
  if (!state) throw new Error(`the settled log of session ${session.id} has task ${id}, which is not there`);
  switch (state.kind) {
    case "failed":
      return page.add(id, "failed", state.failure);
    case "aborted":
      return page.add(id, "aborted", undefined, state.cause);
    case "cancelled":
      return page.add(id, "cancelled");
    case "finished":
    case "open": // it finished, and runs again for a lost output
      return page.add(id, "finished");
  }
}
