import { join } from "node:path";
import { blob, Client, each, index, RainError, TaskError, type Session } from "@rain/client";
import { asTaskId } from "@rain/protocol";
import type { RunningServer } from "@rain/server";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startLocalCluster, type LocalCluster } from "./local-cluster.ts";

// Arrays of the client against the real server and a real governor; programs are real processes.

let cluster: LocalCluster;
let folder: string;
let server: RunningServer;
let client: Client;
let session: Session;
const WAIT = { timeout: 120_000 };

beforeAll(async () => {
  cluster = await startLocalCluster();
  ({ client, folder, server } = cluster);
}, 60_000);
afterAll(() => cluster.stop(), 60_000);
beforeEach(async () => {
  session = await client.newSession("arrays", { onError: "continue" });
});
afterEach(() => session.close());

const textOf = async (task: { output: { fetch(): Promise<{ text(): string }> } }): Promise<string> =>
  (await task.output.fetch()).text();

test("tasks that feed each other one by one, and one that reads all", WAIT, async () => {
  const words = ["rain", "snow", "hail", "fog"];
  const made = session.array(4, ["printf", "%s %s %s", index(), each(words), "$X"], {
    env: { X: index({ from: 10, prefix: "x" }) },
    stdout: true,
    user: { place: index() },
  });
  const upper = session.array(4, ["tr", "a-z", "A-Z"], { stdin: made, stdout: true });
  const joined = session.array(4, ["cat", each(words.map((word) => blob(`${word}:`))), upper], {
    stdout: true,
  });
  const all = session.concat(joined.outputs);
  joined.keepOutputs();
  all.keepOutputs();
  await session.submit();
  await session.wait([made, all]);
  expect(await textOf(all)).toBe("rain:0 RAIN $Xsnow:1 SNOW $Xhail:2 HAIL $Xfog:3 FOG $X");
  expect(await textOf(joined.at(2))).toBe("hail:2 HAIL $X");
  await session.update([joined.at(2), made.at(1)]);
  expect(joined.at(2).info).toMatchObject({ governor: "g1", attempt: 1, exitCode: 0 });
  expect(made.at(1).info.user).toEqual({ place: 1 });
  // A later submit over what was kept.
  const later = session.array(4, ["rev", joined], { stdout: true }).keepOutputs();
  await session.submit();
  expect(await textOf(later.at(0))).toBe("X$ NIAR 0:niar");
  await joined.unkeep();
  await expect(textOf(joined.at(0))).rejects.toMatchObject({ code: "object-removed" });
  expect(await session.waitAll()).toEqual([]);
});

test("failures, what hangs on them, retry, logs and explain", WAIT, async () => {
  const flag = join(folder, "flag");
  const script = 'echo "task $I"; [ $I != 3 ] || [ -e "$FLAG" ]';
  const array = session.array(6, ["sh", "-c", script], {
    env: { I: index(), FLAG: flag },
    name: index({ prefix: "part-" }),
    stdout: true,
  });
  const after = session.array(6, ["cat", array], { stdout: true });
  array.keepOutputs();
  const never = session.array(3, ["true"], { cpus: 1_000 });
  await session.submit();
  await expect(array.wait()).rejects.toThrow(/part-3\) failed/);
  await expect(after.at(3).wait()).rejects.toMatchObject({ state: "aborted" });
  expect((await never.at(1).explain()).join("\n")).toMatch(/cpus/);
  await never.cancel();
  const unfinished = await session.waitAll();
  expect(unfinished.map((task) => [task.id, task.state])).toEqual([
    [3, "failed"],
    [9, "aborted"],
    [12, "cancelled"],
    [13, "cancelled"],
    [14, "cancelled"],
  ]);
  expect([array.settled, after.settled, never.settled]).toMatchObject([
    { finished: 5, failed: 1 },
    { finished: 5, aborted: 1 },
    { cancelled: 3 },
  ]);
  const chunks: string[] = [];
  for await (const { text } of array.at(5).logs()) chunks.push(text);
  expect(chunks.join("")).toBe("task 5\n");

  const make = session.execute(["touch", flag]);
  await session.submit();
  await make.wait();
  const [again, next] = session.retry([array.at(3), after.at(3)]);
  await session.submit();
  await next?.wait();
  expect(again && (await textOf(again))).toBe("task 3\n");
  expect(() => session.retry([array.at(3)])).toThrow(/was retried already/);
});

test("a session is attached with its arrays, and tells of tasks as they end", WAIT, async () => {
  const array = session.array(300, ["true"], { name: index({ prefix: "t" }) });
  const wide = session.array(50_000, ["true"], { cpus: 1_000 });
  await session.submit();
  const seen = new Set<number>();
  for await (const task of session.finished()) {
    expect(task).toBe(session.task(task.id));
    seen.add(task.id);
    if (seen.size === 300) break;
  }
  expect(seen).toEqual(new Set([...array].map(({ id }) => id)));
  await wide.cancel();
  await session.waitSome([wide]);
  expect(wide.settled).toMatchObject({ cancelled: 50_000 });

  const small = await client.newSession("small", { detached: true });
  const parts = small.array(10, ["echo", index()], { stdout: true }).keepOutputs();
  await small.submit();
  const other = await Client.connect({ accessFile: server.accessFile });
  const attached = await other.attach(small.id);
  expect(attached.tasks.map(({ spec }) => spec)).toEqual([...parts].map(({ spec }) => spec));
  expect(await attached.waitAll()).toEqual([]);
  expect(await textOf(attached.task(7))).toBe("7\n");
  await small.close();
  await other.close();
});

test("with onError fail, the first failure ends the session", WAIT, async () => {
  const strict = await client.newSession("strict");
  const array = strict.array(20, ["sh", "-c", "[ $I != 11 ]"], { env: { I: index() } });
  await strict.submit();
  const error = await array.wait().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(TaskError);
  expect((error as TaskError).taskId).toBe(11);
  await expect(strict.waitAll()).rejects.toThrow(RainError);
  await strict.close();
});

test("values by the hundred thousand are what they were", WAIT, async () => {
  const count = 120_000;
  const values = Array.from({ length: count }, (_, k) => `${(k * 7_919) % count} ${k}`);
  const array = session.array(count, ["echo", each(values)], { cpus: 1_000 });
  await session.submit();
  for (const at of [0, 62_499, 62_500, count - 1]) {
    const { tasks } = await client.request("task.get", {
      session: session.id,
      tasks: [asTaskId(at)],
    });
    expect(tasks[0]?.spec).toEqual(array.at(at).spec);
    expect(array.at(at).spec.work).toMatchObject({ args: ["echo", values[at]] });
  }
});
