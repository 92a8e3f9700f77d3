import { isDeepStrictEqual } from "node:util";
import { DurableState } from "@rain/server/core";
import { recover } from "../../../packages/server/src/journal/recover.ts";
import { openCount } from "../../../packages/server/src/core/state.ts";
import { snapshotItems } from "../../../packages/server/src/core/snapshot.ts";
import type { Disk } from "../disk.ts";
import { CLUSTER_ID, type World } from "../world.ts";

const RULE = "replay-equals-live";

/** What the files say, read by the production code, is what the server has in memory. */
export function checkJournal(world: World, disk: Disk, live: DurableState): void {
  const replayed = new DurableState();
  recover(disk, CLUSTER_ID, replayed);
  const [there, here] = [[...snapshotItems(live)], [...snapshotItems(replayed)]];
  for (let at = 0; at < Math.max(there.length, here.length); at++) {
    const [a, b] = [there[at], here[at]];
    // Faster than texts; where they differ, the texts decide, which do not know undefined from nothing.
    if (isDeepStrictEqual(a, b)) continue;
    world.check(textOf(a) === textOf(b), RULE, () => `live ${textOf(a)}, journal ${textOf(b)}`);
  }
  checkCounts(world, live, replayed);
}

const textOf = (item: object | undefined): string =>
  item === undefined ? "nothing" : JSON.stringify(item, plain);

function plain(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
}

/** What a dump leaves out, because it follows from the rest. */
function checkCounts(world: World, live: DurableState, replayed: DurableState): void {
  for (const session of live.sessions.values()) {
    const other = replayed.session(session.id);
    world.check(openCount(session) === openCount(other), RULE, () => `open tasks of session ${session.id}`);
    for (const object of session.objects.expandedOnes()) {
      const there = other.objects.get(object.id);
      world.check(
        there?.openConsumers === object.openConsumers && there.consumers.size === object.consumers.size,
        RULE,
        () => `consumers of ${session.id}/o${object.id}`,
      );
    }
  }
}
