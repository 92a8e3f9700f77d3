import {
  asTaskId,
  RainError,
  type ObjectId,
  type ReplyOf,
  type RequestOf,
  type SessionId,
  type TaskId,
  type TaskRange,
} from "@rain/protocol";
import { outputsOf } from "./apply-tasks.ts";
import { createDatastore, deleteDatastore, listDatastores } from "./datastore-requests.ts";
import { clearCache, listCache } from "./cache-use.ts";
import { drainGovernor, stopGovernor } from "./drain.ts";
import { explain } from "./explain.ts";
import type { Kernel } from "./kernel.ts";
import type { Waiter } from "./live.ts";
import { next } from "./next.ts";
import { historyPage, resultsPage } from "./results.ts";
import { isNeeded, isStopped, type DataObject, type Session, type Task } from "./state.ts";
import { checkSubmit } from "./submit.ts";
import type { ConnectionId, CoreRequest, Submit } from "./types.ts";
import { governorView, objectView, sessionView, taskState, taskView } from "./views.ts";

/** What clients ask. Every request gets one reply or error; all may be repeated. */
export function handleRequest(k: Kernel, connection: ConnectionId, request: CoreRequest): void {
  const waiter: Waiter = { connection, req: request.req };
  try {
    dispatch(k, waiter, request);
  } catch (error) {
    if (!(error instanceof RainError)) throw error;
    k.error(waiter, error);
  }
}

function dispatch(k: Kernel, waiter: Waiter, request: CoreRequest): void {
  switch (request.type) {
    case "session.open":
      openSession(k, waiter, request);
      break;
    case "session.get": {
      const session = findSession(k, request);
      k.reply(waiter, "session.get", { view: sessionView(k, session), user: session.user });
      break;
    }
    case "session.attach": {
      const session = theSession(k, request.session);
      k.openSession(session).connections.add(waiter.connection);
      k.reply(waiter, "session.attach", sessionView(k, session));
      break;
    }
    case "session.close":
      if (k.durable.sessions.has(request.session)) {
        k.commit({ type: "session.closed", session: request.session });
      } else if (request.session >= k.durable.nextSession) {
        throw unknownSession(request.session);
      }
      k.reply(waiter, "session.close", {});
      break;
    case "session.list": {
      const sessions = [...k.durable.sessions.values()].map((session) => sessionView(k, session));
      k.reply(waiter, "session.list", { sessions });
      break;
    }
    case "session.describe":
      k.reply(waiter, "session.describe", describeSession(k, request));
      break;
    case "submit":
      submit(k, waiter, request);
      break;
    case "next":
      next(k, theSession(k, request.session), waiter, request);
      break;
    case "unkeep":
      unkeep(k, request);
      k.reply(waiter, "unkeep", {});
      break;
    case "fetch": {
      const object = theObject(theSession(k, request.session), request.object);
      if (!answerFetch(k, object, waiter)) k.parked.parkFetch(object, waiter);
      break;
    }
    case "task.get": {
      const session = theSession(k, request.session);
      const tasks = request.tasks.map((id) => taskView(k, theTask(session, id)));
      k.reply(waiter, "task.get", { tasks });
      break;
    }
    case "object.get": {
      const session = theSession(k, request.session);
      const objects = request.objects.map((id) => objectView(theObject(session, id)));
      k.reply(waiter, "object.get", { objects });
      break;
    }
    case "cancel":
      cancel(k, request);
      k.reply(waiter, "cancel", {});
      break;
    case "results":
      k.reply(waiter, "results", resultsPage(k, theSession(k, request.session), request));
      break;
    case "metrics": {
      const { curves, state } = theTask(theSession(k, request.session), request.task);
      const { attempt } = state;
      const current = curves?.attempt === attempt ? curves : undefined;
      k.reply(waiter, "metrics", { attempt, points: current?.points() ?? [], params: current?.params });
      break;
    }
    case "history":
      k.reply(waiter, "history", { items: historyPage(k, request) });
      break;
    case "datastore.create":
      k.reply(waiter, "datastore.create", createDatastore(k, request));
      break;
    case "datastore.list":
      k.reply(waiter, "datastore.list", listDatastores(k, request));
      break;
    case "datastore.delete":
      k.reply(waiter, "datastore.delete", deleteDatastore(k, request));
      break;
    case "cache.list":
      k.reply(waiter, "cache.list", listCache(k, request.max));
      break;
    case "cache.clear":
      k.reply(waiter, "cache.clear", clearCache(k));
      break;
    case "explain": {
      const task = theTask(theSession(k, request.session), request.task);
      k.reply(waiter, "explain", { state: taskState(k, task), lines: explain(k, task) });
      break;
    }
    case "governor.drain":
      drainGovernor(k, request.governor);
      k.reply(waiter, "governor.drain", {});
      break;
    case "governor.stop":
      stopGovernor(k, request.governor);
      k.reply(waiter, "governor.stop", {});
      break;
    case "server.info":
      k.reply(waiter, "server.info", serverInfo(k));
      break;
    case "server.stop":
      if (request.governors)
        for (const governor of k.live.governors.values()) k.send(governor, { type: "stop" });
      k.reply(waiter, "server.stop", {});
      k.effect({ type: "exit" });
      break;
  }
}

// --------------------------------------------------------------------------------------------------- look-ups

const unknownSession = (id: SessionId): RainError =>
  new RainError("unknown-session", `there is no session ${id}; see: rain sessions`, { session: id });

function theSession(k: Kernel, id: SessionId): Session {
  const session = k.durable.sessions.get(id);
  if (session) return session;
  if (id < k.durable.nextSession) {
    throw new RainError("session-closed", `session ${id} was closed`, { session: id });
  }
  throw unknownSession(id);
}
/** By its number, or by a name that is its own. */
function findSession(k: Kernel, { session, name }: RequestOf<"session.get">): Session {
  if (session !== undefined) return theSession(k, session);
  if (name === undefined) throw new RainError("bad-request", "say which session: by its number or its name");
  const found = k.durable.sessionByName.get(name);
  if (found) return found;
  const what = `no open session has the name ${JSON.stringify(name)} for its own`;
  throw new RainError("unknown-session", `${what}; see: rain sessions`, { name });
}
function theTask(session: Session, id: TaskId): Task {
  const task = session.tasks.get(id);
  if (!task) throw new RainError("unknown-task", `session ${session.id} has no task ${id}`, { task: id });
  return task;
}
function theObject(session: Session, id: ObjectId): DataObject {
  const object = session.objects.get(id);
  if (object) return object;
  throw new RainError("unknown-object", `session ${session.id} has no data object o${id}`, { object: id });
}

const sessionFailed = (session: Session): RainError =>
  new RainError(
    "session-failed",
    `session ${session.id} (${session.name}) failed with task ${session.failure?.task}: ${session.failure?.failure.message}`,
    { session: session.id, task: session.failure?.task ?? null },
  );

// --------------------------------------------------------------------------------------------------- sessions

function openSession(k: Kernel, waiter: Waiter, request: RequestOf<"session.open">): void {
  const { type: _type, req: _req, ...asked } = request;
  let session = k.durable.sessionByKey.get(asked.key);
  if (!session) {
    const holder = asked.unique === true ? k.durable.sessionByName.get(asked.name) : undefined;
    if (holder) {
      throw new RainError(
        "name-taken",
        `the name ${JSON.stringify(asked.name)} is that of session ${holder.id}, which is not closed; ` +
          "take another name, or close that session first",
        { name: asked.name, session: holder.id },
      );
    }
    const id = k.durable.nextSession;
    k.commit({ type: "session.opened", session: id, ...asked });
    session = k.durable.session(id);
  }
  k.openSession(session).connections.add(waiter.connection);
  k.reply(waiter, "session.open", { session: session.id });
}

function describeSession(k: Kernel, request: RequestOf<"session.describe">): ReplyOf<"session.describe"> {
  const session = theSession(k, request.session);
  const ids = session.tasks.idsFrom(request.from, request.max + 1);
  const page = ids.slice(0, request.max).map((id) => theTask(session, id));
  const objects: DataObject[] = [];
  if (request.from === 0) {
    for (const object of session.objects.expandedOnes())
      if (object.producer === undefined) objects.push(object);
  }
  for (const task of page) objects.push(...outputsOf(task));
  const following = ids[request.max];
  return {
    tasks: page.map((task) => taskView(k, task)),
    objects: objects.map(objectView),
    ...(following === undefined ? {} : { next: asTaskId(following) }),
  };
}

function submit(k: Kernel, waiter: Waiter, request: Submit): void {
  const session = theSession(k, request.session);
  if (!session.submitKeys.has(request.key)) {
    if (session.failure) throw sessionFailed(session);
    const problem = checkSubmit(session, request);
    if (problem) throw problem;
    const { key, tasks, constants, arrays } = request;
    const resumes = tasks.length + (arrays?.length ?? 0) > 0 && isStopped(session);
    const more = { ...(arrays && { arrays }), ...(resumes && { resumes }) };
    k.commit({ type: "submitted", session: session.id, key, tasks, constants, ...more });
  }
  k.reply(waiter, "submit", {});
}

// ---------------------------------------------------------------------------------------------------- waiting

/** Answers a fetch, or says that it has to wait. */
export function answerFetch(k: Kernel, object: DataObject, waiter: Waiter): boolean {
  const { session, state } = object;
  const facts = { session: session.id, object: object.id };
  const what = `data object ${session.id}/o${object.id} (${object.label})`;
  const refuse = (code: "not-kept" | "object-removed" | "object-failed", text: string): true => {
    k.error(waiter, new RainError(code, `${what} ${text}`, facts));
    return true;
  };
  if (session.failure) {
    k.error(waiter, sessionFailed(session));
    return true;
  }
  if (state.kind === "removed" || (state.kind === "finished" && !isNeeded(object))) {
    return refuse("object-removed", "was removed, because nothing needed it; keep() it before submit");
  }
  if (state.kind === "failed") {
    return refuse("object-failed", `can never come: task ${session.id}/${state.cause} did not finish`);
  }
  if (!object.keep) return refuse("not-kept", "is not kept; keep() it before submit");
  if (state.kind === "pending") return false;
  const { size, sha256, contentType, user, data } = state;
  k.reply(waiter, "fetch", {
    kind: object.kind,
    info: { size, sha256, contentType, user },
    ...(data ? { data } : {}),
  });
  return true;
}

function unkeep(k: Kernel, request: RequestOf<"unkeep">): void {
  const session = theSession(k, request.session);
  const kept = request.objects.filter((id) => theObject(session, id).keep);
  if (kept.length === 0) return;
  for (const id of kept) {
    const object = theObject(session, id);
    for (const waiter of k.live.fetches.get(object) ?? []) {
      k.error(
        waiter,
        new RainError("not-kept", `data object ${session.id}/o${id} was unkept while it was fetched`),
      );
    }
    k.live.fetches.delete(object);
  }
  k.commit({ type: "unkept", session: session.id, objects: kept });
}

function cancel(k: Kernel, request: RequestOf<"cancel">): void {
  const session = theSession(k, request.session);
  const asked = request.tasks || request.ranges ? readCancel(session, request) : allOpen(session);
  const { tasks, ranges } = asked;
  if (tasks.length + ranges.length === 0) return;
  const some = ranges.length > 0 ? { ranges } : {};
  k.commit({ type: "cancelled", session: session.id, tasks, ...some });
}

/** Open tasks: single ones, and parts of arrays. */
interface Cancelled {
  readonly tasks: TaskId[];
  readonly ranges: TaskRange[];
}

function allOpen(session: Session): Cancelled {
  const arrays = [...session.tasks.arrays].filter((array) => array.hasOpen);
  return {
    tasks: [...session.open].filter(({ array }) => !array).map((task) => task.spec.id),
    ranges: arrays.map(({ first, count }): TaskRange => [first, count]),
  };
}

function readCancel(session: Session, { tasks = [], ranges = [] }: RequestOf<"cancel">): Cancelled {
  const wanted = tasks.map((id) => theTask(session, id));
  const found: Cancelled = {
    tasks: wanted.filter((task) => task.state.kind === "open").map((task) => task.spec.id),
    ranges: [],
  };
  for (const [first, count] of ranges)
    for (let id = first; id < first + count;) {
      const array = session.tasks.arrayOf(id);
      if (array) {
        const size = Math.min(first + count, array.first + array.count) - id;
        if (array.hasOpen) found.ranges.push([id, size]);
        id = asTaskId(id + size);
        continue;
      }
      if (theTask(session, id).state.kind === "open") found.tasks.push(id);
      id = asTaskId(id + 1);
    }
  return found;
}

function serverInfo(k: Kernel): ReplyOf<"server.info"> {
  const governors = [...k.live.governors.values()]
    .map((each) => governorView(k, each))
    .filter((view) => view !== undefined);
  const sessions = [...k.durable.sessions.values()].map((session) => sessionView(k, session));
  const { version, clusterId, instance } = k.config;
  return { version, clusterId, instance, uptimeS: (k.now - k.startedAt) / 1000, governors, sessions };
}
