import { link, mkdir, rename, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { nanoid } from "nanoid";
import { accessSchema, type Access } from "./access.ts";
import { bad, errno, quote, readPrivateFile, withPrivateDraft } from "./private-file.ts";
import { createKey, type Role } from "./roles.ts";

/** Where a server is, and what it shows there. */
export type ServerPlace = Pick<Access, "url" | "certPem">;

const withPlace = (access: Omit<Access, "url" | "certPem">, { url, certPem }: ServerPlace): Access => {
  const { v, clusterId, keys } = access;
  return { v, clusterId, url, ...(certPem === undefined ? {} : { certPem }), keys };
};

/**
 * Makes the access of a new cluster, with a key for each role, and writes it to `path` (mode 0600, in a folder that is
 * made 0700). Throws RainError("bad-file") when there is a file already, or when others may write to the folder.
 */
export async function createAccess(path: string, place: ServerPlace): Promise<Access> {
  const keys = { client: createKey("client"), governor: createKey("governor"), viewer: createKey("viewer") };
  const access: Access = withPlace({ v: 1, clusterId: nanoid(), keys }, place);
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
  await withPrivateDraft(path, textOf(access), async (draft) => {
    await link(draft, path).catch((error: unknown) => {
      if (errno(error) === "EEXIST")
        throw bad(
          path,
          "exists already. Use it, or remove it to make new keys (the old ones then stop working)",
        );
      throw error;
    });
    await unlink(draft);
  });
}

/** Gives the file another place of the server, in one step; no write when it is the same. Returns the access. */
export async function saveAccessPlace(path: string, place: ServerPlace): Promise<Access> {
  const access = await loadAccess(path);
  if (access.url === place.url && access.certPem === place.certPem) return access;
  return replace(path, withPlace(access, place));
}

/** Gives these roles new keys, in one step. Returns the access as it is then. */
export async function rotateKeys(path: string, changed: readonly Role[]): Promise<Access> {
  const access = await loadAccess(path);
  const fresh = Object.fromEntries(changed.map((role) => [role, createKey(role)]));
  return replace(path, { ...access, keys: { ...access.keys, ...fresh } });
}

async function replace(path: string, access: Access): Promise<Access> {
  check(path, access);
  await withPrivateDraft(path, textOf(access), (draft) => rename(draft, path));
  return access;
}

const textOf = (access: Access): string => `${JSON.stringify(access, null, 2)}\n`;

/**
 * Reads an access file. Throws RainError("bad-file") for one that is missing, a symbolic link, open to others, owned by
 * another user, or not valid; the message says what to do and never holds what the file does.
 */
export async function loadAccess(path: string): Promise<Access> {
  const missing = "Start a server (rain start --simple), or copy the file from the server's machine";
  return parseAccess(path, await readPrivateFile(path, missing));
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
