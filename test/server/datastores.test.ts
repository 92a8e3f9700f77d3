import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import {
  asDigest,
  asObjectId,
  blobPath,
  fromWireError,
  objectPath,
  replySchemas,
  serverToClient,
  type ClientRequest,
  type Digest,
  type ReplyOf,
  type RequestOf,
  type RequestType,
  type ServerToClient,
} from "@rain/protocol";
import { loadAccess } from "@rain/protocol/access";
import { parse } from "@rain/protocol/codec";
import { connectLink, type Link } from "@rain/protocol/link";
import { startServer, type RunningServer } from "@rain/server";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BlobFolder } from "../../packages/server/src/objects/blobs.ts";

/** Bytes of datastores on a real server's disk: from the upload to the last that names them. */

const digestOf = (bytes: Uint8Array): Digest => asDigest(createHash("sha256").update(bytes).digest("hex"));
const large = new Uint8Array(randomBytes(200_000));
const sha256 = digestOf(large);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "rain-datastores-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("a server", () => {
  let server: RunningServer;
  let link: Link<ServerToClient, ClientRequest>;
  const waiting = new Map<number, (message: ServerToClient) => void>();
  let reqs = 0;

  async function start(): Promise<void> {
    const listen = { host: "127.0.0.1", port: 0 };
    const log = (): void => undefined;
    server = await startServer({ instanceDir: folder, listen, version: "0", log });
    const { keys, clusterId } = await loadAccess(server.accessFile);
    link = await connectLink<ServerToClient, ClientRequest>({
      url: server.url,
      role: "client",
      key: keys.client ?? "",
      clusterId,
      schema: serverToClient,
    });
    link.onMessage((message) => waiting.get(message.req)?.(message));
  }
  async function stop(): Promise<void> {
    link.close();
    await server.stop();
  }
  beforeEach(start);
  afterEach(stop);

  async function ask<T extends RequestType>(
    type: T,
    fields: Omit<RequestOf<T>, "type" | "req">,
  ): Promise<ReplyOf<T>> {
    const req = ++reqs;
    const answer = new Promise<ServerToClient>((resolve) => waiting.set(req, resolve));
    link.send({ type, req, ...fields } as unknown as ClientRequest);
    const message = await answer;
    if (message.type === "error") throw fromWireError(message.error);
    return parse(replySchemas[type], message.ok, type);
  }
  const http = (method: string, path: string, body?: Uint8Array<ArrayBuffer>): Promise<Response> =>
    fetch(server.url + path, {
      method,
      headers: { authorization: `Rain-Token ${link.welcome.token}` },
      ...(body ? { body } : {}),
    });
  const create = { key: "datastore-1", name: "digits", kind: "blob", size: large.length, sha256 } as const;

  it("makes a version of uploaded bytes only", async () => {
    await expect(ask("datastore.create", create)).rejects.toMatchObject({
      code: "unknown-object",
      message: "datastore digits: its bytes were not uploaded; upload them before making it",
    });
    expect((await http("PUT", blobPath(sha256), large)).status).toBe(201);
    await expect(ask("datastore.create", { ...create, size: 3 })).rejects.toMatchObject({
      code: "bad-request",
    });
    expect(await ask("datastore.create", create)).toEqual({ version: 1 });
    expect((await ask("datastore.list", {})).datastores).toMatchObject([
      { name: "digits", version: 1, sha256 },
    ]);
  });

  it("gives its bytes to a constant that names them, without an upload, also after a restart", async () => {
    await http("PUT", blobPath(sha256), large);
    await ask("datastore.create", create);
    await stop();
    await start();
    const opened = { key: "session-1", name: "s", onError: "continue", detached: true } as const;
    const { session } = await ask("session.open", opened);
    const constant = { id: asObjectId(0), kind: "blob", label: "in", contentType: "", keep: true } as const;
    const constants = [{ ...constant, size: large.length, sha256 }];
    await ask("submit", { session, key: "submit-1", part: 0, last: true, tasks: [], constants });
    // It is deleted, and a session has its bytes still; then nobody names them.
    expect(await ask("datastore.delete", { name: "digits" })).toEqual({ removed: 1 });
    const got = await http("GET", objectPath(session, asObjectId(0)));
    expect(digestOf(new Uint8Array(await got.arrayBuffer()))).toBe(sha256);
    const file = join(folder, "uploads", sha256);
    expect(existsSync(file)).toBe(true);
    await ask("session.close", { session });
    await stop();
    await start();
    expect(existsSync(file)).toBe(false);
    // The request that made it is known still, and makes no other.
    expect(await ask("datastore.create", create)).toEqual({ version: 1 });
  });
});

describe("the folder of uploads", () => {
  const used = new Set<Digest>();
  const open = (graceMs: number): Promise<BlobFolder> =>
    BlobFolder.open(folder, { isUsed: (each) => used.has(each), graceMs });
  const upload = (blobs: BlobFolder): Promise<boolean> => blobs.write(sha256, Readable.from([large]));
  beforeEach(() => used.clear());

  it("keeps what was named again after its removal was decided", async () => {
    const blobs = await open(0);
    await upload(blobs);
    used.add(sha256);
    await blobs.remove(sha256);
    expect(existsSync(join(folder, sha256))).toBe(true);
    used.clear();
    await blobs.remove(sha256);
    expect(existsSync(join(folder, sha256))).toBe(false);
    expect(blobs.size(sha256)).toBeUndefined();
  });
  it("removes an upload when nobody can be about to name it any more", async () => {
    const blobs = await open(200);
    await upload(blobs);
    const start = performance.now();
    // The wait does not keep a process alive: something else must.
    const alive = setInterval(() => undefined, 1_000);
    await blobs.remove(sha256);
    clearInterval(alive);
    expect(performance.now() - start).toBeGreaterThan(100);
    expect(existsSync(join(folder, sha256))).toBe(false);
  });
  it("takes the same bytes again while they are being removed", async () => {
    const blobs = await open(0);
    for (let round = 0; round < 20; round++) {
      await upload(blobs);
      const removed = blobs.remove(sha256);
      await Promise.all([removed, upload(blobs)]);
      expect(blobs.size(sha256)).toBe(large.length);
      expect(existsSync(join(folder, sha256))).toBe(true);
    }
  });
});
