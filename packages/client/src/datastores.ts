import { createHash } from "node:crypto";
import { createReadStream, statSync, type Stats } from "node:fs";
import { basename, resolve } from "node:path";
import { asDigest, limits, plainName, RainError, type DatastoreVersion } from "@rain/protocol";
import { nanoid } from "nanoid";
import { badRequest, checkName, checkNumber, checkOptions, show, wrongType } from "./check.ts";
import type { Connection } from "./connection.ts";
import { DataObject, newRecord, recordOf } from "./data-object.ts";
import { directory, packFolders } from "./directory.ts";
import { Spool } from "./spool.ts";
import type { Uploads } from "./uploads.ts";

export interface DatastoreOptions {
  /** Where it came from, for people. Default: the path. */
  readonly source?: string | undefined;
}
const optionNames = new Set(["source"]);

interface Context {
  readonly connection: Connection;
  readonly uploads: Uploads;
}

/** Uploads a file or folder of this machine as the next version of a datastore. */
export async function createDatastore(
  { connection, uploads }: Context,
  name: string,
  path: string,
  options: DatastoreOptions,
): Promise<DatastoreVersion> {
  checkDatastoreName("createDatastore", name);
  checkOptions("createDatastore", options, optionNames);
  if (typeof path !== "string")
    throw wrongType(`createDatastore: the path must be a string, not ${show(path)}`);
  const source = checkName("createDatastore: source", options.source ?? resolve(path));
  const object = await pack(path);
  const { kind, info, content } = recordOf(object);
  if (!info) throw new Error("a constant that is not packed");
  const { size, sha256 } = info;
  const fields = { key: nanoid(), name, kind, size, sha256, source, created: Date.now() };
  try {
    await uploads.ensure([object]);
    const { version } = await uploadedAgain(
      uploads,
      object,
      async () => await connection.request("datastore.create", fields),
    );
    return { name, version, kind, size, sha256, source, created: fields.created };
  } finally {
    if (content instanceof Spool) await content.close();
  }
}

/** What an earlier call uploaded may be gone from the server since: once more, with the bytes. */
async function uploadedAgain<T>(uploads: Uploads, object: DataObject, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof RainError) || error.code !== "unknown-object") throw error;
    uploads.forget([object]);
    await uploads.ensure([object]);
    return await ask();
  }
}

async function pack(path: string): Promise<DataObject> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) throw badRequest(`createDatastore: ${show(path)} does not exist`);
  if (found.isFile()) return await packFile(path, found);
  if (!found.isDirectory()) throw badRequest(`createDatastore: ${show(path)} is neither a file nor a folder`);
  const object = directory(path);
  await packFolders([object]);
  return object;
}

/** A file's bytes are copied once, so that what is uploaded is what was hashed. */
async function packFile(path: string, before: Stats): Promise<DataObject> {
  const content = new Spool();
  try {
    const hash = createHash("sha256");
    let size = 0;
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      await content.writeAt(chunk, size);
      size += chunk.length;
    }
    await content.flush();
    const after = statSync(path);
    if (size !== before.size || after.size !== before.size || after.mtimeMs !== before.mtimeMs)
      throw badRequest(
        `createDatastore: ${show(path)} changed while it was read; let its writer finish first`,
      );
    const info = { size, sha256: asDigest(hash.digest("hex")), contentType: "" };
    return new DataObject(newRecord({ label: basename(path), contentType: "", content, info }));
  } catch (error) {
    await content.close();
    throw error;
  }
}

/** All versions, page by page. */
export async function listDatastores(connection: Connection): Promise<DatastoreVersion[]> {
  const all: DatastoreVersion[] = [];
  for (let more: boolean | undefined = true; more === true;) {
    const last = all.at(-1);
    const after = last && { name: last.name, version: last.version };
    const page = await connection.request("datastore.list", { after, max: limits.nextItems });
    all.push(...page.datastores);
    more = page.more;
  }
  return all;
}

/** A version of the list; the newest when none is named. */
export function findVersion(
  all: readonly DatastoreVersion[],
  name: string,
  version: number | undefined,
): DatastoreVersion {
  const versions = all.filter((one) => one.name === name).toSorted((a, b) => a.version - b.version);
  const found = version === undefined ? versions.at(-1) : versions.find((one) => one.version === version);
  if (found) return found;
  const names = [...new Set(all.map((one) => one.name))];
  const there =
    versions.length > 0
      ? `its versions: ${versions.map((one) => one.version).join(", ")}`
      : `there are: ${names.join(", ") || "none"}`;
  const what = version === undefined ? "" : ` version ${version}`;
  throw new RainError("unknown-datastore", `there is no datastore ${show(name)}${what}; ${there}`, { name });
}

/** A constant over bytes that the server has. */
export function datastoreObject({ name, kind, size, sha256 }: DatastoreVersion): DataObject {
  const info = { size, sha256, contentType: "" };
  return new DataObject(newRecord({ kind, label: name, contentType: "", info, stored: true }));
}

export function checkDatastoreName(what: string, name: unknown): string {
  if (typeof name !== "string") throw wrongType(`${what}: the name must be a string, not ${show(name)}`);
  const parsed = plainName.safeParse(name);
  if (parsed.success) return name;
  throw badRequest(`${what}: the name ${show(name)}: use ${parsed.error.issues[0]?.message}`);
}

export const checkVersion = (what: string, version: number | undefined): number | undefined =>
  version === undefined ? undefined : checkNumber(`${what}: version`, version, 1, 2 ** 31 - 1, true);
