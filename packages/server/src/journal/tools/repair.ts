import { constants } from "node:fs";
import { cp, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { RainError } from "@rain/protocol";
import { failedOperation } from "../failure.ts";
import { partialName } from "../names.ts";
import { inOrder, type Done, type JournalStorage, type Operation } from "../storage.ts";
import type { RepairPlan } from "./plan.ts";

/**
 * Does what the plan says. The order is such that after an interruption the same repair can be made again: what is kept
 * is not touched before everything behind it is gone.
 */
export function applyRepair(
  storage: JournalStorage,
  plan: RepairPlan,
  done: (error: RainError | undefined) => void,
): void {
  const partial = storage
    .list()
    .filter((name) => plan.write.has(name.replace(/\.tmp$/, "")) && name.endsWith(".tmp"));
  const operations: Operation[] = [
    ...[...partial, ...plan.remove.toReversed()].map(
      (name): Operation =>
        (next) =>
          storage.remove(name, next),
    ),
    ...[...plan.cut]
      .filter(([name]) => !plan.write.has(name))
      .flatMap(([name, size]): Operation[] => [
        (next) => storage.truncate(name, size, next),
        (next) => storage.sync(name, next),
      ]),
    ...[...plan.write].flatMap(([name, bytes]) =>
      replace(storage, name, bytes.subarray(0, plan.cut.get(name))),
    ),
    (next) => storage.syncFolder(next),
  ];
  inOrder(operations, (error) =>
    done(error === undefined ? undefined : failedOperation("repairing", "the journal's folder", error)),
  );
}

function replace(storage: JournalStorage, name: string, bytes: Uint8Array): Operation[] {
  const partial = partialName(name);
  return [
    (next: Done) => storage.create(partial, next),
    (next: Done) => storage.append(partial, bytes, next),
    (next: Done) => storage.sync(partial, next),
    (next: Done) => storage.rename(partial, name, next),
  ];
}

/**
 * A copy of the whole folder beside it, `FOLDER.damaged-TIME`, on disk when this returns. `time` is part of its name.
 * After a failure there is none.
 */
export async function keepCopy(folder: string, time: Date): Promise<string> {
  const stamp = time.toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const copy = `${folder}.damaged-${stamp}`;
  const draft = join(dirname(copy), `.${basename(copy)}.${process.pid}.partial`);
  const taken = await readdir(dirname(copy));
  if (taken.includes(basename(copy)))
    throw new RainError("bad-request", `there is a copy ${copy} already; wait a second and try again`, {
      copy,
    });
  try {
    await mkdir(draft, { mode: 0o700 });
    for (const name of await readdir(folder)) {
      if (name.startsWith("lock")) continue;
      await cp(join(folder, name), join(draft, name), { recursive: true, mode: constants.COPYFILE_FICLONE });
      await syncPath(join(draft, name));
    }
    await syncPath(draft);
    await rename(draft, copy);
    await syncPath(dirname(copy));
    return copy;
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
