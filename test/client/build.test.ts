import { blob, input, json, output, Program, RainError, type Client, type Session } from "@rain/client";
import { asSessionId, limits, taskSpec, type TaskSpec } from "@rain/protocol";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Peer } from "./peer.ts";

let peer: Peer;
let client: Client;
let session: Session;
let sessions = 0;
beforeAll(async () => {
  peer = await Peer.start();
  peer.handlers["session.open"] = () => ({ session: asSessionId(++sessions) });
  client = await peer.connect();
});
beforeEach(async () => {
  session = await client.newSession("build");
});
afterAll(() => peer.stop());

/** Submits and gives what the server got, which has the form that it checks. */
async function submitted(): Promise<TaskSpec[]> {
  const before = peer.submitted.length;
  await session.submit();
  const specs = peer.submitted.slice(before);
  for (const spec of specs) expect(taskSpec.safeParse(spec).error).toBeUndefined();
  return specs;
}
const refused = (run: () => unknown): Error => {
  try {
    run();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("nothing was refused");
};

test("a line is split into words, and the defaults are filled in", async () => {
  const task = session.execute(`curl -o 'a b' "x"`, { outputPaths: ["a b"], name: "download" });
  const [spec] = await submitted();
  expect(spec?.work).toEqual({ type: "execute", args: ["curl", "-o", "a b", "x"] });
  expect(spec?.request).toEqual({ cpus: 1, gpus: 0, memory: 0, named: {} });
  expect(spec?.outputs).toEqual([
    { object: 0, label: "a b", path: "a b", kind: "blob", contentType: "", keep: false },
  ]);
  expect(spec?.name).toBe("download");
  expect(task.id).toBe(0);
  expect(task.state).toBe("waiting");
  expect(task.info).toEqual({ attempt: 0 });
});

test("the task remembers the line that made it", async () => {
  const task = session.execute("true"); // this line
  const [spec] = await submitted();
  expect(spec?.origin).toMatch(/^test\/client\/build\.test\.ts:\d+:\d+$/);
  expect(task.origin).toBe(spec?.origin);
});

test("objects, tasks, inputs and outputs among the arguments become their paths", async () => {
  const data = session.execute("make data", { stdout: true });
  const constant = blob("x", { label: "constant" });
  const place = input("program", { path: "lib/main.js", object: constant, write: true });
  const args = ["node", place, "--data", data, data.output, "--out", output("model", { path: "out/m.bin" })];
  session.execute(args, { stdout: true, stderr: "errors" });
  const [, spec] = await submitted();
  expect(spec?.inputs).toEqual([
    { object: constant.id, label: "program", path: "lib/main.js", write: true },
    { object: data.output.id, path: "in-0000000001" },
  ]);
  const words = ["node", { input: 0 }, "--data", { input: 1 }, { input: 1 }, "--out", { output: 2 }];
  expect(spec?.work).toEqual({ type: "execute", args: words });
  expect(spec?.outputs.map(({ label, path, capture }) => [label, path, capture])).toEqual([
    ["stdout", undefined, "stdout"],
    ["errors", undefined, "stderr"],
    ["model", "out/m.bin", undefined],
  ]);
});

test("the shell gets one line with quoted paths", async () => {
  const data = blob("x");
  const named = input("d", { path: "my data.txt", object: data });
  session.execute(["cat", named, "|", "wc -l >", output("n", { path: "n.txt" })], { shell: true });
  session.execute("echo $HOME > x", { shell: true, outputPaths: ["x"] });
  const [list, line] = await submitted();
  expect(list?.work).toEqual({ type: "execute", shell: true, args: ["cat 'my data.txt' | wc -l > n.txt"] });
  expect(line?.work).toEqual({ type: "execute", shell: true, args: ["echo $HOME > x"] });
});

test("stdin, environment, resources and limits", async () => {
  const data = json({ a: 1 });
  const options = { cpus: 0.5, gpus: 2, memory: "1.5G", resources: { licence: 1 }, timeoutS: 3, retries: 2 };
  session.execute("sort", { stdin: data, env: { LANG: "C" }, priority: -3, ...options });
  const [spec] = await submitted();
  expect(spec).toMatchObject({
    work: { stdin: 0, env: { LANG: "C" } },
    inputs: [{ object: data.id }],
    request: { cpus: 0.5, gpus: 2, memory: 1.5 * 1024 ** 3, named: { licence: 1 } },
    timeoutS: 3,
    retries: 2,
    priority: -3,
  });
  expect(spec?.inputs[0]).not.toHaveProperty("path");
});

test("inputPaths map at their path or label", async () => {
  const data = session.execute("get", { outputPaths: ["digits.csv"] });
  session.execute("use", { inputPaths: [data, input("b.txt", { object: blob("b") })] });
  const [, spec] = await submitted();
  expect(spec?.inputs.map((each) => each.path)).toEqual(["digits.csv", "b.txt"]);
  expect(() => session.execute("use", { inputPaths: [blob("no label")] })).toThrow(/no label/);
});

test("concat and sleep", async () => {
  const parts = [blob("a"), blob("b")];
  const whole = session.concat(parts);
  const later = session.sleep(whole, 1.5);
  expect(whole.output.contentType).toBe("text");
  expect(later.output.contentType).toBe("text");
  const [concat, sleep] = await submitted();
  expect(concat).toMatchObject({ work: { type: "concat" }, inputs: [{ object: 0 }, { object: 1 }] });
  expect(sleep).toMatchObject({ work: { type: "sleep", seconds: 1.5 }, inputs: [{ object: 2 }] });
});

test("a program is a pattern with slots", async () => {
  const program = new Program(["cat", input("first"), input("second", { path: "b.txt" })], { stdout: true });
  expect(program.inputs).toEqual(["first", "second"]);
  const shared = blob("shared");
  const one = session.run(program, { first: blob("1"), second: shared });
  session.run(program, { first: one, second: shared });
  const [, second] = await submitted();
  expect(second?.inputs.map((each) => each.object)).toEqual([one.output.id, shared.id]);
  expect(second?.work).toEqual({ type: "execute", args: ["cat", { input: 0 }, { input: 1 }] });
  expect(() => session.run(program, { first: shared })).toThrow(/"second" has no object/);
  expect(() => session.run(program, { first: shared, second: shared, thrid: shared })).toThrow(/"thrid"/);
  expect(() => session.execute(["cat", input("slot")])).toThrow(/only a Program has slots/);
});

test("content types of inputs must fit what is declared", () => {
  const wanted = (contentType: string, object = json(1)) =>
    session.execute(["x", input("i", { contentType, object })]);
  expect(() => wanted("text")).toThrow(/content type "json", not "text"/);
  expect(() => wanted("json")).not.toThrow();
  expect(() => wanted("text", blob("x", { contentType: "text-latin1" }))).not.toThrow();
  expect(() => blob("x", { contentType: "application/json" })).toThrow(/mime\/X/);
});

const long = "x".repeat(limits.argBytes + 1);
test.each<[string, (s: Session) => unknown, string | RegExp]>([
  ["an unclosed quote", (s) => s.execute(`echo "x`), /quote " is not closed/],
  ["no program", (s) => s.execute("  "), /name a program/],
  ["a number as argument", (s) => s.execute(["seq", 3 as unknown as string]), /write String\(3\)/],
  ["nothing as argument", (s) => s.execute(["x", undefined as unknown as string]), /argument 1/],
  ["NUL", (s) => s.execute(["x", "a\0b"]), /NUL/],
  ["a lone surrogate", (s) => s.execute(["x", "\ud800"]), /UTF-8/],
  ["a long argument", (s) => s.execute(["x", long]), /131071/],
  ["a long shell line", (s) => s.execute(["x", long.slice(9), "123456789"], { shell: true }), /131071/],
  ["many arguments", (s) => s.execute(["x", ...Array<string>(11).fill(long.slice(0, 1e5))]), /1048576/],
  ["a path outside", (s) => s.execute("x", { outputPaths: ["../x"] }), /path "\.\.\/x" leaves/],
  ["an absolute path", (s) => s.execute("x", { outputPaths: ["/x"] }), /absolute/],
  ["a path in pieces", (s) => s.execute("x", { outputPaths: ["a//b"] }), /empty/],
  ["an input path", () => input("x", { path: "a/../b", object: blob("") }), /leaves/],
  ["a label as path", (s) => s.execute(["x", output("../x")]), /leaves|path/],
  ["a path twice", (s) => s.execute("x", { outputPaths: ["a", output("b", { path: "a" })] }), /used twice/],
  ["a file as folder", (s) => s.execute("x", { outputPaths: ["a", "a/b"] }), /which is a file/],
  ["a folder as file", (s) => s.execute("x", { outputPaths: ["a/b", "a"] }), /folder of another/],
  ["a label twice", (s) => s.execute("x", { stdout: "a", outputPaths: ["a"] }), /two outputs have the label/],
  ["stdout with a path", (s) => s.execute("x", { stdout: output("a", { path: "p" }) }), /has no path/],
  [
    "an unknown option",
    (s) => s.execute("x", { outputPath: ["a"] } as object),
    /unknown option "outputPath"/,
  ],
  ["memory", (s) => s.execute("x", { memory: "4X" }), /no amount of memory/],
  ["cpus", (s) => s.execute("x", { cpus: -1 }), /from 0/],
  ["no number of cpus", (s) => s.execute("x", { cpus: "2" as unknown as number }), TypeError.name],
  ["retries", (s) => s.execute("x", { retries: 1.5 }), /whole number/],
  ["timeoutS", (s) => s.execute("x", { timeoutS: 0 }), /more than 0/],
  ["a resource name", (s) => s.execute("x", { resources: { "a b": 1 } }), /a letter, then/],
  ["a forbidden name", (s) => s.execute("x", { env: { constructor: "1" } }), /constructor/],
  ["an environment name", (s) => s.execute("x", { env: { "A-B": "1" } }), /a letter or '_'/],
  ["an environment value", (s) => s.execute("x", { env: { A: 1 as unknown as string } }), /must be a string/],
  ["a name", (s) => s.execute("x", { name: "n".repeat(2_000) }), /1024/],
  ["write", () => input("x", { write: 1 as unknown as boolean }), /true or false/],
  [
    "a task with two outputs",
    (s) => s.execute(["x", s.execute("y", { stdout: true, stderr: true })]),
    /has 2/,
  ],
  ["a task with no output", (s) => s.execute(["x", s.execute("y")]), /it has none/],
  ["seconds", (s) => s.sleep(blob(""), -1), /from 0/],
  ["no objects", (s) => s.concat(["x" as unknown as never]), /must be a data object/],
  ["JSON", () => json(undefined), /no form in JSON/],
  ["a blob of nothing", () => blob(undefined as unknown as string), /string or bytes/],
])("refuses at its line: %s", async (_, build, message) => {
  const error = refused(() => build(session));
  expect(error instanceof TypeError || error instanceof RainError).toBe(true);
  if (typeof message === "string") expect(error.name).toBe(message);
  else expect(error.message).toMatch(message);
  expect(error.stack).toMatch(/build\.test\.ts/);
});

test("a refused task takes no number", () => {
  const first = session.execute("a");
  refused(() => session.execute(["b", "\0"]));
  refused(() => session.execute(["b", blob("x"), input("slot")]));
  expect([first.id, session.execute("c").id]).toEqual([0, 1]);
  expect(session.objects).toEqual([]);
});

test("one object in thousands of arguments is one input; thousands of objects fit", async () => {
  const one = blob("x");
  session.execute(["x", ...Array<typeof one>(5_000).fill(one)]);
  session.execute(["y", ...Array.from({ length: limits.inputsPerTask }, (_, n) => blob(String(n)))]);
  const [first, second] = await submitted();
  expect(first?.inputs.length).toBe(1);
  expect(second?.inputs.length).toBe(limits.inputsPerTask);
});

test("objects of another session are refused", async () => {
  const other = await client.newSession("other");
  const task = other.execute("a", { stdout: true });
  expect(refused(() => session.execute(["b", task])).message).toMatch(/belongs to session \d+ \(other\)/);
  const constant = blob("x");
  other.execute(["a", constant]);
  expect(refused(() => session.execute(["b", constant]))).toMatchObject({ code: "bad-request" });
  await expect(session.fetch(task)).rejects.toThrow(/does not belong/);
});

test("an object of an earlier submit must be kept", async () => {
  const kept = session.execute("a", { stdout: true });
  const lost = session.execute("b", { stdout: true });
  kept.output.keep();
  await session.submit();
  session.execute(["c", kept]);
  expect(refused(() => session.execute(["d", lost]))).toMatchObject({ code: "not-kept" });
  await expect(lost.output.fetch()).rejects.toMatchObject({ code: "not-kept" });
  expect(() => lost.output.keep()).toThrow(/keep\(\) it before the submit/);
  await kept.output.unkeep();
  expect(peer.of("unkeep").at(-1)?.objects).toEqual([kept.output.id]);
  expect(refused(() => session.execute(["d", kept]))).toMatchObject({ code: "object-removed" });
  await expect(kept.output.fetch()).rejects.toMatchObject({ code: "object-removed" });
  // The task over it was written before it was let go.
  await expect(session.submit()).rejects.toMatchObject({ code: "object-removed" });
});

test("keepOutputs, keepAll, and the outputs by label and place", async () => {
  const one = session.execute("a", { stdout: true, stderr: true }).keepOutputs();
  const two = session.execute("b", { stdout: true, outputPaths: ["x"] });
  session.keepAll();
  expect([...two.outputs].map((each) => each.isKept)).toEqual([true, true]);
  expect(one.outputs.get("stderr")).toBe(one.outputs.at(1));
  expect(one.outputs.at(-1)).toBe(one.outputs.at(1));
  expect(one.outputs.length).toBe(2);
  expect(() => one.outputs.get("x")).toThrow(/no output "x"; its outputs: "stdout", "stderr"/);
  expect(() => one.outputs.at(2)).toThrow(/no output 2/);
  const specs = await submitted();
  expect(specs.flatMap((spec) => spec.outputs.map((each) => each.keep))).toEqual([true, true, true, true]);
});

test("what is not submitted cannot be waited for or fetched", async () => {
  const task = session.execute("a", { stdout: true });
  task.output.keep();
  expect(task.state).toBeUndefined();
  await expect(task.wait()).rejects.toMatchObject({ code: "bad-request" });
  await expect(task.output.fetch()).rejects.toThrow(/not submitted/);
  await expect(task.update()).rejects.toThrow(/not submitted/);
  await expect(task.cancel()).rejects.toThrow(/not submitted/);
  expect(() => task.logs()).toThrow(/not submitted/);
  await expect(blob("x").fetch()).rejects.toThrow(/no task uses it/);
});
