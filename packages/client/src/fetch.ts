import {
  objectPath,
  RainError,
  type ObjectId,
  type ObjectInfo,
  type ReplyOf,
  type SessionId,
} from "@rain/protocol";
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

/** An object that is lost again and again while it is fetched is given up after so many rounds. */
const MAX_ROUNDS = 5;
/** HTTP status of an object whose governors do not answer now. */
const HOLDERS_AWAY = 503;

/**
 * Brings the bytes of an object, once `ask` says that it is finished. When it is lost meanwhile it is made again, maybe
 * with other bytes: the server is then asked once more.
 */
export async function bringBytes(
  http: Http,
  session: SessionId,
  object: DataObject,
  ask: () => Promise<ReplyOf<"fetch">>,
  signal: AbortSignal | undefined,
): Promise<DataInstance> {
  const record = recordOf(object);
  if (record.id === undefined) throw new Error("an object without a number");
  const path = objectPath(session, record.id);
  for (let round = 1; ; round++) {
    const { kind, info, data } = await ask();
    record.info = info;
    record.state = "finished";
    if (data) return new DataInstance(info, data, kind);
    try {
      return new DataInstance(info, await bring(http, path, info, signal), kind);
    } catch (error) {
      if (!(error instanceof RainError)) throw error;
      // Its governor is away, after a restart of the server for example. It comes back, or its lease runs out and the
      // object is made again: either way the server's next answer knows more.
      if (error.facts["status"] === HOLDERS_AWAY) {
        round--;
        continue;
      }
      const mayBeMadeAgain = error.code === "unknown-object" || error.code === "bad-digest";
      if (!mayBeMadeAgain || round === MAX_ROUNDS) throw error;
    }
  }
}

async function bring(
  http: Http,
  path: string,
  info: ObjectInfo,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | Spool> {
  if (info.size <= MEMORY_BYTES) {
    const bytes = Buffer.allocUnsafe(info.size);
    const take = (chunk: Buffer, at: number): undefined => {
      bytes.set(chunk, at);
    };
    await download(http, path, info, take, signal);
    return bytes;
  }
  const spool = new Spool();
  try {
    await download(http, path, info, (chunk, at) => spool.writeAt(chunk, at), signal);
    await spool.flush();
  } catch (error) {
    await spool.close();
    throw error;
  }
  return spool;
}
