import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import {
  createServer,
  get as httpGet,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { connect, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  asDigest,
  asSessionId,
  asTaskId,
  blobPath,
  logPath,
  type Digest,
  type ObjectSource,
} from "@rain/protocol";
import type { AuditEntry } from "@rain/protocol/link";
import { signTicket } from "@rain/protocol/tickets";
import { BlobStore } from "../../packages/governor/src/store/index.ts";
import { Acquirer, DataPort, type AcquireEffect } from "../../packages/governor/src/transfer/index.ts";

const digestOf = (bytes: string | Uint8Array): Digest =>
  asDigest(createHash("sha256").update(bytes).digest("hex"));
const cleanups: (() => Promise<unknown>)[] = [];
let root: string;
let store: BlobStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "rain-transfer-"));
  store = await BlobStore.open(join(root, "here"));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  await rm(root, { recursive: true, force: true });
});
const incoming = (): Promise<string[]> => readdir(join(root, "here", "incoming"));

/** A source that answers as told, and remembers the Range and Authorization of each request. */
async function source(
  answer: (response: ServerResponse, request: IncomingMessage, count: number) => void,
): Promise<{ url: string; asked: { range: string | undefined; authorization: string | undefined }[] }> {
  const asked: { range: string | undefined; authorization: string | undefined }[] = [];
  const server: Server = createServer((request, response) => {
    asked.push({ range: request.headers.range, authorization: request.headers.authorization });
    answer(response, request, asked.length);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

/** An address at which nobody listens. */
async function deadUrl(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

function acquirer(serverUrl = "http://127.0.0.1:9", progressMs?: number, partBytes?: number): Acquirer {
  const rest = {
    ...(progressMs === undefined ? {} : { progressMs }),
    ...(partBytes === undefined ? {} : { partBytes }),
  };
  const made = new Acquirer({ store, serverUrl, ...rest });
  cleanups.push(() => made.stop());
  return made;
}
const effectOf = (bytes: Uint8Array, sources: readonly ObjectSource[], data?: Uint8Array): AcquireEffect => ({
  type: "acquire",
  sha256: digestOf(bytes),
  size: bytes.length,
  kind: "blob",
  data,
  sources,
});
const at = (url: string, ticket = "T"): ObjectSource => ({ url, ticket });

async function expectStored(bytes: Buffer): Promise<void> {
  expect((await readFile(await store.onDisk(digestOf(bytes)))).equals(bytes)).toBe(true);
  expect(await incoming()).toEqual([]);
}

describe("acquire", () => {
  it("takes bytes that came along, if they are the right ones", async () => {
    const bytes = Buffer.from("inline");
    await acquirer().acquire(effectOf(bytes, [], bytes));
    await expectStored(bytes);
    const wrong = acquirer().acquire(effectOf(Buffer.from("promised"), [], bytes));
    await expect(wrong).rejects.toThrow(/bytes that the server sent along have the SHA-256/);
  });

  it("reads from a source with its ticket, and an address on the server with '/'", async () => {
    const bytes = randomBytes(300_000);
    const { url, asked } = await source((response) => response.end(bytes));
    await acquirer(url).acquire(effectOf(bytes, [at("/some/path", "abc")]));
    await expectStored(bytes);
    expect(asked).toEqual([{ range: undefined, authorization: "Rain-Ticket abc" }]);
    const empty = Buffer.of();
    const other = await source((response) => response.end());
    await acquirer().acquire(effectOf(empty, [at(other.url)]));
    await expectStored(empty);
  });

  it("asks once for the same bytes, and for at most eight objects at a time", async () => {
    const blobs = Array.from({ length: 20 }, () => randomBytes(1_000));
    let held: (() => void)[] = [];
    let most = 0;
    const { url, asked } = await source((response, request, count) => {
      held.push(() => response.end(blobs[Number(request.url?.slice(1))]));
      most = Math.max(most, held.length);
      if (held.length !== 8 && count !== 20) return;
      // Answered a little later: a ninth would come meanwhile.
      setTimeout(() => {
        for (const answer of held) answer();
        held = [];
      }, 50);
    });
    const into = acquirer();
    const twice = [...blobs.entries(), ...blobs.entries()];
    await Promise.all(twice.map(([index, bytes]) => into.acquire(effectOf(bytes, [at(`${url}/${index}`)]))));
    for (const bytes of blobs) await expectStored(bytes);
    expect(asked.length).toBe(20);
    expect(most).toBe(8);
  });

  it("goes on where it was after a cut", async () => {
    const bytes = randomBytes(500_000);
    const { url, asked } = await source((response, request, count) => {
      const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
      const total = bytes.length;
      response.writeHead(from > 0 ? 206 : 200, {
        "Content-Length": total - from,
        ...(from > 0 ? { "Content-Range": `bytes ${from}-${total - 1}/${total}` } : {}),
      });
      if (count > 3) response.end(bytes.subarray(from));
      else response.write(bytes.subarray(from, from + 100_000), () => response.destroy());
    });
    await acquirer().acquire(effectOf(bytes, [at(url)]));
    await expectStored(bytes);
    expect(asked.length).toBe(4);
    expect(asked.slice(1).every(({ range }) => range !== undefined)).toBe(true);
  });

  it("starts again when the source does not know Range", async () => {
    const bytes = randomBytes(200_000);
    const { url } = await source((response, _request, count) => {
      response.writeHead(200, { "Content-Length": bytes.length });
      if (count > 1) response.end(bytes);
      else response.write(bytes.subarray(0, 50_000), () => response.destroy());
    });
    await acquirer().acquire(effectOf(bytes, [at(url)]));
    await expectStored(bytes);
  });

  it("case 32: tries the sources in turn, and never lets wrong bytes in", async () => {
    const bytes = randomBytes(1_000);
    const corrupt = Buffer.from(bytes);
    corrupt[500] = (corrupt[500] ?? 0) ^ 1;
    const bad = await source((response) => response.end(corrupt));
    const good = await source((response) => response.end(bytes));
    await acquirer().acquire(effectOf(bytes, [at(await deadUrl()), at(bad.url), at(good.url)]));
    await expectStored(bytes);
    expect(bad.asked.length).toBe(1);
  });

  it("says for every source why it did not give the bytes", async () => {
    const bytes = randomBytes(1_000);
    const dead = await deadUrl();
    const answer = (status: number) => source((response) => response.writeHead(status).end());
    const missing = await answer(404);
    const denied = await answer(403);
    const other = await source((response) => response.end(randomBytes(1_000)));
    const long = await source((response) => response.end(Buffer.concat([bytes, bytes])));
    const short = await source((response) => response.end(bytes.subarray(0, 10)));
    const urls = [dead, missing.url, denied.url, other.url, long.url, short.url, "https://127.0.0.1:1/x"];
    const failed = acquirer().acquire(
      effectOf(
        bytes,
        urls.map((url) => at(url)),
      ),
    );
    const host = (url: string): string => new URL(url).host;
    const error = await failed.then(
      () => expect.fail("it has no source"),
      (error: unknown) => error as Error,
    );
    const parts = error.message.split("; ");
    expect(parts).toEqual([
      `${host(dead)} refused the connection`,
      `${host(missing.url)} does not have it (status 404)`,
      `${host(denied.url)} did not accept the ticket (status 403)`,
      expect.stringMatching(
        /^127.0.0.1:\d+ sent other bytes: their SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64}$/,
      ),
      `${host(long.url)} sent more than the 1000 bytes of the object`,
      expect.stringContaining(host(short.url)),
      "127.0.0.1:1 is not trusted: There is no certificate for https://127.0.0.1:1: nothing was sent. " +
        "Copy the access file again from the server's machine.",
    ]);
    expect(store.has(digestOf(bytes))).toBe(false);
    expect(await incoming()).toEqual([]);
    await expect(acquirer().acquire(effectOf(bytes, []))).rejects.toThrow(/named no place to read it from/);
  });

  it("gives up a source that sends nothing, before or within the answer", async () => {
    const bytes = randomBytes(1_000);
    const mute = await source(() => undefined);
    const stuck = await source((response) => {
      response.writeHead(200, { "Content-Length": bytes.length });
      response.write(bytes.subarray(0, 10));
    });
    const failed = acquirer(undefined, 200).acquire(effectOf(bytes, [at(mute.url), at(stuck.url)]));
    const text = /^\S+ sent nothing for 0.2 s; \S+ sent nothing for 0.2 s \(after 10 of 1000 bytes\)$/;
    await expect(failed).rejects.toThrow(text);
  });

  it("waits a little for the server to be there", async () => {
    const bytes = randomBytes(1_000);
    const url = await deadUrl();
    const acquired = acquirer(url).acquire(effectOf(bytes, [at("/x")]));
    const server = createServer((_request, response) => response.end(bytes));
    cleanups.push(() => new Promise((resolve) => server.close(resolve)));
    server.listen(Number(new URL(url).port), "127.0.0.1");
    await acquired;
    await expectStored(bytes);
  });

  it("breaks off when it is stopped", async () => {
    const bytes = randomBytes(1_000);
    let asked = (): void => undefined;
    const isAsked = new Promise<void>((resolve) => (asked = resolve));
    const { url } = await source((response) => {
      response.writeHead(200, { "Content-Length": bytes.length });
      response.write(bytes.subarray(0, 10), asked);
    });
    const into = acquirer();
    const failed = expect(into.acquire(effectOf(bytes, [at(url)]))).rejects.toThrow(
      /this governor stops|cut/,
    );
    await isAsked;
    await into.stop();
    await failed;
    expect(await incoming()).toEqual([]);
  });
});

describe("acquire of large objects", () => {
  const PART = 700_000;
  const PARTS = 5;
  const bytes = randomBytes(PART * PARTS - 1_000);
  const fromParts = (...urls: readonly string[]): Promise<void> =>
    acquirer(undefined, undefined, PART).acquire(
      effectOf(
        bytes,
        urls.map((url) => at(url)),
      ),
    );

  /** Answers a request for a range of `what`; `cut`: breaks off after so many bytes of it. */
  function serve(what: Buffer, response: ServerResponse, request: IncomingMessage, cut?: number): void {
    const [, start = "0", end = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    const from = Number(start);
    const to = end === "" ? what.length : Number(end) + 1;
    const isPart = request.headers.range !== undefined;
    response.writeHead(isPart ? 206 : 200, {
      "Content-Length": to - from,
      ...(isPart ? { "Content-Range": `bytes ${from}-${to - 1}/${what.length}` } : {}),
    });
    if (cut === undefined) response.end(what.subarray(from, to));
    else response.write(what.subarray(from, Math.min(to, from + cut)), () => response.destroy());
  }

  it("come in parts from all that have them, each byte once", async () => {
    const one = await source((response, request) => serve(bytes, response, request));
    const two = await source((response, request) => serve(bytes, response, request));
    await fromParts(one.url, two.url);
    await expectStored(bytes);
    const ranges = [...one.asked, ...two.asked].map(({ range }) => String(range)).toSorted();
    const starts = Array.from({ length: PARTS }, (_, part) => part * PART);
    const expected = starts.map((from) => `bytes=${from}-${Math.min(from + PART, bytes.length) - 1}`);
    expect(ranges).toEqual(expected.toSorted());
    expect(Math.min(one.asked.length, two.asked.length)).toBeGreaterThan(0);
  });

  it("come from the others when one goes away, also for the part that it had begun", async () => {
    const flaky = await source((response, request, count) =>
      count === 1 ? serve(bytes, response, request, 100_000) : response.writeHead(404).end(),
    );
    const good = await source((response, request) => serve(bytes, response, request));
    await fromParts(flaky.url, good.url);
    await expectStored(bytes);
    expect(flaky.asked.length).toBe(2);
    // What the first had sent is not asked for again.
    const starts = good.asked.map(({ range }) => Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1]));
    expect(starts.some((start) => start % PART !== 0)).toBe(true);
  });

  it("go on after cuts where they were", async () => {
    const cuts = await source((response, request, count) =>
      serve(bytes, response, request, count % 2 === 1 ? 50_000 : undefined),
    );
    await fromParts(cuts.url);
    await expectStored(bytes);
  });

  it("case 32: are read again, from one after the other, when a byte is wrong", async () => {
    const corrupt = Buffer.from(bytes);
    for (let part = 0; part < PARTS; part += 1) corrupt[part * PART] = (corrupt[part * PART] ?? 0) ^ 1;
    const bad = await source((response, request) => serve(corrupt, response, request));
    const good = await source((response, request) => serve(bytes, response, request));
    await fromParts(bad.url, good.url);
    await expectStored(bytes);
    const other = await source((response, request) => serve(corrupt, response, request));
    const elsewhere = await BlobStore.open(join(root, "elsewhere"));
    const into = new Acquirer({ store: elsewhere, serverUrl: "http://127.0.0.1:9", partBytes: PART });
    cleanups.push(() => into.stop());
    const failed = into.acquire(effectOf(bytes, [at(bad.url), at(other.url)]));
    await expect(failed).rejects.toThrow(/^\S+ sent other bytes: .*; \S+ sent other bytes: /);
    expect(elsewhere.has(digestOf(bytes))).toBe(false);
    expect(await readdir(join(root, "elsewhere", "incoming"))).toEqual([]);
  });

  it("come as a whole from who does not give parts", async () => {
    const { url, asked } = await source((response, _request, count) => {
      response.writeHead(200, { "Content-Length": bytes.length });
      if (count !== 2) response.end(bytes);
      else response.write(bytes.subarray(0, 1_500_000), () => response.destroy());
    });
    await fromParts(url);
    await expectStored(bytes);
    expect(asked.at(-1)?.range).toBe("bytes=1500000-");
  });

  it("leave nothing when the disk of this machine fails", async () => {
    const { url } = await source((response, request) => serve(bytes, response, request));
    const into = acquirer(undefined, undefined, PART);
    await rm(join(root, "here", "incoming"), { recursive: true });
    await expect(into.acquire(effectOf(bytes, [at(url)]))).rejects.toMatchObject({ code: "ENOENT" });
    expect(store.has(digestOf(bytes))).toBe(false);
  });
});

describe("the data port", () => {
  const key: Uint8Array = new Uint8Array(32).fill(7);
  const logs = new Map<string, { path: string; complete: boolean }>();
  const refusals: string[] = [];
  const audited: AuditEntry[] = [];
  let port: DataPort;
  let url: string;
  beforeEach(async () => {
    logs.clear();
    refusals.length = 0;
    audited.length = 0;
    port = new DataPort({
      store,
      logFile: (session, task, stream) => logs.get(`${session}/${task}/${stream}`),
      log: (level, text) => {
        if (level === "warn" && text.includes("no valid ticket")) refusals.push(text);
        else expect.fail(`${level}: ${text}`);
      },
      audit: (entry) => audited.push(entry),
    });
    port.addKey(1, key);
    url = `http://127.0.0.1:${await port.listen("127.0.0.1")}`;
    cleanups.push(() => port.close());
  });

  interface Answer {
    readonly status: number;
    readonly headers: IncomingMessage["headers"];
    readonly body: Buffer;
  }
  function ask(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = httpGet(url + path, { headers, method, agent: false }, (answer) => {
        const parts: Buffer[] = [];
        answer.on("data", (part: Buffer) => parts.push(part));
        answer.on("end", () =>
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(parts) }),
        );
        answer.on("error", reject);
      });
      request.on("error", reject);
    });
  }
  const ticket = (path: string, epoch = 1, withKey: Uint8Array = key): Record<string, string> => ({
    Authorization: `Rain-Ticket ${signTicket(withKey, { method: "GET", path, epoch })}`,
  });

  it("serves a blob, whole or in part", async () => {
    const bytes = randomBytes(700_000);
    const { sha256 } = await store.putBytes(bytes);
    const path = blobPath(sha256);
    const whole = await ask(path, ticket(path));
    expect([whole.status, whole.body.equals(bytes)]).toEqual([200, true]);
    expect(whole.headers["content-length"]).toBe("700000");
    for (const [range, from, to] of [
      ["bytes=0-0", 0, 1],
      ["bytes=699999-", 699_999, 700_000],
      ["bytes=10-99999999", 10, 700_000],
    ] as const) {
      const part = await ask(path, { ...ticket(path), Range: range });
      expect([part.status, part.body.equals(bytes.subarray(from, to))]).toEqual([206, true]);
      expect(part.headers["content-range"]).toBe(`bytes ${from}-${to - 1}/700000`);
    }
    const beyond = await ask(path, { ...ticket(path), Range: "bytes=700000-" });
    expect([beyond.status, beyond.headers["content-range"]]).toEqual([416, "bytes */700000"]);
    const { sha256: empty } = await store.putBytes(Buffer.of());
    const nothing = await ask(blobPath(empty), ticket(blobPath(empty)));
    expect([nothing.status, nothing.body.length]).toEqual([200, 0]);
  });

  it("case 36: serves nothing without the right ticket", async () => {
    const { sha256 } = await store.putBytes(Buffer.from("secret"));
    const path = blobPath(sha256);
    const other = blobPath(digestOf("another"));
    const good = ticket(path)["Authorization"] ?? "";
    const wrong: Record<string, string>[] = [
      {},
      { Authorization: "Rain-Ticket" },
      { Authorization: "Rain-Ticket x.y" },
      { Authorization: `${good}x` },
      { Authorization: good.replace("Rain-Ticket", "Bearer") },
      ticket(other),
      ticket(path, 2),
      ticket(path, 1, new Uint8Array(32)),
    ];
    for (const headers of wrong) expect((await ask(path, headers)).status).toBe(403);
    // The log tells it once, however many, and the audit log each.
    expect(refusals).toEqual(["data port: refused 127.0.0.1, which has no valid ticket"]);
    const remote = expect.stringMatching(/^127\.0\.0\.1:[1-9]/) as string;
    const line = { verb: "ticket", target: path, result: "refused", remote };
    expect(audited).toEqual(wrong.map(() => line));
    expect(JSON.stringify(audited)).not.toContain(good.split(" ")[1]);
    expect((await ask(path, ticket(path), "PUT")).status).toBe(405);
    for (const each of ["/", "/rain/v1/blobs/", `${path}/`, "//x", "/rain/v1/blobs/../../etc/passwd"]) {
      expect((await ask(each, ticket(each))).status).toBe(404);
    }
  });

  it("has what the store has", async () => {
    const { sha256 } = await store.putBytes(Buffer.from("x"));
    const path = blobPath(sha256);
    await store.remove(sha256);
    expect((await ask(path, ticket(path))).status).toBe(404);
  });

  it("case 36: takes tickets of this registration and the one before", async () => {
    const { sha256 } = await store.putBytes(Buffer.from("x"));
    const path = blobPath(sha256);
    const keyOf = (epoch: number): Uint8Array => new Uint8Array(32).fill(epoch);
    port.addKey(2, keyOf(2));
    port.addKey(3, keyOf(3));
    const status = async (epoch: number): Promise<number> =>
      (await ask(path, ticket(path, epoch, epoch === 1 ? key : keyOf(epoch)))).status;
    expect([await status(1), await status(2), await status(3)]).toEqual([403, 200, 200]);
  });

  it("serves a log from an offset, and says when nothing more will come", async () => {
    const path = logPath(asSessionId(3), asTaskId(17), "stdout");
    expect((await ask(path, ticket(path))).status).toBe(404);
    const file = join(root, "log");
    const log = { path: file, complete: false };
    logs.set("3/17/stdout", log);
    const read = async (offset: number) => {
      const { status, headers, body } = await ask(`${path}?offset=${offset}`, ticket(path));
      return [status, body.toString(), headers["rain-complete"]];
    };
    expect(await read(0)).toEqual([200, "", undefined]); // its program has not written it yet
    await writeFile(file, "hello");
    expect(await read(0)).toEqual([200, "hello", undefined]);
    expect(await read(3)).toEqual([200, "lo", undefined]);
    expect(await read(9)).toEqual([200, "", undefined]);
    log.complete = true;
    expect(await read(3)).toEqual([200, "lo", "1"]);
    await writeFile(file, "x".repeat(1_500_000));
    const first = await ask(path, ticket(path));
    expect([first.body.length, first.headers["rain-complete"]]).toEqual([1_048_576, undefined]);
    const rest = await ask(`${path}?offset=1048576`, ticket(path));
    expect([rest.body.length, rest.headers["rain-complete"]]).toEqual([451_424, "1"]);
    expect((await ask(`${path}?offset=-1`, ticket(path))).status).toBe(400);
    expect((await ask(path, {})).status).toBe(403);
  });

  it("feeds an acquirer, and outlives readers that leave and peers that talk nonsense", async () => {
    const bytes = randomBytes(5_000_000);
    const elsewhere = await BlobStore.open(join(root, "there"));
    const { sha256 } = await store.putBytes(bytes);
    const path = blobPath(sha256);
    const { port: number } = new URL(url);
    await new Promise<void>((resolve) => {
      const socket = connect(Number(number), "127.0.0.1", () => socket.end("NONSENSE\r\n\r\n"));
      socket.on("close", () => resolve());
      socket.on("error", () => resolve());
    });
    await new Promise<void>((resolve) => {
      const request = httpGet(url + path, { headers: ticket(path), agent: false }, (answer) => {
        answer.once("data", () => request.destroy());
        answer.on("error", () => undefined);
        answer.on("close", () => resolve());
      });
    });
    const into = new Acquirer({ store: elsewhere, serverUrl: "http://127.0.0.1:9" });
    cleanups.push(() => into.stop());
    const source = { url: url + path, ticket: ticket(path)["Authorization"]?.split(" ")[1] ?? "" };
    await into.acquire(effectOf(bytes, [source]));
    expect((await readFile(elsewhere.path(sha256))).equals(bytes)).toBe(true);
  });
});
