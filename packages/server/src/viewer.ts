import type {
  ClientRequest,
  ObjectView,
  ReplyOf,
  RequestType,
  ResultRow,
  SessionView,
  TaskFailure,
  TaskInfo,
  TaskView,
  Work,
} from "@rain/protocol";
import type { ConnectionId } from "./core/index.ts";

/** What a viewer is shown: states, names, sizes and metrics, not what programs wrote or may be given as secrets. */

/**
 * The reply to a viewer's request without what a program wrote (its stderr, note and attributes), without what it was
 * given (arguments, environment, configuration), and without the attributes that owners keep at sessions, tasks and
 * objects, which may repeat that.
 */
export function forViewer(type: ClientRequest["type"], ok: unknown): unknown {
  const hide = hiders[type];
  return hide === undefined ? ok : hide(ok);
}

type Hide = (ok: unknown) => unknown;
const hider =
  <T extends RequestType>(_type: T, hide: (ok: ReplyOf<T>) => ReplyOf<T>): Hide =>
  (ok) =>
    // The core made this reply to a request of this type.
    hide(ok as ReplyOf<T>);

const hiders: { readonly [T in RequestType]?: Hide } = {
  "server.info": hider("server.info", (ok) => ({ ...ok, sessions: ok.sessions.map(session) })),
  "session.get": hider("session.get", ({ view }) => ({ view: session(view) })),
  "session.list": hider("session.list", (ok) => ({ sessions: ok.sessions.map(session) })),
  "session.describe": hider("session.describe", (ok) => ({
    ...ok,
    tasks: ok.tasks.map(task),
    objects: ok.objects.map(object),
  })),
  "task.get": hider("task.get", (ok) => ({ tasks: ok.tasks.map(task) })),
  "object.get": hider("object.get", (ok) => ({ objects: ok.objects.map(object) })),
  results: hider("results", (ok) => ({ ...ok, rows: ok.rows.map((row) => withoutUser(ended(row))) })),
  history: hider("history", (ok) => ({ items: ok.items.map(withoutUser) })),
};

function session(view: SessionView): SessionView {
  return view.failure === undefined
    ? view
    : { ...view, failure: { ...view.failure, failure: failure(view.failure.failure) } };
}

const task = (view: TaskView): TaskView => ({
  ...ended(view),
  spec: { ...withoutUser(view.spec), work: work(view.spec.work) },
});

/** In the place of arguments: a program has at least one. */
const HIDDEN = ["(not shown)"];

function work(of: Work): Work {
  if (of.type === "execute") return { ...of, args: HIDDEN, env: {} };
  return of.type === "custom" ? { ...of, config: undefined } : of;
}

const object = (view: ObjectView): ObjectView => ({
  ...withoutUser(view),
  ...(view.info === undefined ? {} : { info: withoutUser(view.info) }),
});

function ended<T extends TaskView | ResultRow>(view: T): T {
  return {
    ...view,
    ...(view.info === undefined ? {} : { info: info(view.info) }),
    ...(view.failure === undefined ? {} : { failure: failure(view.failure) }),
  };
}

// Undefined is not sent.
const info = (of: TaskInfo): TaskInfo => ({ ...withoutUser(of), debug: undefined });
const failure = (of: TaskFailure): TaskFailure => ({ ...of, stderr: undefined });
const withoutUser = <T extends { readonly user?: unknown }>(of: T): T => ({ ...of, user: undefined });

/** Requests of viewers that are not answered. Without knowing what a reply answers, it could not be made fit to show. */
export class ViewerRequests {
  readonly #asked: Map<ConnectionId, Map<number, RequestType>> = new Map();

  /** False when another request of the connection has this number. */
  begin(connection: ConnectionId, { req, type }: ClientRequest): boolean {
    let asked = this.#asked.get(connection);
    if (asked === undefined) this.#asked.set(connection, (asked = new Map()));
    if (asked.has(req)) return false;
    asked.set(req, type);
    return true;
  }

  /** The type of the request that is answered now; it is forgotten. */
  end(connection: ConnectionId, req: number): RequestType | undefined {
    const asked = this.#asked.get(connection);
    const type = asked?.get(req);
    asked?.delete(req);
    return type;
  }

  gone(connection: ConnectionId): void {
    this.#asked.delete(connection);
  }
}
