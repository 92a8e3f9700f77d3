import { formatObject, formatTask } from "@rain/protocol";
import { lacks, meets } from "./demand.ts";
import { isDraining, takesTasks } from "./drain.ts";
import type { Kernel } from "./kernel.ts";
import { isFull, type LiveTask } from "./live.ts";
import { fits, shortfalls } from "./resources.ts";
import { isStopped, type CachedFrom, type DataObject, type Task } from "./state.ts";
import { taskState } from "./views.ts";

/** How many inputs or governors an explanation lists before it only counts. */
const LISTED = 8;

/** Why a task is where it is: lines for people, the most important first. */
export function explain(k: Kernel, task: Task): string[] {
  const { state } = task;
  switch (state.kind) {
    case "open":
      return explainOpen(k, task);
    case "finished":
      if (state.from) return [explainCached(task, state.from), ...history(task)];
      return [
        `finished in attempt ${state.attempt} on ${governorName(k, state.governor)}` +
          (state.info.durationS === undefined ? "" : ` after ${state.info.durationS.toFixed(3)} s`),
        ...history(task),
      ];
    case "failed":
      return [`failed in attempt ${state.attempt}: ${state.failure.message}`, ...history(task)];
    case "cancelled": {
      const { failure: cause, maxFails, failed, excused } = task.session;
      if (isStopped(task.session)) {
        return [
          `cancelled; session ${task.session.id} cancels its open tasks when ${maxFails} have failed (maxFails), and ${failed - excused} have`,
        ];
      }
      return [cause ? `cancelled, because task ${name(task, cause.task)} failed its session` : "cancelled"];
    }
    case "aborted":
      return [`aborted: its inputs can never come, because task ${name(task, state.cause)} did not finish`];
  }
}

const governorName = (k: Kernel, id: Parameters<typeof k.durable.governors.get>[0]): string =>
  k.durable.governors.get(id)?.name ?? `governor ${id}`;

function name(of: Task, id: Task["spec"]["id"]): string {
  const task = of.session.tasks.get(id);
  const text = formatTask(of.session.id, id);
  return task?.spec.name ? `${text} (${task.spec.name})` : text;
}

function explainCached(task: Task, from: CachedFrom): string {
  const did = formatTask(from.session, from.task) + (from.name === undefined ? "" : ` (${from.name})`);
  const where = from.session === task.session.id ? "" : " in another session";
  return `it was not run: task ${did} did the same before${where}`;
}

function history(task: Task): string[] {
  const lines: string[] = [];
  if (task.crashes > 0) lines.push(`${task.crashes} earlier attempts were lost with their governors`);
  if (task.failures > 0) lines.push(`${task.failures} earlier attempts failed and were retried`);
  if (task.starved > 0) lines.push(`${task.starved} earlier attempts could not get their inputs`);
  return lines;
}

function explainOpen(k: Kernel, task: Task): string[] {
  const live = k.live.tasks.get(task);
  if (!live) return ["not scheduled yet"];
  const { phase } = live;
  const seconds = (since: number): string => ((k.now - since) / 1000).toFixed(1);
  switch (phase.kind) {
    case "waiting":
      return [...explainWaiting(k, task), ...history(task)];
    case "ready":
      return [...explainReady(k, live), `ready for ${seconds(phase.since)} s`, ...history(task)];
    case "assigned":
    case "running": {
      const on = phase.governor.hello?.name ?? phase.governor.id;
      const away =
        phase.governor.connection === undefined
          ? `, which is away for ${seconds(phase.governor.lastHeard)} s`
          : "";
      const what =
        phase.kind === "running" ? "running" : "assigned, its inputs are brought or it waits for its turn";
      return [
        `${what} on ${on}${away}, attempt ${task.state.attempt}, for ${seconds(phase.since)} s`,
        ...history(task),
      ];
    }
  }
}

function explainWaiting(k: Kernel, task: Task): string[] {
  const missing = task.inputs.filter((input) => !k.live.available.has(input));
  const lines = missing.slice(0, LISTED).map((input) => `waits for ${explainMissing(k, input)}`);
  if (missing.length > LISTED) lines.push(`and for ${missing.length - LISTED} more inputs`);
  return lines;
}

function explainMissing(k: Kernel, input: DataObject): string {
  const object = `${formatObject(input.session.id, input.id)} (${input.label})`;
  const producer = input.producer === undefined ? undefined : input.session.tasks.get(input.producer);
  if (!producer) return object;
  if (input.state.kind === "finished") {
    const holders = [...(k.live.replicas.get(input) ?? [])].map(
      (each) => each.hello?.name ?? String(each.id),
    );
    return `${object}, whose only copies are on ${holders.join(", ")}, which is away`;
  }
  return `${object} of task ${name(producer, producer.spec.id)}, which is ${taskState(k, producer)}`;
}

function explainNoGovernor(k: Kernel): string {
  const drained = [...k.live.governors.values()].filter((each) => isDraining(k, each.id));
  if (drained.length === 0) return "no governor is connected; start one with: rain governor";
  const names = drained.slice(0, LISTED).map((each) => each.hello?.name ?? each.id);
  return `every connected governor is drained and gets no new tasks (${names.join(", ")}); start another: rain governor`;
}

function explainReady(k: Kernel, live: LiveTask): string[] {
  const { session, task } = live;
  let alike = 0;
  for (const { shape, queue } of k.live.classes.values()) if (shape === live.class.shape) alike += queue.size;
  if (isFull(session)) {
    const at = `session ${task.session.id} may have ${session.parallelism} tasks running at once (its parallelism)`;
    const ahead = alike > 1 ? `; ${alike} ready tasks of it wait alike` : "";
    return [`${at}, and has ${session.held}: it waits for one of them to end${ahead}`];
  }
  const governors = [...k.live.governors.values()].filter((each) => takesTasks(k, each));
  if (governors.length === 0) return [explainNoGovernor(k)];
  const { request, demand } = live.class;
  const able = governors.filter((each) => fits(request, each.capacity) && meets(demand, each.hello));
  const lines: string[] = [];
  if (able.length === 0) {
    lines.push(
      governors.some((each) => meets(demand, each.hello))
        ? "no connected governor is large enough, ever:"
        : "no connected governor has what it asks for:",
    );
    for (const each of governors.slice(0, LISTED)) {
      const missing = [...lacks(demand, each.hello), ...shortfalls(request, each.capacity)];
      lines.push(`  ${each.hello?.name ?? each.id} lacks ${missing.join(", ")}`);
    }
    return lines;
  }
  lines.push(`${able.length} of ${governors.length} governors are large enough, and all of them are busy:`);
  for (const each of able.slice(0, LISTED)) {
    const short = shortfalls(request, each.free);
    lines.push(
      `  ${each.hello?.name ?? each.id} ${short.length > 0 ? `needs to free ${short.join(", ")}` : "has room: it is next"}`,
    );
  }
  if (alike > 1) lines.push(`${alike} ready tasks ask for the same resources`);
  return lines;
}
