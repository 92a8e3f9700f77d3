import { objectPath, RainError, type ObjectId, type ReplyOf, type SessionId } from "@rain/protocol";
import { badRequest } from "./check.ts";
import { nameObject, recordOf, type DataObject } from "./data-object.ts";
import { download } from "./download.ts";
import type { Http } from "./http.ts";
import { DataInstance } from "./instance.ts";
import { Spool } from "./spool.ts";

/** Up to here an object is fetched into memory, above into a file without a name. */
const MEMORY_BYTES = 16 * 1024 ** 2;

/** The number of an object that can be fetched as far as it is known here; throws for another. */
export function checkFetchable(object: DataObject): ObjectId {
  const { id, phase, keep } = recordOf(object);
  if (id === undefined || phase === "new") {
    throw badRequest(`${nameObject(object)} is not submitted; submit() comes first`);
  }
  if (phase === "unkept")
    throw new RainError("object-removed", `${nameObject(object)} was let go by unkeep()`);
  if (!keep) {
    throw new RainError(
      "not-kept",
      `${nameObject(object)} is not kept, so that it cannot be fetched; keep() it before the submit that makes it`,
    );
  }
  return id;
}

/** Brings the bytes of a finished object that did not come along with the server's answer. */
export async function bringBytes(
  http: Http,
  session: SessionId,
  object: ObjectId,
  { info, data }: ReplyOf<"fetch">,
  signal: AbortSignal | undefined,
): Promise<DataInstance> {
  if (data) return new DataInstance(info, data);
  const path = objectPath(session, object);
  if (info.size <= MEMORY_BYTES) {
    const bytes = Buffer.allocUnsafe(info.size);
    await download(http, path, info, (chunk, at) => bytes.set(chunk, at), signal);
    return new DataInstance(info, bytes);
  }
  const spool = new Spool();
  try {
    await download(http, path, info, (chunk, at) => spool.writeAt(chunk, at), signal);
  } catch (error) {
    await spool.close();
    throw error;
  }
  return new DataInstance(info, spool);
}
