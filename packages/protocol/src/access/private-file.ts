import { constants } from "node:fs";
import { open, unlink, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { nanoid } from "nanoid";
import { RainError } from "../errors.ts";

/** Files that hold keys: theirs alone who own them, on the way in and on the way out. */

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
const MAX_BYTES = 65_536;

/**
 * The text of such a file. Throws RainError("bad-file") for one that is a symbolic link, open to others, owned by
 * another user or far too long; `missing` says what to do about one that is not there.
 */
export async function readPrivateFile(path: string, missing: string): Promise<string> {
  // O_NONBLOCK: a FIFO in its place must not block.
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch((error: unknown) => {
    throw openProblem(path, error, missing);
  });
  try {
    await checkFile(path, file);
    return await file.readFile("utf8");
  } finally {
    await file.close();
  }
}

function openProblem(path: string, error: unknown, missing: string): unknown {
  const code = errno(error);
  if (code === "ENOENT") return bad(path, `does not exist. ${missing}`);
  if (code === "ELOOP" || code === "EMLINK")
    return bad(path, "is a symbolic link, which is not followed. Name the file itself");
  if (code === "EACCES")
    return bad(path, `may not be read by this user. As its owner: chmod 600 ${quote(path)}`);
  return error;
}

async function checkFile(path: string, file: FileHandle): Promise<void> {
  const found = await file.stat();
  if (!found.isFile()) throw bad(path, "is not a regular file");
  const user = process.getuid?.();
  if (user !== undefined && found.uid !== user)
    throw bad(
      path,
      `belongs to user ${found.uid}, not to you (${user}). Make a copy that is yours: chmod 600 the copy`,
    );
  if ((found.mode & 0o077) !== 0) {
    const mode = (found.mode & 0o777).toString(8);
    throw bad(path, `holds keys but is open to other users (mode ${mode}). Run: chmod 600 ${quote(path)}`);
  }
  if (found.size > MAX_BYTES)
    throw bad(path, `has ${found.size} bytes; such a file has at most ${MAX_BYTES}`);
}

/** Writes the text beside `path` in a file of its own, on disk, and lets `place` put it there. */
export async function withPrivateDraft(
  path: string,
  text: string,
  place: (draft: string) => Promise<void>,
): Promise<void> {
  const draft = join(dirname(path), `.${basename(path)}.${nanoid(8)}.tmp`);
  const file = await open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await place(draft);
  } catch (error) {
    await unlink(draft).catch((reason: unknown) => {
      if (errno(reason) !== "ENOENT") throw reason;
    });
    throw error;
  }
  await syncFolder(dirname(path));
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export const errno = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error ? String(error.code) : undefined;
export const quote = (path: string): string =>
  /^[\w./~-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
export const bad = (path: string, problem: string): RainError =>
  new RainError("bad-file", `${path} ${problem}.`, { path });
