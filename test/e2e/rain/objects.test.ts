import {
  blob,
  directory,
  RainError,
  SessionError,
  TaskError,
  type DataObject,
  type Task,
} from "@rain/client";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { textOf, until, untilEmpty, useRain, WAIT } from "./kit.ts";

const rain = useRain([2]);
const codeOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => "it went well",
    (error: unknown) => (error instanceof RainError ? error.code : error),
  );

test("the server tells of governors, and of no task or object when there is none", WAIT, async () => {
  await untilEmpty(rain.client);
  const { governors } = await rain.client.serverInfo();
  expect(governors).toMatchObject([{ name: "g0", state: "connected", tasks: [], objects: [] }]);
  expect(governors[0]?.resources.cpus).toBe(2);
});

test(
  "what a governor has while a task runs, when it is done, and when its output is let go",
  WAIT,
  async () => {
    await rain.session(async (session) => {
      const constant = blob("abc123456");
      const task = session.sleep(constant, 1);
      task.output.keep();
      await session.submit();
      const held = async () => (await rain.client.serverInfo()).governors[0];
      await until(async () => (await held())?.tasks.length === 1);
      expect((await held())?.tasks).toEqual([{ session: session.id, task: task.id }]);
      await until(async () => (await held())?.objects.some(({ object }) => object === constant.id));
      await task.wait();
      await until(async () => {
        const now = await held();
        return now?.tasks.length === 0 && now.objects.length === 1;
      });
      expect((await held())?.objects).toEqual([{ session: session.id, object: task.output.id }]);
      expect(task.output.isKept).toBe(true);
      await task.output.unkeep();
      expect(task.output.isKept).toBe(false);
      await untilEmpty(rain.client);
    });
  },
);

test("everything is gone after unkeep of all, and after the session is closed", WAIT, async () => {
  const folder = join(rain.folder, "some");
  await mkdir(folder);
  await writeFile(join(folder, "file"), Buffer.alloc(200_000, 1));
  const session = await rain.client.newSession("left open");
  const big = session.execute("head -c 200000 /dev/zero", { stdout: true });
  const made = session.makeDirectory({ a: big, b: directory(folder), c: blob("c") });
  const slow = session.sleep(made, 1_000);
  session.keepAll();
  await session.submit();
  await made.wait();
  await slow.cancel();
  await until(async () => ((await rain.client.serverInfo()).governors[0]?.tasks.length ?? 1) === 0);
  expect((await rain.client.serverInfo()).governors[0]?.objects.length).toBeGreaterThan(0);
  await session.unkeep([big, made]);
  await untilEmpty(rain.client);
  const again = session.concat([blob("x"), blob("y")]);
  again.output.keep();
  await session.submit();
  await again.wait();
  await session.close();
  await untilEmpty(rain.client);
  expect((await rain.client.sessions()).map(({ session: id }) => id)).not.toContain(session.id);
});

test("closing a session stops what it runs, and others go on", WAIT, async () => {
  const first = await rain.client.newSession("first");
  first.execute("sleep 1000", { cpus: 2 });
  await first.submit();
  await until(async () => (await rain.client.serverInfo()).governors[0]?.tasks.length === 1);
  const second = await rain.client.newSession("second");
  expect(second.id).not.toBe(first.id);
  const joined = second.concat([blob("a"), blob("b")]);
  joined.output.keep();
  await second.submit();
  await first.close();
  expect(await textOf(joined)).toBe("ab");
  expect(() => first.execute("true")).toThrow(SessionError);
  await second.close();
});

test(
  "fetching what is not submitted, not kept, let go or failed: an error of its own each",
  WAIT,
  async () => {
    await rain.session(
      async (session) => {
        const plain = session.sleep(blob("abc"), 0);
        const kept = session.sleep(blob("abc"), 0);
        const broken = session.execute("false", { stdout: true });
        const after = session.execute(["cat", broken], { stdout: true });
        for (const task of [kept, broken, after]) task.output.keep();
        const unsubmitted: unknown = await kept.output.fetch().catch((error: unknown) => error);
        expect(unsubmitted).toMatchObject({ code: "bad-request" });
        expect((unsubmitted as Error).message).toMatch(/not submitted; submit\(\) comes first/);
        await session.submit();
        const messages = new Set<string>();
        const refused = async (object: DataObject, code: string): Promise<void> => {
          const error: unknown = await object.fetch().catch((problem: unknown) => problem);
          expect(error).toMatchObject({ code });
          messages.add((error as Error).message.replaceAll(/\d+/g, ""));
        };
        await refused(plain.output, "not-kept");
        await plain.wait();
        await refused(plain.output, "not-kept");
        expect(await textOf(kept)).toBe("abc");
        await kept.output.unkeep();
        await refused(kept.output, "object-removed");
        await refused(broken.output, "task-failed");
        await refused(after.output, "task-failed");
        expect(await broken.output.fetch().catch((error: unknown) => error)).toBeInstanceOf(TaskError);
        expect(messages.size).toBe(4);
        expect(await codeOf(blob("nowhere").fetch())).toBe("bad-request");
      },
      { onError: "continue" },
    );
  },
);

test("also the server tells them apart, for a client that knows less", WAIT, async () => {
  await rain.session(
    async (session) => {
      const [plain, broken, slow] = [
        session.sleep(blob("abc"), 0),
        session.execute("false", { stdout: true }),
        session.sleep(blob("abc"), 100),
      ];
      broken.output.keep();
      await session.submit();
      await plain.wait();
      await codeOf(broken.wait());
      const ask = (object: number | undefined): Promise<unknown> =>
        codeOf(rain.client.request("fetch", { session: session.id, object: (object ?? 0) as never }));
      expect(await ask(plain.output.id)).toBe("object-removed");
      expect(await ask(broken.output.id)).toBe("object-failed");
      expect(await ask(slow.output.id)).toBe("not-kept");
      expect(await ask(12_345)).toBe("unknown-object");
    },
    { onError: "continue" },
  );
});

test(
  "a second submit over an object that was not kept is refused, over a kept one it goes on",
  WAIT,
  async () => {
    await rain.session(async (session) => {
      const kept = session.execute("echo kept", { stdout: true });
      const lost = session.execute("echo lost", { stdout: true });
      kept.output.keep();
      await session.submit();
      expect(() => session.concat([lost])).toThrow(/not kept; keep\(\) it before the submit that makes it/);
      const next = session.concat([kept, kept]);
      next.output.keep();
      await session.submit();
      expect(await textOf(next)).toBe("kept\nkept\n");
      await kept.output.unkeep();
      expect(() => session.concat([kept])).toThrow(/let go by unkeep/);
      // A client that does not look is told by the server.
      const spec = next.spec;
      const inputs = [{ object: lost.output.id as never }];
      const outputs = spec.outputs.map((each) => ({ ...each, object: 1_000 as never }));
      const task = { ...spec, id: 1_000 as never, inputs, outputs };
      const batch = { session: session.id, key: "a-key-of-its-own", part: 0, last: true };
      const sent = rain.client.request("submit", { ...batch, tasks: [task], constants: [] });
      expect(await codeOf(sent)).toMatch(/not-kept|object-removed/);
    });
  },
);

test(
  "waitSome returns only what is finished, waitAll waits for all, and a late wait is answered",
  WAIT,
  async () => {
    await rain.session(async (session) => {
      const quick = session.concat([blob("a"), blob("b")]);
      const slow = session.sleep(quick, 1.5);
      expect(quick.state).toBeUndefined();
      await session.submit();
      expect(await session.waitSome([quick, slow])).toEqual([quick]);
      expect(quick.state).toBe("finished");
      expect(slow.state).not.toBe("finished");
      expect(await session.waitSome([slow.output, quick.output])).toEqual([quick.output]);
      await slow.output.wait();
      expect(slow.output.state).toBe("finished");
      expect(await session.waitSome([slow, quick])).toEqual([slow, quick]);
      expect(await session.waitAll()).toEqual([]);
      await slow.wait();
      await session.wait([quick, slow.output]);
    });
  },
);

test("waits and fetches in a session without tasks, and of what is not submitted", WAIT, async () => {
  await rain.session(async (session) => {
    await session.submit();
    expect(await session.waitAll()).toEqual([]);
    const task = session.concat([]);
    task.keepOutputs();
    expect(await codeOf(task.wait())).toBe("bad-request");
    expect(await codeOf(task.output.fetch())).toBe("bad-request");
    expect(await codeOf(session.wait([task.output]))).toBe("bad-request");
  });
});

test(
  "a failed session: wait, waitAll, fetch, update and unkeep say why; closing goes well",
  WAIT,
  async () => {
    await rain.session(async (session) => {
      const slept = session.sleep(blob("test"), 0.1);
      const bad = session.execute(["/bin/non-existing-program"], { stdin: slept, stdout: "output" });
      bad.output.keep();
      await session.submit();
      await expect(session.waitAll()).rejects.toThrow(/non-existing-program/);
      await expect(session.waitAll()).rejects.toThrow(/non-existing-program/);
      await expect(bad.output.fetch()).rejects.toThrow(/non-existing-program/);
      await expect(bad.update()).rejects.toThrow(/non-existing-program/);
      await expect(bad.output.update()).rejects.toThrow(/non-existing-program/);
      await expect(bad.output.unkeep()).rejects.toThrow(/non-existing-program/);
      await expect(bad.output.unkeep()).rejects.toThrow(/non-existing-program/);
      expect(() => session.execute("true")).toThrow(/non-existing-program/);
    });
  },
);

test("unkeep before, while and after a task runs", WAIT, async () => {
  await rain.session(async (session) => {
    const early = session.concat([blob("a")]);
    early.output.keep();
    await early.output.unkeep();
    expect(early.output.isKept).toBe(false);
    const whole = session.concat([blob("a"), blob("b")]);
    whole.output.keep();
    const later = session.sleep(whole, 0.3);
    later.output.keep();
    await session.submit();
    await whole.output.unkeep();
    expect(whole.output.isKept).toBe(false);
    expect(await textOf(later)).toBe("ab");
    await later.output.unkeep();
    expect(await codeOf(later.output.fetch())).toBe("object-removed");
  });
});

test("outputs by label, place and in turn; a fetch of all of them", WAIT, async () => {
  await rain.session(async (session) => {
    const tasks: Task[] = [
      session.execute("echo one; echo two >&2", { shell: true, stdout: true, stderr: "notes" }),
    ];
    const [task] = tasks;
    if (!task) throw new Error("no task");
    task.keepOutputs();
    await session.submit();
    expect(task.outputs.get("notes")).toBe(task.outputs.at(1));
    expect(() => task.outputs.get("XXX")).toThrow(/no output "XXX"/);
    const texts = await Promise.all([...task.outputs].map(textOf));
    expect(texts).toEqual(["one\n", "two\n"]);
  });
});
