import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  blob,
  Client,
  input,
  json,
  output,
  Program,
  SessionError,
  TaskError,
  type Session,
} from "@rain/client";
import type { RunningServer } from "@rain/server";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startLocalCluster, type LocalCluster } from "./local-cluster.ts";

// The client against the real server and a real governor, all in this process; programs are real processes.

let cluster: LocalCluster;
let folder: string;
let server: RunningServer;
let client: Client;
let session: Session;

beforeAll(async () => {
  cluster = await startLocalCluster({ licence: 1 }, { kind: "test" });
  ({ client, folder, server } = cluster);
}, 60_000);
afterAll(() => cluster.stop(), 60_000);
beforeEach(async () => {
  session = await client.newSession("e2e");
});
afterEach(() => session.close());

const WAIT = { timeout: 60_000 };

test("the contract's example: a download, trainings over it, their results", WAIT, async () => {
  const data = session.execute(["sh", "-c", "seq 100 > digits.csv"], {
    outputPaths: ["digits.csv"],
    name: "download",
  });
  const runs = [1, 2].flatMap((size) =>
    [3, 4].map((dropout) =>
      session.execute(["sh", "-c", `expr $(wc -l < "$1") + ${size} \\* ${dropout}`, "sh", data], {
        stdout: true,
        name: `size=${size} dropout=${dropout}`,
      }),
    ),
  );
  for (const run of runs) run.output.keep();
  await session.submit();
  const accuracies = await Promise.all(runs.map(async (run) => Number((await run.output.fetch()).text())));
  expect(accuracies).toEqual([103, 104, 106, 108]);
  await runs[0]?.update();
  expect(runs[0]?.info).toMatchObject({ governor: "g1", attempt: 1, exitCode: 0 });
  expect(runs[0]?.info.durationS).toBeGreaterThan(0);
  expect(runs[0]?.output.info).toMatchObject({ size: 4 });
});

test("built-ins, stdin, shell, programs, write copies, environment", WAIT, async () => {
  const whole = session.concat([blob("a\n"), json({ b: 1 }), session.sleep(blob("\nc"), 0.01)]);
  const sorted = session.execute("sort -r", { stdin: whole, stdout: true, env: { LC_ALL: "C" } });
  const line = session.execute(["cat", sorted, "| tr a-z A-Z >", output("up", { path: "my up.txt" })], {
    shell: true,
  });
  const program = new Program(
    ["sh", "-c", 'echo more >> "$0"; cat "$0"; echo $LR', input("file", { write: true })],
    {
      stdout: output("text", { contentType: "text" }),
      env: { LR: "0.1" },
    },
  );
  const run = session.run(program, { file: blob("first\n") });
  session.keepAll();
  await session.submit();
  expect((await whole.output.fetch()).text()).toBe('a\n{"b":1}\nc');
  expect((await run.output.fetch()).load()).toBe("first\nmore\n0.1\n");
  expect((await line.output.fetch()).text()).toBe('{"B":1}\nC\nA\n');
});

test("large constants and outputs travel, and come out as they went in", WAIT, async () => {
  const large = Buffer.alloc(20 * 1024 ** 2, "rain ");
  const copy = session.execute(["cat", blob(large)], { stdout: true });
  copy.output.keep();
  await session.submit();
  const instance = await copy.output.fetch();
  expect(instance.sha256).toBe(createHash("sha256").update(large).digest("hex"));
  const path = join(folder, "copy");
  await instance.write(path);
  expect(large.equals(await readFile(path))).toBe(true);
});

test("several submits, over kept objects, and unkeep", WAIT, async () => {
  const one = session.execute("echo 1", { stdout: true });
  one.output.keep();
  await session.submit();
  const two = session.execute(["cat", one], { stdout: true });
  two.output.keep();
  await session.submit();
  await session.wait([two]);
  await one.output.unkeep();
  expect((await two.output.fetch()).text()).toBe("1\n");
  await expect(one.output.fetch()).rejects.toMatchObject({ code: "object-removed" });
});

test("a failed task fails its session", WAIT, async () => {
  const bad = session.execute(["sh", "-c", "echo broken >&2; exit 3"], { name: "bad", stdout: true });
  const slow = session.execute("sleep 100", { stdout: true });
  session.keepAll();
  await session.submit();
  const [own, other] = await Promise.all(
    [bad.wait(), slow.output.fetch()].map((each) => each.catch((error: unknown) => error)),
  );
  expect(own).toBeInstanceOf(TaskError);
  expect(own).toMatchObject({ exitCode: 3, stderr: "broken\n", task: bad });
  expect((own as Error).message).toMatch(
    /\(bad\) failed[^]*governor g1[^]*created at test\/client\/e2e\.test\.ts[^]*broken/,
  );
  expect(other).toBeInstanceOf(SessionError);
  expect(() => session.execute("x")).toThrow(SessionError);
});

test("onError continue: the rest goes on", WAIT, async () => {
  await session.close();
  session = await client.newSession("study", { onError: "continue" });
  const good = session.execute("echo 7", { stdout: true });
  const bad = session.execute("false", { stdout: true });
  const after = session.execute(["cat", bad], { stdout: true });
  session.keepAll();
  await session.submit();
  const unfinished = await session.waitAll();
  expect(unfinished.map((task) => [task.id, task.state])).toEqual([
    [bad.id, "failed"],
    [after.id, "aborted"],
  ]);
  expect((await good.output.fetch()).json()).toBe(7);
  await expect(after.wait()).rejects.toThrow(/task \d+\/1 did not finish/);
  await expect(after.output.fetch()).rejects.toMatchObject({ name: "TaskError", state: "aborted" });
});

test("finished, cancel, logs, explain, attach, serverInfo", WAIT, async () => {
  const task = session.execute(["sh", "-c", "echo out; echo err >&2; sleep 100"], { name: "talks" });
  const quick = session.execute("true");
  const never = session.execute("true", { cpus: 1_000 });
  await session.submit();
  for await (const ended of session.finished()) {
    expect(ended).toBe(quick);
    break;
  }
  const seen: Record<string, string> = { stdout: "", stderr: "" };
  for await (const chunk of task.logs({ follow: true })) {
    seen[chunk.stream] += chunk.text;
    if (seen["stdout"] === "out\n" && seen["stderr"] === "err\n") break;
  }
  expect((await never.explain()).join("\n")).toMatch(/cpus/);
  const info = await client.serverInfo();
  expect(info.governors).toMatchObject([{ name: "g1", labels: { kind: "test" }, resources: { cpus: 4 } }]);
  expect(info.governors[0]?.tasks).toContainEqual({ session: session.id, task: task.id });
  const other = await Client.connect({ accessFile: server.accessFile });
  const attached = await other.attach(session.id);
  expect(attached.task("talks")).toMatchObject({ id: 0, state: "running" });
  await task.cancel();
  await expect(attached.task("talks").wait()).rejects.toMatchObject({ state: "cancelled" });
  await other.close();
  await session.cancel();
  expect((await session.waitAll()).map((each) => each.state)).toEqual(["cancelled", "cancelled"]);
});

test("many small tasks", WAIT, async () => {
  const tasks = Array.from({ length: 200 }, (_, n) => session.execute(["echo", String(n)], { stdout: true }));
  session.keepAll();
  await session.submit();
  expect(await session.waitAll()).toEqual([]);
  const values = await Promise.all(tasks.map(async (task) => Number((await task.output.fetch()).text())));
  expect(values).toEqual(tasks.map((_, n) => n));
});
