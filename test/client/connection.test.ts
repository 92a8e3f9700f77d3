import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { Client, ConnectionError, type Session } from "@rain/client";
import { limits, RainError } from "@rain/protocol";
import { createAccess } from "@rain/protocol/access";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Peer } from "./peer.ts";

let peer: Peer;
beforeEach(async () => {
  peer = await Peer.start();
});
afterEach(() => peer.stop());

const reconnected = (count: number): Promise<void> =>
  vi.waitFor(() => expect(peer.connections).toBeGreaterThanOrEqual(count), 20_000);

describe("address", () => {
  test("host and port take the place of the file's", async () => {
    const client = await Client.connect("localhost", peer.port, { accessFile: peer.accessFile });
    expect(client.url).toBe(`http://localhost:${peer.port}`);
    await client.close();
  });

  test("without an address, the access file says all; the environment may name it", async () => {
    const file = join(peer.folder, "other.json");
    await writeFile(file, JSON.stringify({ ...peer.access, url: `http://127.0.0.1:${peer.port}` }), {
      mode: 0o600,
    });
    await (await Client.connect({ accessFile: file })).close();
    vi.stubEnv("RAIN_ACCESS_FILE", file);
    await (await Client.connect()).close();
    vi.unstubAllEnvs();
  });

  test("the default file is of the default instance", async () => {
    vi.stubEnv("RAIN_ACCESS_FILE", "");
    vi.stubEnv("RAIN_HOME", peer.folder);
    const file = join(peer.folder, "default", "access.json");
    await expect(Client.connect()).rejects.toThrow(file);
    await createAccess(file, { url: "http://127.0.0.1:1" });
    await expect(Client.connect()).rejects.toMatchObject({ name: "ConnectionError", code: "connection" });
    vi.unstubAllEnvs();
  });

  test("a server that is not there, or another cluster's, is an error at once", async () => {
    const file = join(peer.folder, "foreign.json");
    await createAccess(file, { url: `http://127.0.0.1:${peer.port}` });
    const foreign = await Client.connect({ accessFile: file }).catch((error: unknown) => error);
    expect(foreign).toBeInstanceOf(ConnectionError);
    expect(foreign).toMatchObject({ code: "unauthorized" });
    await peer.down();
    await expect(peer.connect()).rejects.toThrow(ConnectionError);
    await peer.listen();
  });

  test("wrong arguments", async () => {
    const connect = (...args: unknown[]): Promise<Client> => Client.connect(...(args as []));
    const { accessFile } = peer;
    await expect(connect(7210)).rejects.toThrow(TypeError);
    await expect(connect("h", "80")).rejects.toThrow(TypeError);
    await expect(connect("a/b", 80, { accessFile })).rejects.toThrow(/not the name or address of a host/);
    await expect(connect("h", 0, { accessFile })).rejects.toThrow(/port/);
    await expect(connect({ acessFile: "x" })).rejects.toThrow(/unknown option/);
    await chmod(accessFile, 0o644);
    await expect(connect({ accessFile })).rejects.toThrow(/chmod 600/);
  });
});

describe("a lost connection", () => {
  test("what is unanswered is asked again, after the sessions are attached", async () => {
    const client = await peer.connect();
    const session = await client.newSession();
    const task = session.execute("x", { stdout: true });
    task.output.keep();
    await session.submit();
    peer.handlers.fetch = () => undefined;
    const wait = task.wait();
    const fetched = task.output.fetch();
    await vi.waitFor(() => expect(peer.of("fetch").length).toBe(1));
    const before = peer.requests.length;
    peer.handlers.fetch = () => ({
      kind: "blob",
      info: { size: 1, sha256: "0".repeat(64) as never, contentType: "" },
      data: Buffer.from("7"),
    });
    peer.cut();
    expect((await fetched).text()).toBe("7");
    const again = peer.requests.slice(before).map((request) => request.type);
    expect(again[0]).toBe("session.attach");
    expect(again.slice(1).toSorted()).toEqual(["fetch", "next"]);
    peer.settle([0]);
    await wait;
  });

  test("it is tried again until the server is back", async () => {
    const client = await peer.connect();
    const session = await client.newSession();
    await peer.down();
    const opened = client.newSession("second");
    await new Promise((done) => setTimeout(done, 200));
    await peer.listen();
    await opened;
    await session.close();
  });

  test("a server that stops is asked again when it is back", async () => {
    const client = await peer.connect();
    let stopping = true;
    peer.handlers["session.list"] = () => {
      if (stopping) throw new RainError("server-stopping", "the server is stopping");
      return { sessions: [] };
    };
    const list = client.sessions();
    await reconnected(2);
    stopping = false;
    expect(await list).toEqual([]);
  });

  test("after reconnectS everything fails, and so does what follows", async () => {
    const client = await peer.connect({ reconnectS: 0.3 });
    const session = await client.newSession();
    await session.submit();
    peer.handlers["session.list"] = () => undefined;
    const list = client.sessions();
    await vi.waitFor(() => expect(peer.of("session.list").length).toBe(1));
    await peer.down();
    const error: unknown = await list.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({
      code: "connection",
      message: expect.stringContaining("within 0.3 s") as string,
    });
    await expect(client.newSession()).rejects.toBe(error);
    await expect(session.close()).rejects.toBe(error);
    await peer.listen();
  });

  test("a server that does not accept the key any more is final", async () => {
    const client = await peer.connect();
    await peer.down();
    Object.assign(peer, { access: { ...peer.access, keys: { client: `rainc_${"x".repeat(43)}` } } });
    await peer.listen();
    await expect(client.sessions()).rejects.toMatchObject({ name: "ConnectionError", code: "unauthorized" });
  });

  test("a session that the server has forgotten fails", async () => {
    const client = await peer.connect();
    const session = await client.newSession("old");
    peer.handlers["session.attach"] = () => {
      throw new RainError("unknown-session", "there is no session 1");
    };
    peer.cut();
    await vi.waitFor(() => expect(session.error).toBeDefined(), 20_000);
    expect(session.error).toMatchObject({ name: "SessionError", code: "unknown-session" });
    expect(() => session.execute("x")).toThrow(/session 1 \(old\): there is no session 1/);
  });
});

describe("a submit in parts", () => {
  const addTasks = (session: Session, count: number): void => {
    for (let n = 0; n < count; n++) session.execute("x");
  };

  test("has at most so many tasks each, and one key", async () => {
    const session = await (await peer.connect()).newSession();
    addTasks(session, limits.submitChunk * 2 + 1);
    await session.submit();
    const parts = peer.of("submit");
    expect(parts.map((part) => [part.part, part.last, part.tasks.length])).toEqual([
      [0, false, limits.submitChunk],
      [1, false, limits.submitChunk],
      [2, true, 1],
    ]);
    expect(new Set(parts.map((part) => part.key)).size).toBe(1);
    expect(peer.submitted.map((task) => task.id)).toEqual(Array.from(peer.submitted.keys()));
  });

  test("has tasks that are alike as arrays, when the server knows them", async () => {
    await peer.down();
    peer.features = ["arrays", "something-later"];
    await peer.listen();
    const session = await (await peer.connect()).newSession();
    for (let n = 0; n < 5_000; n++) session.execute(["x", `${n}`], { stdout: true });
    session.execute("x", { stdout: true, cpus: 2 });
    await session.submit();
    const [part, ...others] = peer.of("submit");
    expect(others).toEqual([]);
    expect(part?.tasks.map(({ id, outputs }) => [id, outputs[0]?.object])).toEqual([[5_000, 5_000]]);
    expect(part?.arrays).toMatchObject([
      { first: 0, count: 5_000, objects: 0, vary: [{ at: ["args", 1], range: { from: 0, step: 1 } }] },
    ]);
  });

  test("stays under the limits of a message", async () => {
    const session = await (await peer.connect()).newSession();
    const env = { A: "é".repeat(30_000), B: "\u{1f600}".repeat(20_000) };
    for (let n = 0; n < 100; n++) session.execute("x", { env });
    const words = Array<string>(2_000).fill("y");
    for (let n = 0; n < 300; n++) session.execute(["x", ...words]);
    await session.submit();
    expect(peer.submitted.length).toBe(400);
    expect(peer.connections).toBe(1);
    expect(peer.of("submit").length).toBeGreaterThanOrEqual(5);
  });

  test("starts over on another connection", async () => {
    const session = await (await peer.connect()).newSession();
    addTasks(session, limits.submitChunk * 2);
    peer.handlers.submit = (request) => {
      if (request.part === 1 && peer.connections < 3) {
        peer.cut();
        return undefined;
      }
      return {};
    };
    await session.submit();
    expect(peer.of("submit").map((part) => part.part)).toEqual([0, 1, 0, 1, 0, 1]);
    expect(new Set(peer.of("submit").map((part) => part.key)).size).toBe(1);
  });

  test("one after another, in the order of the calls; what is sent is fixed at the call", async () => {
    const session = await (await peer.connect()).newSession();
    const first = session.execute("a", { stdout: true });
    const one = session.submit();
    expect(() => first.output.keep()).toThrow(/is submitted/);
    session.execute("b");
    const two = session.submit();
    await Promise.all([one, two]);
    expect(peer.of("submit").map((part) => part.tasks.map((task) => task.id))).toEqual([[0], [1]]);
  });
});

test("close fails what is unanswered; closing again, and sessions after it, is nothing", async () => {
  const client = await peer.connect();
  const session = await client.newSession();
  peer.handlers["session.list"] = () => undefined;
  const list = client.sessions().catch((error: unknown) => error);
  await client.close();
  expect(await list).toMatchObject({ name: "ConnectionError", message: "the client is closed" });
  await session.close();
  await client.close();
});

test("close while the connection is lost", async () => {
  const client = await peer.connect();
  await peer.down();
  const list = client.sessions().catch((error: unknown) => error);
  await client.close();
  expect(await list).toMatchObject({ message: "the client is closed" });
  await peer.listen();
});

// Node 20 cannot run the sources: this one needs the build.
const built = existsSync(resolve(import.meta.dirname, "../../packages/client/dist/index.js"));
test.skipIf(!built)("the process ends when the client is closed, and not before", async () => {
  const root = resolve(import.meta.dirname, "../..");
  const script = `
    import { Client } from "@rain/client";
    const client = await Client.connect("127.0.0.1", ${peer.port}, { accessFile: ${JSON.stringify(peer.accessFile)} });
    const session = await client.newSession();
    setTimeout(async () => { await session.close(); await client.close(); console.log("closed"); }, 300).unref();
  `;
  const { stdout } = await promisify(execFile)("node", ["--input-type=module", "-e", script], { cwd: root });
  expect(stdout).toBe("closed\n");
});
