import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { blob, DataInstance, type LogChunk, type Session, type Task } from "@rain/client";
import { limits, parseRange, RainError, rangeHeaders, type ObjectInfo } from "@rain/protocol";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Peer } from "./peer.ts";

let peer: Peer;
let session: Session;
let task: Task;
beforeEach(async () => {
  peer = await Peer.start();
  session = await (await peer.connect()).newSession();
  task = session.execute("x", { stdout: true });
  task.output.keep();
  await session.submit();
});
afterEach(() => peer.stop());

const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");
const infoOf = (data: Uint8Array, contentType = ""): ObjectInfo => ({
  size: data.length,
  sha256: sha256(data) as never,
  contentType,
});
/** Bytes that differ everywhere, so that no piece can be taken for another. */
function pattern(size: number): Buffer {
  const data = Buffer.alloc(size);
  for (let at = 0; at + 4 <= size; at += 4) data.writeUInt32LE((at * 2_654_435_761) >>> 0, at);
  return data;
}
function serve(data: Buffer, request: IncomingMessage, response: ServerResponse): void {
  const range = parseRange(request.headers.range, data.length);
  if (range === "unsatisfiable") return void response.writeHead(416).end();
  response.writeHead(range.partial ? 206 : 200, rangeHeaders(range, data.length));
  response.end(data.subarray(range.start, range.end + 1));
}
function offer(data: Buffer, contentType = ""): void {
  peer.handlers.fetch = () => ({ kind: "blob", info: infoOf(data, contentType) });
  peer.onHttp = (request, response) => serve(data, request, response);
}

describe("fetch", () => {
  test("small bytes come with the answer", async () => {
    const data = Buffer.from("0.97\n");
    peer.handlers.fetch = () => ({ kind: "blob", info: infoOf(data), data });
    const instance = await task.output.fetch();
    expect(Number(instance.text())).toBe(0.97);
    expect(instance).toMatchObject(infoOf(data));
    expect(task.output).toMatchObject({ state: "finished", info: infoOf(data) });
    expect(await session.fetch(task)).toBeInstanceOf(DataInstance);
  });

  test("larger ones over HTTP; an empty one needs no request", async () => {
    const data = pattern(300_000);
    offer(data);
    expect(data.equals((await task.output.fetch()).bytes())).toBe(true);
    offer(Buffer.alloc(0));
    expect((await task.output.fetch()).bytes().length).toBe(0);
  });

  test("case 43: a cut transfer goes on where it stopped, also over a cut of everything", async () => {
    const data = pattern(3_000_000);
    offer(data);
    const starts: (string | undefined)[] = [];
    peer.onHttp = (request, response) => {
      starts.push(request.headers.range);
      if (starts.length > 3) return serve(data, request, response);
      const start = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
      const range = { start, end: data.length - 1, partial: start > 0 };
      response.writeHead(start > 0 ? 206 : 200, rangeHeaders(range, data.length));
      response.write(data.subarray(start, start + 700_000), () => {
        if (starts.length === 2) peer.cut();
        else response.destroy();
      });
    };
    const instance = await task.output.fetch();
    expect(data.equals(instance.bytes())).toBe(true);
    expect(starts[0]).toBeUndefined();
    expect(starts.at(-1)).toMatch(/^bytes=[1-9]\d*-$/);
    expect(peer.connections).toBe(2);
  });

  test("a server without Range sends all again, and the known part is skipped", async () => {
    const data = pattern(1_000_000);
    offer(data);
    let tries = 0;
    peer.onHttp = (_, response) => {
      response.writeHead(200, { "Content-Length": data.length });
      if (++tries === 1) response.write(data.subarray(0, 400_000), () => response.destroy());
      else response.end(data);
    };
    expect(data.equals((await task.output.fetch()).bytes())).toBe(true);
  });

  test("an answer of 503 is tried again; 404 asks the server anew, which may have other bytes", async () => {
    const old = pattern(200_000);
    const made = pattern(210_000).subarray(4);
    offer(old);
    let tries = 0;
    peer.onHttp = (request, response) => {
      tries++;
      if (tries <= 2) return void response.writeHead(503).end("not now\n");
      if (tries > 3) return serve(made, request, response);
      peer.handlers.fetch = () => ({ kind: "blob", info: infoOf(made) });
      response.writeHead(404).end("it was lost\n");
    };
    expect(made.equals((await task.output.fetch()).bytes())).toBe(true);
    expect(peer.of("fetch").length).toBe(2);
  });

  test("wrong bytes are never given out", async () => {
    const data = pattern(200_000);
    offer(data);
    const wrong = Buffer.from(data);
    wrong[77_777] = (wrong[77_777] ?? 0) ^ 1;
    let tries = 0;
    peer.onHttp = (request, response) => serve(++tries === 1 ? wrong : data, request, response);
    expect(data.equals((await task.output.fetch()).bytes())).toBe(true);
    peer.onHttp = (request, response) => serve(wrong, request, response);
    await expect(task.output.fetch()).rejects.toMatchObject({ code: "bad-digest" });
  });

  test("a large one does not stay in memory, and leaves no file", async () => {
    const data = pattern(20 * 1024 ** 2);
    offer(data);
    const instance = await task.output.fetch();
    const path = join(peer.folder, "copy.bin");
    await instance.write(path);
    expect(sha256(await readFile(path))).toBe(instance.sha256);
    const [one, two] = await Promise.all([buffer(instance.stream()), buffer(instance.stream())]);
    expect([sha256(one), sha256(two)]).toEqual([instance.sha256, instance.sha256]);
    expect(sha256(instance.bytes())).toBe(instance.sha256);
    expect((await readdir(peer.folder)).toSorted()).toEqual(["access.json", "copy.bin"]);
    await instance.close();
    await instance.close();
    expect(() => instance.bytes()).toThrow(/closed/);
  });

  test("a write that fails leaves nothing", async () => {
    const data = Buffer.from("x");
    peer.handlers.fetch = () => ({ kind: "blob", info: infoOf(data), data });
    const instance = await task.output.fetch();
    await expect(instance.write(join(peer.folder, "none", "x"))).rejects.toMatchObject({ code: "ENOENT" });
    await expect(instance.write(peer.folder)).rejects.toThrow();
    expect(await readdir(peer.folder)).toEqual(["access.json"]);
  });

  test("a signal ends a transfer", async () => {
    offer(pattern(100_000));
    const stop = new AbortController();
    peer.onHttp = (_, response) => {
      response.writeHead(200, { "Content-Length": 100_000 });
      response.write("x");
      stop.abort(new Error("enough"));
    };
    await expect(task.output.fetch({ signal: stop.signal })).rejects.toThrow("enough");
  });
});

test("text and load by content type", () => {
  const instance = (data: Uint8Array, type: string): DataInstance =>
    new DataInstance(infoOf(data, type), data);
  expect(instance(Buffer.from("é"), "").load()).toEqual(Buffer.from("é"));
  expect(instance(Buffer.from("é"), "text").load()).toBe("é");
  expect(instance(Buffer.from([0xe9]), "text-latin1").load()).toBe("é");
  expect(instance(Buffer.from("é", "utf16le"), "text-utf-16le").text()).toBe("é");
  expect(instance(Buffer.from(`{"a":[1]}`), "json").load()).toEqual({ a: [1] });
  expect(instance(Buffer.from([1]), "pickle").load()).toEqual(Buffer.from([1]));
  expect(() => instance(Buffer.from([0xe9]), "text").text()).toThrow(/not text in utf-8/);
  expect(() => instance(Buffer.from("x"), "text-klingon").text()).toThrow(/klingon is not known/);
});

describe("upload", () => {
  const stored = new Map<string, Buffer>();
  let puts: string[];
  beforeEach(() => {
    stored.clear();
    puts = [];
    peer.onHttp = (request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const name = request.url?.split("/").at(-1) ?? "";
        puts.push(name);
        stored.set(name, Buffer.concat(chunks));
        response.writeHead(201).end("stored\n");
      });
    };
  });

  test("small constants go along, large ones before, the same content once", async () => {
    const edge = pattern(limits.inlineBytes);
    const large = pattern(3 * 1024 ** 2);
    session.execute(["x", blob(edge), blob(large, { label: "one" }), blob(Buffer.from(large))]);
    await session.submit();
    const constants = peer.of("submit").at(-1)?.constants ?? [];
    expect(constants.map((each) => [each.label, each.size, each.data?.length])).toEqual([
      ["", edge.length, edge.length],
      ["one", large.length, undefined],
      ["", large.length, undefined],
    ]);
    expect(constants.map((each) => each.sha256)).toEqual([edge, large, large].map(sha256));
    expect(puts).toEqual([sha256(large)]);
    expect(stored.get(sha256(large))?.equals(large)).toBe(true);
    session.execute(["x", blob(large)]);
    await session.submit();
    expect(puts.length).toBe(1);
  });

  test("a cut upload is sent again", async () => {
    const large = pattern(2 * 1024 ** 2);
    const accept = peer.onHttp;
    let tries = 0;
    peer.onHttp = (request, response) => {
      tries++;
      if (tries === 1) request.once("data", () => request.destroy());
      else if (tries === 2) request.once("data", () => peer.cut());
      else accept(request, response);
    };
    session.execute(["x", blob(large)]);
    await session.submit();
    expect(stored.get(sha256(large))?.equals(large)).toBe(true);
  });

  test("content that the server dropped meanwhile is uploaded again", async () => {
    const large = pattern(limits.inlineBytes + 1);
    peer.handlers.submit = ({ constants }) => {
      if (constants.every((each) => each.data ?? stored.has(each.sha256))) return {};
      throw new RainError("unknown-object", "its bytes were not uploaded");
    };
    session.execute(["x", blob(large)]);
    await session.submit();
    stored.clear();
    session.execute(["y", blob(large)]);
    await session.submit();
    expect(puts.length).toBe(2);
  });

  test("a refused upload refuses the submit", async () => {
    peer.onHttp = (request, response) => {
      request.resume();
      request.on("end", () => response.writeHead(422).end("the uploaded bytes have another SHA-256\n"));
    };
    session.execute(["x", blob(pattern(100_000))]);
    await expect(session.submit()).rejects.toMatchObject({ code: "bad-digest" });
  });
});

describe("logs", () => {
  let state: "running" | "finished";
  const written = { stdout: "", stderr: "" };
  beforeEach(() => {
    state = "running";
    Object.assign(written, { stdout: "", stderr: "" });
    peer.handlers["task.get"] = () => ({
      tasks: [{ task: 0 as never, spec: peer.submitted[0] ?? expect.fail(), state, attempt: 1 }],
    });
    peer.onHttp = (request, response) => {
      const url = new URL(request.url ?? "", "http://x");
      const stream = url.pathname.endsWith("stderr") ? "stderr" : "stdout";
      const bytes = Buffer.from(written[stream]).subarray(Number(url.searchParams.get("offset")));
      response.writeHead(200, { "Rain-Complete": state === "finished" ? "1" : "0" }).end(bytes);
    };
  });
  const texts = (chunks: readonly LogChunk[]): string => chunks.map((chunk) => chunk.text).join("");

  test("what is there now", async () => {
    Object.assign(written, { stdout: "out\n", stderr: "err\n" });
    const chunks: LogChunk[] = [];
    for await (const chunk of task.logs()) chunks.push(chunk);
    expect(chunks.map(({ stream, text }) => [stream, text])).toEqual([
      ["stdout", "out\n"],
      ["stderr", "err\n"],
    ]);
  });

  test("follow reads on until the end; a character in two pieces is whole", async () => {
    const euro = Buffer.from("a€b");
    let shown = 2;
    peer.onHttp = (request, response) => {
      const offset = Number(new URL(request.url ?? "", "http://x").searchParams.get("offset"));
      response.writeHead(200, { "Rain-Complete": shown === euro.length ? "1" : "0" });
      response.end(euro.subarray(offset, shown));
      shown = Math.min(shown + 1, euro.length);
    };
    const chunks: LogChunk[] = [];
    for await (const chunk of task.logs({ stream: "stdout", follow: true })) chunks.push(chunk);
    expect(texts(chunks)).toBe("a€b");
    expect(chunks.length).toBeGreaterThan(1);
  });

  test("a log that is not there: none yet, or none any more", async () => {
    peer.onHttp = (_, response) => {
      state = "finished";
      response.writeHead(404).end("it was not started\n");
    };
    const chunks: LogChunk[] = [];
    for await (const chunk of task.logs({ follow: true })) chunks.push(chunk);
    for await (const chunk of task.logs()) chunks.push(chunk);
    expect(chunks).toEqual([]);
  });
});
