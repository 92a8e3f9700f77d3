import { SessionError, TaskError, TimeoutError, type Client, type Session, type Task } from "@rain/client";
import { RainError, type TaskFailure } from "@rain/protocol";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Peer } from "./peer.ts";

let peer: Peer;
let client: Client;
beforeEach(async () => {
  peer = await Peer.start();
  client = await peer.connect();
});
afterEach(() => peer.stop());

const failure: TaskFailure = {
  reason: "exit",
  message: "the program ended with exit code 3",
  exitCode: 3,
  stderr: "Traceback:\n  bad \u001b[31mvalue\n",
  attempt: 2,
  governor: "g1",
};
const reasonOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );
async function submit(session: Session, count: number): Promise<Task[]> {
  const tasks = Array.from({ length: count }, (_, n) =>
    session.execute("x", { stdout: true, name: `t${n}` }),
  );
  session.keepAll();
  await session.submit();
  return tasks;
}
/** Tasks by number: as values, all tasks look alike. */
const ids = (tasks: readonly Task[]): number[] => tasks.map((task) => task.id);
const first = (tasks: readonly Task[]): Task => tasks[0] ?? expect.fail("no task");

test("there is one long poll for all who wait, and none when nobody does", async () => {
  const session = await client.newSession();
  const tasks = await submit(session, 3);
  expect(peer.of("next")).toEqual([]);
  const waits = tasks.map((task) => task.wait());
  await vi.waitFor(() => expect(peer.of("next").length).toBe(1));
  peer.settle([1]);
  await waits[1];
  expect(tasks.map((task) => task.state)).toEqual(["waiting", "finished", "waiting"]);
  await vi.waitFor(() => expect(peer.of("next").length).toBe(2));
  peer.settle([0, 2]);
  await Promise.all(waits);
  expect(peer.of("next").map((next) => next.from)).toEqual([0, 1]);
  await session.wait([...tasks, first(tasks).output]);
  expect(peer.of("next").length).toBe(2);
});

test("thousands of waits for tasks that settle one by one", async () => {
  const session = await client.newSession();
  const count = 5_000;
  const tasks = await submit(session, count);
  const waits = Promise.all([...tasks.map((task) => task.wait()), session.wait(tasks), session.waitAll()]);
  for (let n = 0; n < count; n++) peer.settle([n]);
  await waits;
  expect(tasks.every((task) => task.state === "finished")).toBe(true);
});

test("waitSome gives those that have settled; waitAll what did not finish", async () => {
  const session = await client.newSession("", { onError: "continue" });
  const tasks = await submit(session, 4);
  const some = session.waitSome(tasks.slice(1));
  peer.settle([0]);
  peer.settle([2], "failed", { failure });
  expect(ids(await some)).toEqual([2]);
  peer.settle([1]);
  expect(await session.waitSome([])).toEqual([]);
  const all = session.waitAll();
  peer.settle([3], "cancelled");
  expect(ids(await all)).toEqual([2, 3]);
  expect(ids(await session.waitSome(tasks))).toEqual([0, 1, 2, 3]);
});

test("finished() yields each task once, from the first, and ends with the last", async () => {
  const session = await client.newSession();
  const tasks = await submit(session, 3);
  peer.settle([2, 0]);
  await first(tasks).wait();
  const seen: Task[] = [];
  for await (const task of session.finished()) {
    seen.push(task);
    if (seen.length === 1) peer.settle([2]); // it ran again for a lost object
    if (seen.length === 2) peer.settle([1]);
  }
  expect(ids(seen)).toEqual([2, 0, 1]);
  expect(seen[0]).toBe(tasks[2]);
  await submit(session, 1);
  peer.settle([3]);
  const again: Task[] = [];
  for await (const task of session.finished()) again.push(task);
  expect(ids(again)).toEqual([2, 0, 1, 3]);
});

test("timeoutS and signal end a wait, not what is waited for", async () => {
  const session = await client.newSession("slow");
  const task = first(await submit(session, 1));
  const late = await reasonOf(task.wait({ timeoutS: 0.01 }));
  expect(late).toBeInstanceOf(TimeoutError);
  expect(late).toMatchObject({ code: "timeout", message: "task 1/0 (t0): not settled after 0.01 s" });
  const stop = new AbortController();
  const waits = [task.wait({ signal: stop.signal }), session.waitAll({ signal: stop.signal })];
  stop.abort(new Error("enough"));
  for (const wait of waits) await expect(wait).rejects.toThrow("enough");
  await expect(task.wait({ signal: stop.signal })).rejects.toThrow("enough");
  await expect(task.output.fetch({ timeoutS: -1 })).rejects.toThrow(TypeError);
  peer.handlers.fetch = () => undefined;
  await expect(task.output.fetch({ timeoutS: 0.01 })).rejects.toBeInstanceOf(TimeoutError);
  peer.settle([0]);
  await task.wait({ timeoutS: 60, signal: new AbortController().signal });
});

describe("onError continue", () => {
  test("a failed task throws its TaskError, which says everything", async () => {
    const session = await client.newSession("study", { onError: "continue" });
    const task = session.execute(["train", "--lr", "1"], { name: "train lr=1", stdout: true });
    await session.submit();
    peer.settle([0], "failed", { failure });
    const error = await reasonOf(task.wait());
    expect(error).toBeInstanceOf(TaskError);
    expect(error).toBeInstanceOf(RainError);
    expect(error).toMatchObject({ code: "task-failed", task, taskId: 0, state: "failed", reason: "exit" });
    expect(error).toMatchObject({ exitCode: 3, attempt: 2, governor: "g1", stderr: failure.stderr });
    expect((error as TaskError).message.split("\n")).toEqual([
      "task 1/0 (train lr=1) failed: the program ended with exit code 3",
      "  it ran on governor g1, attempt 2",
      expect.stringMatching(/^ {2}created at test\/client\/waits\.test\.ts:\d+:\d+$/),
      "  the last of its stderr:",
      "    Traceback:",
      "      bad \\x1b[31mvalue",
    ]);
    expect(task.info).toMatchObject({ attempt: 2, error: failure.message });
  });

  test("an aborted task names its cause; a cancelled one says so", async () => {
    const session = await client.newSession("", { onError: "continue" });
    const tasks = await submit(session, 3);
    peer.settle([0], "failed", { failure });
    peer.settle([1], "aborted", { cause: 0 as never });
    peer.settle([2], "cancelled");
    const [, aborted, cancelled] = await Promise.all(tasks.map((task) => reasonOf(task.wait())));
    expect(aborted).toMatchObject({ code: "task-failed", state: "aborted" });
    expect((aborted as Error).message).toContain("task 1/0 (t0) did not finish");
    expect(cancelled).toMatchObject({ state: "cancelled" });
    expect((cancelled as Error).message).toContain("was cancelled");
  });

  test("a fetch of what can never come throws the TaskError", async () => {
    const session = await client.newSession("", { onError: "continue" });
    const task = first(await submit(session, 1));
    peer.settle([0], "failed", { failure });
    peer.handlers.fetch = () => {
      throw new RainError("object-failed", "can never come");
    };
    expect(await reasonOf(task.output.fetch())).toMatchObject({ code: "task-failed", task });
  });
});

describe("onError fail", () => {
  const failedSession = (): never => {
    throw new RainError("session-failed", "session 1 failed");
  };

  test("the failure ends every wait, and every later call but close", async () => {
    const session = await client.newSession("strict");
    const tasks = await submit(session, 3);
    const [failed, other] = [first(tasks), tasks[1] ?? expect.fail()];
    const waits = [failed.wait(), other.wait(), session.waitSome([other]), session.waitAll()].map(reasonOf);
    const finished = reasonOf(
      (async () => {
        for await (const task of session.finished()) expect(task).toBe(failed);
      })(),
    );
    peer.failSession(0, failure);
    const [own, ...others] = await Promise.all(waits);
    expect(own).toBeInstanceOf(TaskError);
    expect(others[2]).toBeInstanceOf(TaskError);
    for (const error of [others[0], others[1], await finished]) {
      expect(error).toBeInstanceOf(SessionError);
      expect(error).toMatchObject({ code: "session-failed", cause: { task: failed, exitCode: 3 } });
    }
    expect(session.error?.message).toMatch(
      /session 1 \(strict\) failed: task 1\/0 \(t0\) failed: the program/,
    );
    expect(() => session.execute("x")).toThrow(SessionError);
    expect(await reasonOf(session.submit())).toBeInstanceOf(SessionError);
    expect(await reasonOf(other.output.fetch())).toBeInstanceOf(SessionError);
    expect(await reasonOf(other.update())).toBeInstanceOf(SessionError);
    expect(await reasonOf(session.cancel())).toBeInstanceOf(SessionError);
    expect(await reasonOf(session.waitAll())).toBeInstanceOf(SessionError);
    expect(await reasonOf(failed.wait())).toBeInstanceOf(TaskError);
    expect(await reasonOf(failed.output.fetch())).toBeInstanceOf(TaskError);
    await session.close();
    expect(peer.of("session.close").length).toBe(1);
  });

  test("a failure that another answer tells is looked up", async () => {
    const session = await client.newSession("strict");
    const tasks = await submit(session, 2);
    const waiting = reasonOf(first(tasks).wait());
    await vi.waitFor(() => expect(peer.of("next").length).toBe(1));
    peer.handlers.fetch = failedSession;
    peer.failure = { task: 0 as never, failure };
    const error = await reasonOf(tasks[1]?.output.fetch() ?? expect.fail());
    expect(error).toBeInstanceOf(SessionError);
    expect(error).toMatchObject({ cause: { exitCode: 3 } });
    expect(await waiting).toBeInstanceOf(TaskError);
  });

  test("a refused submit leaves the tasks as they were", async () => {
    const session = await client.newSession();
    const task = session.execute("a", { stdout: true });
    peer.handlers.submit = () => {
      throw new RainError("limit-exceeded", "too much");
    };
    await expect(session.submit()).rejects.toMatchObject({ code: "limit-exceeded" });
    expect(task.state).toBeUndefined();
    task.output.keep();
    peer.handlers.submit = () => ({});
    await session.submit();
    expect(peer.submitted.map((spec) => [spec.id, spec.outputs[0]?.keep])).toEqual([
      [0, false],
      [0, true],
    ]);
    await session.submit();
    expect(peer.of("submit").length).toBe(2);
  });
});

test("close ends the waits and is said once", async () => {
  const session = await client.newSession("closed");
  const task = first(await submit(session, 1));
  const wait = reasonOf(task.wait());
  await Promise.all([session.close(), session.close()]);
  expect(await wait).toMatchObject({ name: "SessionError", code: "session-closed" });
  await expect(session.submit()).rejects.toMatchObject({ code: "session-closed" });
  await session.close();
  expect(peer.of("session.close").length).toBe(1);
  peer.handlers["session.close"] = () => {
    throw new RainError("unknown-session", "there is no session 1");
  };
  await (await client.newSession()).close();
});

test("attach brings the tasks and objects, and numbers go on", async () => {
  const maker = await client.newSession("made");
  const data = maker.execute("a", { name: "data", stdout: "text" });
  data.output.keep();
  await maker.submit();
  const [spec] = peer.submitted;
  if (!spec) return expect.fail();
  const view = { state: "finished", attempt: 1, info: { durationS: 2 } } as const;
  peer.handlers["session.describe"] = ({ from }) =>
    from === 0
      ? {
          tasks: [{ task: 0 as never, spec, ...view }],
          objects: [
            { object: 9 as never, label: "c", kind: "blob", state: "finished", keep: true },
            {
              object: 0 as never,
              label: "text",
              kind: "blob",
              state: "finished",
              keep: true,
              producer: 0 as never,
            },
          ],
          next: 5 as never,
        }
      : {
          tasks: [{ task: 5 as never, spec: { ...spec, id: 5 as never, name: "two", outputs: [] }, ...view }],
          objects: [],
        };
  const session = await client.attach(1);
  expect(session.tasks.map((task) => task.id)).toEqual([0, 5]);
  expect(session.objects.map((object) => object.id)).toEqual([9, 0]);
  const task = session.task("data");
  expect(session.task(5).name).toBe("two");
  expect(() => session.task("none")).toThrow(/has no task "none"/);
  expect(() => session.task(1)).toThrow(RainError);
  expect(task).toMatchObject({ state: "finished", info: { attempt: 1, durationS: 2 }, origin: spec.origin });
  expect(task.output.producer).toBe(task);
  const next = session.execute(["b", task, session.objects[0] ?? "x"], { stdout: true });
  expect([next.id, next.output.id]).toEqual([6, 10]);
  await session.submit();
  peer.settle([0, 5, 6]);
  expect(await session.waitAll()).toEqual([]);
});

test("updates asked for in one moment share requests", async () => {
  const session = await client.newSession();
  const tasks = await submit(session, 250);
  peer.handlers["task.get"] = (request) => ({
    tasks: request.tasks.map((id) => {
      const spec = peer.submitted[id] ?? expect.fail();
      return {
        task: id,
        spec,
        state: "running",
        attempt: 1,
        governor: "g",
        info: { maxRssBytes: 5 },
      } as const;
    }),
  });
  const info = { size: 3, sha256: "a".repeat(64) as never, contentType: "json" };
  peer.handlers["object.get"] = (request) => ({
    objects: request.objects.map((object) => ({
      object,
      label: "stdout",
      kind: "blob",
      state: "pending",
      keep: true,
      info,
    })),
  });
  await Promise.all(tasks.map((task) => task.update()));
  expect(peer.of("task.get").length).toBe(3);
  expect(first(tasks)).toMatchObject({
    state: "running",
    info: { attempt: 1, governor: "g", maxRssBytes: 5 },
  });
  expect(first(tasks).output).toMatchObject({ info, contentType: "json", state: "pending" });
});

test("cancel, explain, serverInfo", async () => {
  const session = await client.newSession();
  const tasks = await submit(session, 2);
  await tasks[1]?.cancel();
  await session.cancel();
  expect(peer.of("cancel").map((cancel) => cancel.tasks)).toEqual([[1], undefined]);
  peer.handlers.explain = () => ({ state: "ready", lines: ["no governor has 8 cpus"] });
  expect(await tasks[0]?.explain()).toEqual(["no governor has 8 cpus"]);
  const resources = { cpus: 4, gpus: 0, memory: 5, named: {} };
  const governor = {
    name: "g",
    state: "connected",
    labels: { type: "big" },
    tasks: [],
    objects: [],
  } as const;
  peer.handlers["server.info"] = () => ({
    ...{ version: "0", clusterId: "c", instance: "i", uptimeS: 1, sessions: [] },
    governors: [{ ...governor, governor: 7 as never, capacity: resources, used: resources }],
  });
  expect((await client.serverInfo()).governors).toEqual([{ ...governor, id: 7, resources, used: resources }]);
});
