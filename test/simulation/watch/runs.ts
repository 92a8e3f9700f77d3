import { taskStates, type TaskState } from "@rain/protocol";
import type { ServerStep } from "@rain/server/core";
import type { Kernel } from "../../../packages/server/src/core/kernel.ts";
import type { Session } from "../../../packages/server/src/core/state.ts";
import type { World } from "../world.ts";

/** What a session counts along, counted anew; and the limits of sessions. */
export function checkRuns(world: World, k: Kernel, step: ServerStep | undefined): void {
  const held = new Map<number, number>();
  for (const { attempts } of k.live.governors.values()) {
    for (const { session } of attempts.values()) held.set(session, (held.get(session) ?? 0) + 1);
  }
  for (const session of k.durable.sessions.values()) {
    const live = k.live.sessions.get(session);
    world.check(
      (live?.held ?? 0) === (held.get(session.id) ?? 0),
      "held-count",
      () => `session ${session.id} counts ${live?.held} attempts, governors have ${held.get(session.id)}`,
    );
    checkCounts(world, k, session);
  }
  for (const effect of step?.effects ?? []) {
    if (effect.type !== "assign") continue;
    const { parallelism } = k.durable.session(effect.session);
    world.check(
      parallelism === undefined || (held.get(effect.session) ?? 0) <= parallelism,
      "parallelism",
      () => `session ${effect.session} gets ${held.get(effect.session)} attempts, ${parallelism} are allowed`,
    );
  }
  for (const record of step?.records ?? []) {
    const session = record.type === "failed" ? k.durable.sessions.get(record.session) : undefined;
    if (session?.maxFails === undefined || session.failed - session.excused < session.maxFails) continue;
    // What is lost of the results is made again all the same.
    const open = [...session.open].filter(({ mustRun }) => !mustRun);
    world.check(
      open.length + session.tasks.virtual === 0,
      "max-fails",
      () => `session ${session.id} has ${session.failed} failed tasks, and ${open.length} open ones`,
    );
  }
}

const NONE = Object.fromEntries(taskStates.map((state) => [state, 0])) as Record<TaskState, number>;

function checkCounts(world: World, k: Kernel, session: Session): void {
  const shown = k.live.sessions.get(session)?.rows.counts;
  const counts = { ...NONE };
  // What is excused is never folded.
  let [failed, excused] = [0, 0];
  for (const array of session.tasks.arrays) {
    for (const { kind, isReplaced, count } of array.folded()) {
      if (isReplaced) continue;
      counts[kind === "open" ? "ready" : kind] += count;
      if (kind === "failed") failed += count;
    }
  }
  for (const task of session.tasks.expandedOnes()) {
    if (task.replacedBy !== undefined) continue;
    counts[
      task.state.kind === "open" ? (k.live.tasks.get(task)?.phase.kind ?? "waiting") : task.state.kind
    ]++;
    if (task.state.kind === "failed") failed++;
    if (task.excused) excused++;
  }
  for (const state of taskStates) {
    if (shown?.[state] === counts[state]) continue;
    world.violate(
      "counts",
      `session ${session.id} counts ${shown?.[state]} tasks as ${state}, ${counts[state]} are`,
    );
  }
  world.check(
    session.failed === failed && session.excused === excused,
    "counts",
    () =>
      `session ${session.id} counts ${session.failed} failed tasks, ${session.excused} of them excused; ` +
      `${failed} are, and ${excused}`,
  );
}
