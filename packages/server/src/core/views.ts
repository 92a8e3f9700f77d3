import {
  type GovernorView,
  type ObjectState,
  type ObjectView,
  type SessionView,
  type TaskState,
  type TaskView,
} from "@rain/protocol";
import { drainStatus, isDraining } from "./drain.ts";
import type { Kernel } from "./kernel.ts";
import type { LiveGovernor } from "./live.ts";
import { fromAmounts, minus } from "./resources.ts";
import { isNeeded, type DataObject, type Session, type Task } from "./state.ts";

/** The state as users see it. */

/** What a reply may list of one governor. */
const LISTED = 10_000;

export function taskState(k: Kernel, task: Task): TaskState {
  return k.live.stateOf(task);
}

export function taskView(k: Kernel, task: Task): TaskView {
  const { state, spec } = task;
  const phase = k.live.tasks.get(task)?.phase;
  const on = "governor" in state ? state.governor : undefined;
  return {
    task: spec.id,
    state: taskState(k, task),
    spec,
    attempt: state.attempt,
    governor: on === undefined ? undefined : k.durable.governors.get(on)?.name,
    info:
      state.kind === "finished" || state.kind === "failed"
        ? state.info
        : phase?.kind === "running" && phase.startTime > 0
          ? { startTime: phase.startTime }
          : undefined,
    failure: state.kind === "failed" ? state.failure : undefined,
  };
}

export function objectState(object: DataObject): ObjectState {
  if (object.state.kind === "finished" && !isNeeded(object)) return "removed";
  return object.state.kind;
}

export function objectView(object: DataObject): ObjectView {
  const { state } = object;
  return {
    object: object.id,
    label: object.label,
    kind: object.kind,
    state: objectState(object),
    keep: object.keep,
    producer: object.producer,
    info:
      state.kind === "finished"
        ? { size: state.size, sha256: state.sha256, contentType: state.contentType, user: state.user }
        : undefined,
    user: object.user,
  };
}

export function sessionView(k: Kernel, session: Session): SessionView {
  return {
    session: session.id,
    name: session.name,
    state: session.failure ? "failed" : "open",
    onError: session.onError,
    detached: session.detached,
    connected: (k.live.sessions.get(session)?.connections.size ?? 0) > 0,
    counts: k.openSession(session).rows.copyCounts(),
    failure: session.failure,
    unique: session.unique,
    parallelism: session.parallelism,
    maxFails: session.maxFails,
    created: session.created,
  };
}

export function governorView(k: Kernel, governor: LiveGovernor): GovernorView | undefined {
  const { hello } = governor;
  if (!hello) return undefined; // known from the journal, not seen since the start
  const tasks = [...governor.attempts.values()].slice(0, LISTED);
  const objects = [...governor.replicas].slice(0, LISTED);
  return {
    governor: governor.id,
    name: hello.name,
    state: governor.connection === undefined ? "lost" : "connected",
    capacity: hello.capacity,
    used: fromAmounts(minus(governor.capacity, governor.free)),
    labels: hello.labels,
    ...(hello.environments === undefined ? {} : { environments: hello.environments }),
    ...(hello.executors === undefined ? {} : { executors: hello.executors }),
    ...(hello.costPerHour === undefined ? {} : { costPerHour: hello.costPerHour }),
    ...(hello.memoryLimit === undefined ? {} : { memoryLimit: hello.memoryLimit }),
    ...(hello.processLimit === undefined ? {} : { processLimit: hello.processLimit }),
    ...(isDraining(k, governor.id) ? { draining: true, drainStatus: drainStatus(k, governor) } : {}),
    tasks: tasks.map(({ session, task }) => ({ session, task })),
    objects: objects.map((object) => ({ session: object.session.id, object: object.id })),
  };
}
