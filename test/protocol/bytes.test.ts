import { mkdtemp, rm } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHash, randomBytes } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { openBytes, type Bytes } from "@rain/protocol/bytes";
import { openCertificate } from "@rain/protocol/tls";

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

/** Opens what a peer answers that says these bytes to everything, and then ends, or not. */
async function said(text: string, { end = true } = {}, idleMs = 10_000): Promise<Bytes> {
  const port = await listen(
    createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => (end ? socket.end(text, "latin1") : socket.write(text, "latin1")));
    }),
  );
  return await openBytes({ url: new URL(`http://127.0.0.1:${port}/x`), pin: undefined, headers: {}, idleMs });
}

async function readAll(bytes: Bytes): Promise<Buffer> {
  const parts: Buffer[] = [];
  await bytes.read((chunk) => void parts.push(Buffer.from(chunk)));
  return Buffer.concat(parts);
}

const head = (...lines: readonly string[]): string => ["HTTP/1.1 200 OK", ...lines, "", ""].join("\r\n");

describe("openBytes", () => {
  it("reads a large body that is taken slowly, and says its headers", async () => {
    const body = randomBytes(3_000_000);
    const server = createHttpServer((request, response) => {
      response.writeHead(206, { "Content-Length": body.length, "X-Asked": request.headers.range });
      response.end(body);
    });
    const port = await listen(server);
    const url = new URL(`http://127.0.0.1:${port}/path?query=1`);
    const bytes = await openBytes({ url, pin: undefined, headers: { Range: "bytes=0-" }, idleMs: 10_000 });
    expect([bytes.status, bytes.length, bytes.headers["x-asked"]]).toEqual([206, body.length, "bytes=0-"]);
    const hash = createHash("sha256");
    let taken = 0;
    await bytes.read((chunk) => {
      hash.update(chunk);
      taken += 1;
      return taken % 7 === 0 ? new Promise((resolve) => setImmediate(resolve)) : undefined;
    });
    expect(hash.digest("hex")).toBe(createHash("sha256").update(body).digest("hex"));
  });

  it("reads from a peer with the pinned certificate only", async () => {
    const folder = await mkdtemp(join(tmpdir(), "rain-bytes-"));
    cleanups.push(() => rm(folder, { recursive: true }));
    const certificate = await openCertificate(join(folder, "tls.pem"), ["127.0.0.1"], []);
    const body = randomBytes(1_000_000);
    const server = createHttpsServer(
      { key: certificate.keyPem, cert: certificate.certPem },
      (_, response) => {
        response.writeHead(200, { "Content-Length": body.length });
        response.end(body);
      },
    );
    const url = new URL(`https://127.0.0.1:${await listen(server)}/x`);
    const common = { url, headers: {}, idleMs: 10_000 };
    const pin = { fingerprint: certificate.fingerprint, from: "the test" };
    expect((await readAll(await openBytes({ ...common, pin }))).equals(body)).toBe(true);
    const other = { ...pin, fingerprint: "0".repeat(64) };
    await expect(openBytes({ ...common, pin: other })).rejects.toMatchObject({ code: "unauthorized" });
    await expect(openBytes({ ...common, pin: undefined })).rejects.toMatchObject({ code: "unauthorized" });
    const far = new URL("http://192.0.2.1:1/x");
    await expect(openBytes({ ...common, url: far, pin })).rejects.toMatchObject({ code: "unauthorized" });
  });

  it("takes the head in pieces, no more than the promised bytes, and none of none", async () => {
    const port = await listen(
      createServer((socket) => {
        socket.once("data", () => {
          const text = `${head("content-length: 4")}bodyand more`;
          const say = (at: number): void => {
            if (at < text.length) socket.write(text.slice(at, at + 3), () => setImmediate(say, at + 3));
          };
          say(0);
        });
        socket.on("error", () => undefined);
      }),
    );
    const url = new URL(`http://127.0.0.1:${port}/`);
    const bytes = await openBytes({ url, pin: undefined, headers: {}, idleMs: 10_000 });
    expect((await readAll(bytes)).toString()).toBe("body");
    expect((await readAll(await said(head("Content-Length: 0"), { end: false }))).length).toBe(0);
  });

  it("says when it is cut, when nothing comes, and when it is told to stop", async () => {
    const cut = await said(`${head("Content-Length: 10")}half`);
    await expect(readAll(cut)).rejects.toMatchObject({ code: "ECONNRESET" });
    await expect(said("HTTP/1.1 200 OK\r\n")).rejects.toMatchObject({ code: "ECONNRESET" });
    const mute = await said(`${head("Content-Length: 10")}half`, { end: false }, 100);
    await expect(readAll(mute)).rejects.toMatchObject({ code: "ERR_IDLE" });
    await expect(said("", { end: false }, 100)).rejects.toMatchObject({ code: "ERR_IDLE" });
    const stop = new AbortController();
    const port = await listen(createServer(() => stop.abort(new Error("enough"))));
    const url = new URL(`http://127.0.0.1:${port}/`);
    const asked = { url, pin: undefined, headers: {}, idleMs: 10_000, signal: stop.signal };
    await expect(openBytes(asked)).rejects.toThrow("enough");
  });

  it("tells the error of who takes", async () => {
    const full = new Error("no space left");
    const throws = await said(`${head("Content-Length: 4")}body`);
    const take = (): never => {
      throw full;
    };
    await expect(throws.read(take)).rejects.toBe(full);
    const rejects = await said(`${head("Content-Length: 4")}body`);
    await expect(rejects.read(() => Promise.reject(full))).rejects.toBe(full);
  });

  it.each([
    ["another protocol", "SSH-2.0-OpenSSH\r\n\r\n"],
    ["a line that is no header", head("Content-Length: 1", "no header")],
    ["a folded header", head("Content-Length: 1", " folded: 1")],
    ["two lengths", head("Content-Length: 1", "content-length: 2")],
    ["a length that is no number", head("Content-Length: 1e3")],
    ["a negative length", head("Content-Length: -1")],
    ["too many headers", head(...Array.from({ length: 70 }, (_, i) => `a${i}: 1`))],
    ["a head without end", `HTTP/1.1 200 OK\r\na: ${"x".repeat(20_000)}`],
  ])("refuses %s", async (_what, text) => {
    await expect(said(text)).rejects.toMatchObject({ code: "HPE_INVALID" });
  });

  it("has no length for a body in chunks, and does not read it", async () => {
    const bytes = await said(
      `${head("Transfer-Encoding: chunked", "Content-Length: 5")}5\r\nhello\r\n0\r\n\r\n`,
    );
    expect(bytes.length).toBe(undefined);
    await expect(readAll(bytes)).rejects.toMatchObject({ code: "HPE_INVALID" });
  });

  it("does not send what would be another request", async () => {
    const url = new URL("http://127.0.0.1:1/");
    const asked = { url, pin: undefined, headers: { A: "1\r\nB: 2" }, idleMs: 1_000 };
    await expect(openBytes(asked)).rejects.toThrow(/characters/);
  });
});
