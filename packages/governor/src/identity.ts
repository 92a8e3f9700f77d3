import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RainError } from "@rain/protocol";
import { nanoid } from "nanoid";
import { errorCode } from "./monitor/errno.ts";

/** The governor's identity: random, made at the first start in a work folder, the same ever after. */
export async function readIdentity(workdir: string): Promise<string> {
  const path = join(workdir, "identity");
  try {
    const text = (await readFile(path, "utf8")).trim();
    if (/^[\w-]{8,64}$/.test(text)) return text;
    throw new RainError(
      "bad-file",
      `${path} is damaged: it must hold 8 to 64 letters, digits, '_' and '-'; delete it to get a new identity`,
    );
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
  const identity = nanoid();
  await writeFile(path, `${identity}\n`, { mode: 0o600, flag: "wx" });
  return identity;
}
