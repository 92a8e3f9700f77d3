import type { Run } from "../executor.ts";
import type { GovernorNode } from "../governor-node.ts";
import type { World } from "../world.ts";

/** A process that stood still ends its programs when it goes on, and they take a while to be dead. */
const AFTER_STALL_MS = 2_500;

/**
 * A governor with the policy "kill" has ended a program by the time the server gives its task to another. Not one that
 * stands still, that leaves, or whose identity another process took; nor when the server lost its hints.
 */
export function watchKilled(
  world: World,
  governors: readonly GovernorNode[],
  twins: readonly GovernorNode[],
): void {
  const check = ({ ref: { session, task, attempt } }: Run, starting: string): void => {
    if (world.lostPower) return;
    const twinned = new Set(twins.filter((each) => each.hasRun).map(({ identity }) => identity));
    for (const { name, process, onLost, identity } of governors) {
      if (onLost !== "kill" || name === starting || !process || twinned.has(identity)) continue;
      if (process.leaving || process.stall.until + AFTER_STALL_MS > world.loop.now) continue;
      for (const { ref } of process.executor.runs()) {
        const isOld = ref.session === session && ref.task === task && ref.attempt < attempt;
        world.check(
          !isOld,
          "run-twice",
          () =>
            `${starting} starts ${session}/${task}/${attempt}, and ${name} still runs attempt ${ref.attempt}`,
        );
      }
    }
  };
  world.onRun.push(check);
}
