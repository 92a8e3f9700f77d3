import { blob, cbor, input, isSubtype, json, output, Program, TaskError } from "@rain/client";
import { tableFromArrays, tableToIPC, type Table } from "apache-arrow";
import { expect, test } from "vitest";
import { useRain, WAIT } from "./kit.ts";

const rain = useRain([2]);

test("load() gives the value by content type", WAIT, async () => {
  const table = tableToIPC(tableFromArrays({ x: Int32Array.of(1, 2, 3) }));
  const value = { name: "größe", list: [1, 2.5, null, true], bytes: Uint8Array.of(1, 2) };
  await rain.session(async (session) => {
    const constants = {
      text: blob("größe"),
      latin: blob("größe", { contentType: "text-latin1" }),
      latin2: blob("asžčďďŠ", { contentType: "text-iso-8859-2" }),
      wide: blob("größe 🌧", { contentType: "text-utf-16le" }),
      json: json([1, { a: [4, 5] }]),
      named: blob("[10, 20]", { contentType: "json" }),
      cbor: cbor(value),
      arrow: blob(table, { contentType: "arrow" }),
      pickle: blob(Uint8Array.of(128, 4, 78, 46), { contentType: "pickle" }),
      mime: blob("<p>", { contentType: "mime/text/html" }),
      bytes: blob(Uint8Array.of(255, 0)),
    };
    // Through a program that says what it makes, and through tasks that hand a type on.
    const passed = Object.fromEntries(
      Object.entries(constants).map(([name, object]) => [
        name,
        session.execute(["cat", object], { stdout: output("out", { contentType: object.contentType }) }),
      ]),
    );
    const slept = session.sleep(constants.json, 0);
    session.keepAll();
    await session.submit();
    const load = async (name: string): Promise<unknown> => (await passed[name]?.output.fetch())?.load();
    expect(await load("text")).toBe("größe");
    expect(await load("latin")).toBe("größe");
    expect(await load("latin2")).toBe("asžčďďŠ");
    expect(await load("wide")).toBe("größe 🌧");
    expect(await load("json")).toEqual([1, { a: [4, 5] }]);
    expect(await load("named")).toEqual([10, 20]);
    expect(await load("cbor")).toEqual(value);
    expect([...((await load("arrow")) as Table<never>)].length).toBe(3);
    expect(await load("pickle")).toEqual(Uint8Array.of(128, 4, 78, 46));
    expect(Buffer.from((await load("mime")) as Uint8Array).toString()).toBe("<p>");
    expect(await load("bytes")).toEqual(Uint8Array.of(255, 0));
    expect((await slept.output.fetch()).load()).toEqual([1, { a: [4, 5] }]);
    expect((await passed["latin2"]?.output.fetch())?.size).toBe(7);
  });
});

test("the rule of subtypes", () => {
  const types = [
    "",
    "text",
    "text-latin1",
    "json",
    "pickle",
    "cloudpickle",
    "mime/text/html",
    "mime/text",
    "user/a",
  ];
  const accepted = types.map((wanted) => types.filter((actual) => isSubtype(actual, wanted)));
  expect(accepted).toEqual([
    types,
    ["text", "text-latin1"],
    ["text-latin1"],
    ["json"],
    ["pickle"],
    ["pickle", "cloudpickle"],
    ["mime/text/html"],
    ["mime/text"],
    ["user/a"],
  ]);
});

test("what is declared is checked at the line that wrote it", WAIT, async () => {
  await rain.session((session) => {
    const made = session.execute("x", { stdout: output("o", { contentType: "json" }) });
    expect(() => input("i", { contentType: "text", object: made })).toThrow(
      /content type "json", not "text"/,
    );
    const program = new Program(["cat", input("i", { contentType: "cbor" })]);
    expect(() => session.run(program, { i: made })).toThrow(/content type "json", not "cbor"/);
    expect(() => session.run(program, { i: blob("x") })).toThrow(/content type "text", not "cbor"/);
    expect(() => blob("x", { contentType: "application/json" })).toThrow(/mime\/X/);
    expect(() => blob("🌧", { contentType: "text-latin1" })).toThrow(/cannot be written in "latin1"/);
    expect(() => blob("x", { contentType: "text-klingon" })).toThrow(/klingon is not known/);
    expect(() => cbor(Symbol("x"))).toThrow(/no form in CBOR/);
    return Promise.resolve();
  });
});

test("what is measured is checked on the governor", WAIT, async () => {
  await rain.session(
    async (session) => {
      const untyped = session.execute("echo 1", { stdout: true });
      const taken = session.execute(["cat", input("i", { contentType: "json", object: untyped })], {
        stdout: output("o", { contentType: "json" }),
      });
      // Untyped when it is declared, text when it is there.
      const hidden = session.sleep(session.concat([]), 0);
      const late = session.execute(["cat", input("i", { contentType: "json", object: hidden })]);
      session.keepAll();
      await session.submit();
      expect((await taken.output.fetch()).load()).toBe(1);
      expect((await hidden.output.fetch()).contentType).toBe("");
      await late.wait();
    },
    { onError: "continue" },
  );
});

test("no content type, no value: the bytes", WAIT, async () => {
  await rain.session(async (session) => {
    const forgotten = session.execute(["cat", json({ a: 42 })], { stdout: true });
    forgotten.output.keep();
    await session.submit();
    expect(forgotten.output.contentType).toBe("");
    const instance = await forgotten.output.fetch();
    expect(Buffer.from(instance.load() as Uint8Array).toString()).toBe('{"a":42}');
    expect(instance.json()).toEqual({ a: 42 });
  });
});

test("bytes that are not of their type are refused when they are loaded", WAIT, async () => {
  await rain.session(async (session) => {
    const bad = Uint8Array.of(0xff, 0xff, 0xff);
    const types = ["text", "json", "cbor", "arrow"];
    const tasks = types.map((contentType) =>
      session.execute(["cat", blob(bad)], { stdout: output("o", { contentType }) }),
    );
    session.keepAll();
    await session.submit();
    for (const task of tasks) {
      const instance = await task.output.fetch();
      expect(() => instance.load()).toThrow();
      expect(instance.bytes()).toEqual(bad);
    }
  });
});

test("a task over another type fails with its reason", WAIT, async () => {
  // The client refuses it at its line, so that only an object of an attached session can show it.
  await rain.session(async (session) => {
    const made = session.execute("echo x", { stdout: output("o", { contentType: "text" }), name: "made" });
    made.output.keep();
    await session.submit();
    await made.wait();
    const other = await rain.cluster.connect();
    const attached = await other.attach(session.id);
    const object = attached.task("made").output;
    expect(object.contentType).toBe("text");
    expect(() => attached.execute(["cat", input("i", { contentType: "json", object })])).toThrow(
      /not "json"/,
    );
    await other.close();
    expect(TaskError.name).toBe("TaskError");
  });
});
