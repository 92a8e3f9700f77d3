import {
  RainError,
  type DatastorePlace,
  type DatastoreVersion,
  type ReplyOf,
  type RequestOf,
} from "@rain/protocol";
import type { Kernel } from "./kernel.ts";

/** Datastores: what clients ask of them. That the bytes were uploaded is checked before a request comes here. */

export function createDatastore(
  k: Kernel,
  request: RequestOf<"datastore.create">,
): ReplyOf<"datastore.create"> {
  const { key, name, kind, size, sha256, source, created } = request;
  const { datastores } = k.durable;
  const known = datastores.byKey.get(key);
  if (known !== undefined) return { version: known };
  const version = (datastores.byName.get(name)?.last ?? 0) + 1;
  k.commit({ type: "datastore.created", key, name, version, kind, size, sha256, source, created });
  return { version };
}

/** What of the list one message may hold, characters as JSON. */
const PAGE_CHARS = 800_000;

export function listDatastores(
  k: Kernel,
  { after, max }: RequestOf<"datastore.list">,
): ReplyOf<"datastore.list"> {
  const all = k.durable.datastores.all();
  if (max === undefined) return { datastores: all };
  const datastores: DatastoreVersion[] = [];
  let chars = 0;
  for (const each of all) {
    if (after !== undefined && !comesAfter(each, after)) continue;
    chars += JSON.stringify(each).length;
    if (datastores.length > 0 && (datastores.length === max || chars > PAGE_CHARS))
      return { datastores, more: true };
    datastores.push(each);
  }
  return { datastores };
}

/** In the order of the list. */
const comesAfter = (one: DatastorePlace, other: DatastorePlace): boolean =>
  one.name === other.name ? one.version > other.version : one.name > other.name;

/** Answers 0 when a version is deleted already, so that the request can be repeated. */
export function deleteDatastore(
  k: Kernel,
  { name, version }: RequestOf<"datastore.delete">,
): ReplyOf<"datastore.delete"> {
  const datastore = k.durable.datastores.byName.get(name);
  if (!datastore) throw unknown(`there is no datastore ${name}`, name);
  if (version !== undefined && version > datastore.last) {
    throw unknown(`datastore ${name} has no version ${version}; the last one is ${datastore.last}`, name);
  }
  const isMeant = (each: DatastoreVersion): boolean => version === undefined || each.version === version;
  const versions = datastore.versions.filter(isMeant).map((each) => each.version);
  if (versions.length > 0) k.commit({ type: "datastore.deleted", name, versions });
  return { removed: versions.length };
}

const unknown = (what: string, name: string): RainError =>
  new RainError("unknown-datastore", `${what}; see: rain datastore list`, { name });
