import { lstat, mkdir } from "node:fs/promises";
import { RainError } from "../errors.ts";

/**
 * Makes a folder if need be, and refuses one that others could tamper with. `what` names it: "the work folder".
 * Throws RainError "not-allowed".
 */
export async function secureFolder(folder: string, what: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const found = await lstat(folder);
  const refuse = (problem: string, remedy: string): RainError =>
    new RainError("not-allowed", `${what} ${folder} ${problem}; ${remedy}`, { folder });
  if (found.isSymbolicLink()) throw refuse("is a symbolic link", "name the folder itself");
  if (!found.isDirectory()) throw refuse("is not a folder", "choose another one");
  const uid = process.getuid?.();
  if (uid !== undefined && found.uid !== uid) {
    throw refuse(`belongs to user ${found.uid}, and this is user ${uid}`, "choose a folder of your own");
  }
  const worldWritable = (found.mode & 0o002) !== 0;
  const sticky = (found.mode & 0o1000) !== 0;
  if (worldWritable && !sticky) throw refuse("can be written by every user", `run: chmod 700 ${folder}`);
}
