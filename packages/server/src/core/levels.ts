import { outputsOf } from "./apply-tasks.ts";
import type { Live, LiveTask } from "./live.ts";
import type { Task } from "./state.ts";

/**
 * Gives every task its level: 1 + the largest level among the tasks that use its outputs. `tasks` are new; older open
 * tasks that feed them are raised too. Each task is visited again only when its level grew.
 */
export function assignLevels(tasks: readonly Task[], live: Live): void {
  // Consumers come after producers in a valid order of submit more often than not, so going backwards settles most at once.
  const work: LiveTask[] = [];
  for (const task of tasks) {
    const entry = live.tasks.get(task);
    if (entry) work.push(entry);
  }
  for (let entry = work.pop(); entry; entry = work.pop()) {
    let level = 1;
    for (const output of outputsOf(entry.task)) {
      for (const consumer of output.consumers) {
        const below = live.tasks.get(consumer);
        if (below && below.level >= level) level = below.level + 1;
      }
    }
    if (level <= entry.level) continue;
    const isQueued = entry.phase.kind === "ready";
    if (isQueued) entry.class.queue.leave(entry);
    entry.level = level;
    if (isQueued) entry.class.queue.push(entry);
    for (const input of entry.task.inputs) {
      if (input.producer === undefined) continue;
      const producer = input.session.tasks.there(input.producer);
      const above = producer && live.tasks.get(producer);
      if (above && above.level <= level) work.push(above);
    }
  }
}
