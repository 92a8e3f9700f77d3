import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RainError } from "@rain/protocol";
import { nanoid } from "nanoid";
import { z } from "zod";
import { errorCode } from "./monitor/errno.ts";
import { readStat } from "./monitor/processes.ts";

/** Who holds a work folder. Pid, start time and boot together never name two processes. */
const holderSchema = z.object({
  pid: z.int().positive(),
  /** Clock ticks from boot to the start of the process; null where there is no /proc. */
  startTime: z.number().nullable(),
  bootId: z.string().nullable(),
});
type Holder = z.infer<typeof holderSchema>;

/**
 * Makes this process the only governor of a work folder, and answers how to give it back. A lock whose process is gone
 * is taken over. Throws RainError "not-allowed" while another governor lives.
 */
export async function lockWorkdir(workdir: string): Promise<() => Promise<void>> {
  const path = join(workdir, "lock");
  const mine: Holder = {
    pid: process.pid,
    startTime: readStat(process.pid)?.startTime ?? null,
    bootId: await readBootId(),
  };
  const text = JSON.stringify(mine);
  while (!(await create(path, text))) {
    const held = await readIfThere(path);
    if (held === undefined) continue; // given back in this moment
    const holder = parseHolder(held);
    if (holder && isAlive(holder, mine)) {
      throw new RainError(
        "not-allowed",
        `the work folder ${workdir} is in use by a governor that runs (process ${holder.pid}); ` +
          "stop that one, or give this one another work folder",
        { workdir, pid: holder.pid },
      );
    }
    await moveAside(path, held);
  }
  let isHeld = true;
  return async () => {
    if (!isHeld) return;
    isHeld = false;
    await rm(path, { force: true });
  };
}

/** Removes a stale lock, and no other: one that somebody has just put in its place is put back. */
async function moveAside(path: string, stale: string): Promise<void> {
  const aside = `${path}.${nanoid()}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return;
    throw error;
  }
  if ((await readIfThere(aside)) !== stale) await linkIfFree(aside, path);
  await rm(aside, { force: true });
}

/** Makes the file with its content in one step; false when it is there. */
async function create(path: string, text: string): Promise<boolean> {
  const draft = `${path}.${nanoid()}`;
  await writeFile(draft, text, { mode: 0o600, flag: "wx" });
  try {
    return await linkIfFree(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
}

async function linkIfFree(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false;
    throw error;
  }
}

/** Undefined for what no whole governor wrote. */
function parseHolder(text: string): Holder | undefined {
  try {
    return holderSchema.safeParse(JSON.parse(text)).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isAlive(holder: Holder, mine: Holder): boolean {
  if (holder.bootId !== mine.bootId) return false;
  if (holder.startTime !== null) return readStat(holder.pid)?.startTime === holder.startTime;
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === "EPERM"; // it is there and belongs to someone else
  }
}

async function readBootId(): Promise<string | null> {
  return (await readIfThere("/proc/sys/kernel/random/boot_id"))?.trim() ?? null;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
