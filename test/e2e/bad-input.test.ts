import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Client, output, RainError, TaskError, type Session } from "@rain/client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";

let cluster: Cluster;
let client: Client;
beforeAll(async () => {
  cluster = await Cluster.start([2]);
  client = await cluster.connect();
}, 60_000);
afterAll(async () => {
  await client.close();
  await cluster.stop();
}, 60_000);

async function failure(build: (session: Session) => { wait(): Promise<unknown> }): Promise<TaskError> {
  const session = await client.newSession("bad", { onError: "continue" });
  const task = build(session);
  await session.submit();
  const error = await task.wait().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  await session.close();
  expect(error).toBeInstanceOf(TaskError);
  return error as TaskError;
}

describe("programs that fail", () => {
  it("case 31: a program that does not exist", async () => {
    const error = await failure((session) => session.execute("no-such-program --x", { stdout: true }));
    expect(error.message).toContain("no-such-program");
    expect(error.message).toContain("/bin");
    expect(error.message).toContain("bad-input.test.ts:");
  });
  it("exit code 3, with the end of stderr", async () => {
    const error = await failure((session) =>
      session.execute(["sh", "-c", "echo this went wrong >&2; exit 3"], { name: "three" }),
    );
    expect(error.exitCode).toBe(3);
    expect(error.message).toContain("three");
    expect(error.message).toContain("this went wrong");
  });
  it("its log can still be read", async () => {
    const session = await client.newSession("log", { onError: "continue" });
    session.execute(["sh", "-c", "echo out; echo err >&2; exit 1"]);
    await session.submit();
    await session.waitAll();
    const { stdout, stderr } = await cluster.rain("logs", `${session.id}/0`);
    expect([stdout, stderr]).toEqual(["out", "err"]);
    await session.close();
  });
  it("killed by a signal", async () => {
    const error = await failure((session) => session.execute(["sh", "-c", "kill -SEGV $$"]));
    expect(error.message).toContain("SIGSEGV");
  });
  it("a declared output that is missing", async () => {
    const error = await failure((session) => session.execute("true", { outputPaths: ["result.txt"] }));
    expect(error.message).toContain("result.txt");
  });
  it("a program over its time limit", async () => {
    const error = await failure((session) => session.execute("sleep 100", { timeoutS: 0.3 }));
    expect(error.message).toContain("0.3");
  });
  it("a failed task fails its session, unless told otherwise", async () => {
    const session = await client.newSession("strict");
    const bad = session.execute(["sh", "-c", "exit 9"]);
    const slow = session.execute("sleep 100", { stdout: true });
    slow.output.keep();
    await session.submit();
    await expect(bad.wait()).rejects.toThrow(RainError);
    await expect(slow.output.fetch()).rejects.toThrow(/9/);
    await session.close();
  });
});

describe("graphs that cannot be", () => {
  it("case 30: an output path that leaves the folder is refused where it is written", async () => {
    const session = await client.newSession("paths");
    for (const path of ["../x", "/abs", "a/../../b", "a\0b", "x".repeat(5_000)]) {
      expect(() => session.execute("true", { outputPaths: [path] })).toThrow(/path/);
      expect(() => session.execute(["true", output("x", { path })])).toThrow(/path/);
    }
    await session.close();
  });
  it("a fetch without keep", async () => {
    const session = await client.newSession("fetch");
    const task = session.execute("echo x", { stdout: true });
    await session.submit();
    await task.wait();
    await expect(task.output.fetch()).rejects.toMatchObject({ code: "not-kept" });
    await session.close();
  });
  it("an object of an earlier submit that was not kept", async () => {
    const session = await client.newSession("earlier");
    const task = session.execute("echo x", { stdout: true });
    await session.submit();
    await task.wait();
    expect(() => session.concat([task.output, task.output])).toThrow();
    await session.close();
  });
});

describe("peers that may not", () => {
  it("a wrong key", async () => {
    const access = JSON.parse(await readFile(cluster.accessFile, "utf8")) as {
      keys: { client: string; governor: string };
    };
    const wrong = join(cluster.home, "wrong.json");
    const key = `rainc_${"A".repeat(43)}`;
    await writeFile(wrong, JSON.stringify({ ...access, keys: { client: key } }), { mode: 0o600 });
    const error = await Client.connect({ accessFile: wrong }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ code: "unauthorized" });
    expect(String(error)).not.toContain(key);
  });
  it("a foreign Origin or Host", async () => {
    const { url } = JSON.parse(await readFile(cluster.accessFile, "utf8")) as { url: string };
    const put = { method: "PUT", body: "x" };
    const blob = `${url}/rain/v1/blobs/${"0".repeat(64)}`;
    expect((await fetch(blob, { ...put, headers: { Origin: "https://attacker.example" } })).status).toBe(403);
    expect((await fetch(blob, { ...put, headers: { Origin: "null" } })).status).toBe(403);
    expect((await fetch(blob, put)).status).toBe(401);
    const status = await cluster.rain("status", "-o", "json");
    expect(status.exitCode).toBe(0);
  });
});

it("a port in use", async () => {
  const other = createServer();
  await new Promise<void>((done) => other.listen(0, "127.0.0.1", done));
  const { port } = other.address() as AddressInfo;
  const result = await cluster.rain("server", "--instance", "second", "--listen", `127.0.0.1:${port}`);
  other.close();
  expect(result.exitCode).toBe(69);
  expect(result.stderr).toContain(String(port));
  expect(result.stderr).toContain("--listen");
});
