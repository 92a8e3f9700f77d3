import { randomBytes } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "../monitor/errno.ts";

/**
 * The name of this work folder in the cookies of its tasks: made once and kept in the folder, so that a governor that
 * starts again recognises the processes that an earlier one left behind.
 */
export async function instanceOf(workdir: string): Promise<string> {
  const path = join(workdir, "instance");
  try {
    const kept = (await readFile(path, "utf8")).trim();
    if (/^[0-9a-f]{32}$/.test(kept)) return kept;
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
  const instance = randomBytes(16).toString("hex");
  await writeFile(`${path}.new`, `${instance}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
  return instance;
}
