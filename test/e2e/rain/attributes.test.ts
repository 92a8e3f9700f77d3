import { blob, directory, output, type UserAttributes } from "@rain/client";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { useRain, WAIT } from "./kit.ts";

const rain = useRain([2]);
const nested: UserAttributes = {
  integer: 12,
  list: [1, 2.5, "x", null, true],
  deep: { a: {} },
  "größe 🌧": "",
};

test("user attributes of tasks and objects are in their spec, here and for who attaches", WAIT, async () => {
  const folder = join(rain.folder, "d");
  await mkdir(folder);
  await rain.session(async (session) => {
    const data = blob("data", { user: { first: "first value", nested }, label: "data" });
    const tree = directory(folder, { user: { kind: "tree" } });
    const stdout = output("out", { user: { role: "result" } });
    const task = session.execute(["ls", data, tree], { stdout, user: { foo: "bar", nested }, name: "t" });
    task.output.keep();
    expect(task.spec.user).toEqual({ foo: "bar", nested });
    await session.submit();
    await task.wait();
    await task.update();
    await data.update();
    expect(task.info).toMatchObject({
      governor: "g0",
      attempt: 1,
      exitCode: 0,
      user: { foo: "bar", nested },
    });
    expect(task.info.durationS).toBeGreaterThan(0);
    expect(task.info.startTime).toBeGreaterThan(1_600_000_000_000);
    expect(task.info.debug).toBeUndefined();
    expect(data.spec).toEqual({
      id: data.id,
      label: "data",
      kind: "blob",
      contentType: "text",
      keep: false,
      user: { first: "first value", nested },
    });
    expect(data.info).toMatchObject({ size: 4, contentType: "text", user: { first: "first value" } });
    expect(tree.spec).toMatchObject({ kind: "directory", label: "d", user: { kind: "tree" } });
    expect(task.output.spec).toMatchObject({ label: "out", keep: true, user: { role: "result" } });
    const before = task.info.durationS;
    await task.update();
    expect(task.info.durationS).toBe(before);

    const other = await rain.cluster.connect();
    const attached = await other.attach(session.id);
    const found = attached.task("t");
    expect(found.spec).toEqual(task.spec);
    expect(found.output.spec).toEqual(task.output.spec);
    const constant = attached.objects.find((object) => object.id === data.id);
    expect(constant?.spec).toEqual(data.spec);
    await other.close();
  });
});

test("a program tells attributes and a note by the file that RAIN_INFO names", WAIT, async () => {
  await rain.session(
    async (session) => {
      const told = {
        user: { accuracy: 0.97, list: ["A", 1, 2] },
        debug: "First message\nLast message",
        outputs: { model: { layers: 3 } },
      };
      const tell = session.execute(
        ["sh", "-c", 'echo x > model; cat "$0" > "$RAIN_INFO"', blob(JSON.stringify(told))],
        {
          user: { lr: 0.1, accuracy: 0 },
          outputPaths: [output("model", { user: { role: "model" } })],
        },
      );
      tell.output.keep();
      await session.submit();
      await tell.wait();
      await tell.update();
      expect(tell.info.user).toEqual({ lr: 0.1, accuracy: 0.97, list: ["A", 1, 2] });
      expect(tell.spec.user).toEqual({ lr: 0.1, accuracy: 0 });
      expect(tell.info.debug).toBe("First message\nLast message");
      expect(tell.output.info.user).toEqual({ role: "model", layers: 3 });
      expect((await tell.output.fetch()).text()).toBe("x\n");
    },
    { onError: "continue" },
  );
});

test.each([
  ["no JSON", "{"],
  ["bytes that are no text", "\0\ud800\u0001{"],
  ["no object", "[1]"],
  ["a name that is not known", '{"usr": {}}'],
  ["a user that is a list", '{"user": [1]}'],
  ["too much", JSON.stringify({ user: { text: "x".repeat(20_000) } })],
  ["a dangerous name", '{"user": {"__proto__": {"a": 1}}}'],
])("what a program tells wrongly does not fail it: %s", WAIT, async (_, text) => {
  await rain.session(async (session) => {
    const task = session.execute(["sh", "-c", 'cat "$0" > "$RAIN_INFO"', blob(Buffer.from(text, "latin1"))]);
    await session.submit();
    await task.wait();
    await task.update();
    expect(task.info.debug).toMatch(/the file of RAIN_INFO is not used/);
    expect(task.info.user).toBeUndefined();
  });
});

test("wrong attributes are errors at their line", WAIT, async () => {
  await rain.session((session) => {
    const set = (user: unknown) => () => session.execute("true", { user: user as UserAttributes });
    const cyclic: Record<string, unknown> = {};
    cyclic["self"] = cyclic;
    expect(set([1])).toThrow(/must be an object of names and JSON values/);
    expect(set({ a: undefined })).toThrow(/must be a JSON value/);
    expect(set({ a: Number.NaN })).toThrow(/no form in JSON/);
    expect(set({ a: new Date() })).toThrow(/must be a JSON value, not an object \(Date\)/);
    expect(set({ a: () => 1 })).toThrow(/must be a JSON value, not a function/);
    expect(set(JSON.parse('{"__proto__": 1}'))).toThrow(/means something else/);
    expect(set(cyclic)).toThrow(/nested deeper/);
    expect(set({ a: "x".repeat(20_000) })).toThrow(/the limit is 16384/);
    expect(set({ a: "\0" })).toThrow(/NUL/);
    expect(() => blob("x", { user: "x" as never })).toThrow(/blob: user/);
    expect(() => output("x", { user: 1 as never })).toThrow(/output\("x"\): user/);
    return Promise.resolve();
  });
});
