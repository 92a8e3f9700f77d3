import { constants } from "node:fs";
import { link, mkdir, open, rename, stat, unlink, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { nanoid } from "nanoid";
import { RainError } from "../errors.ts";
import { accessSchema, type Access } from "./access.ts";
import { createKey } from "./roles.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
const MAX_BYTES = 65_536;

/**
 * Makes the access of a new cluster, with a key for each role, and writes it to `path` (mode 0600, in a folder that is
 * made 0700). Throws RainError("bad-file") when there is a file already, or when others may write to the folder.
 */
export async function createAccess(path: string, options: { readonly url: string }): Promise<Access> {
  const keys = { client: createKey("client"), governor: createKey("governor"), viewer: createKey("viewer") };
  const access: Access = { v: 1, clusterId: nanoid(), url: options.url, keys };
  await writeAccess(path, access);
  return access;
}

/** Writes an access (a part of one, for another machine) to a new file, as `createAccess` does. */
export async function writeAccess(path: string, access: Access): Promise<void> {
  check(path, access);
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await checkFolder(folder);
  // A link, unlike a rename, fails when there is a file: of two that start at once, one makes the keys.
  await withTemporary(path, access, async (temporary) => {
    await link(temporary, path).catch((error: unknown) => {
      if (errno(error) === "EEXIST")
        throw bad(
          path,
          "exists already. Use it, or remove it to make new keys (the old ones then stop working)",
        );
      throw error;
    });
    await unlink(temporary);
  });
}

/** Gives the file another server address, in one step; no write when it is the same. Returns the access. */
export async function saveAccessUrl(path: string, url: string): Promise<Access> {
  const access = await loadAccess(path);
  if (access.url === url) return access;
  const changed = { ...access, url };
  check(path, changed);
  await withTemporary(path, changed, (temporary) => rename(temporary, path));
  return changed;
}

/**
 * Reads an access file. Throws RainError("bad-file") for one that is missing, a symbolic link, open to others, owned by
 * another user, or not valid; the message says what to do and never holds what the file does.
 */
export async function loadAccess(path: string): Promise<Access> {
  // O_NONBLOCK: a FIFO in its place must not block.
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch((error: unknown) => {
    throw openProblem(path, error);
  });
  try {
    await checkFile(path, file);
    return parseAccess(path, await file.readFile("utf8"));
  } finally {
    await file.close();
  }
}

function openProblem(path: string, error: unknown): unknown {
  const code = errno(error);
  if (code === "ENOENT")
    return bad(
      path,
      "does not exist. Start a server (rain start --simple), or copy the file from the server's machine",
    );
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
    throw bad(path, `has ${found.size} bytes; an access file has at most ${MAX_BYTES}`);
}

async function checkFolder(folder: string): Promise<void> {
  const found = await stat(folder);
  const user = process.getuid?.();
  if (user !== undefined && found.uid !== user && found.uid !== 0)
    throw bad(folder, `belongs to user ${found.uid}, not to you (${user}). Choose a folder of your own`);
  if ((found.mode & 0o022) !== 0)
    throw bad(folder, `may be written to by other users. Run: chmod 700 ${quote(folder)}`);
}

function parseAccess(path: string, text: string): Access {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message shows a part of the text, which may be a key: it is not passed on.
    throw bad(
      path,
      `is not valid JSON${text.endsWith("}\n") ? "" : " (it seems cut short)"}. Copy it again from its source`,
    );
  }
  return check(path, value);
}

function check(path: string, value: unknown): Access {
  const result = accessSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const place = issue === undefined || issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
  throw bad(
    path,
    `is not an access file: ${place}${issue?.message ?? "not valid"}. Copy it again from its source`,
  );
}

/** Writes the access beside `path` in a file of its own, on disk, and lets `place` put it there. */
async function withTemporary(
  path: string,
  access: Access,
  place: (temporary: string) => Promise<void>,
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${nanoid(8)}.tmp`);
  const file = await open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    try {
      await file.writeFile(`${JSON.stringify(access, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await place(temporary);
  } catch (error) {
    await unlink(temporary).catch((reason: unknown) => {
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

const errno = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error ? String(error.code) : undefined;
const quote = (path: string): string =>
  /^[\w./~-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
const bad = (path: string, problem: string): RainError =>
  new RainError("bad-file", `${path} ${problem}.`, { path });
