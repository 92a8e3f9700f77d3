import type { ClientRequest, ReplyOf, RequestType, SessionView, TaskView } from "@rain/protocol";

/** What a viewer is shown: states, names and sizes, and nothing that programs wrote or were given as secrets. */

/** The reply to a viewer's request without what a program wrote (its stderr, its note) and without its environment. */
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
  "session.list": hider("session.list", (ok) => ({ sessions: ok.sessions.map(session) })),
  "session.describe": hider("session.describe", (ok) => ({ ...ok, tasks: ok.tasks.map(task) })),
  "task.get": hider("task.get", (ok) => ({ tasks: ok.tasks.map(task) })),
};

function session(view: SessionView): SessionView {
  if (view.failure === undefined) return view;
  const { stderr: _, ...failure } = view.failure.failure;
  return { ...view, failure: { ...view.failure, failure } };
}

function task(view: TaskView): TaskView {
  const { work } = view.spec;
  const spec = work.type === "execute" ? { ...view.spec, work: { ...work, env: {} } } : view.spec;
  const { debug: _note, ...info } = view.info ?? {};
  const { stderr: _, ...failure } = view.failure ?? { reason: "internal", message: "" };
  return {
    ...view,
    spec,
    ...(view.info === undefined ? {} : { info }),
    ...(view.failure === undefined ? {} : { failure }),
  };
}
