import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blob, directory, inputDir, RainError, type Client, type Session } from "@rain/client";
import {
  asDigest,
  asTaskId,
  limits,
  taskSpec,
  taskStates,
  type DatastoreVersion,
  type ResultRow,
  type TaskCounts,
  type TaskSpec,
} from "@rain/protocol";
import { listTree } from "@rain/protocol/tree";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Peer } from "./peer.ts";

let peer: Peer;
let client: Client;
let session: Session;
let folder: string;
const uploads = new Map<string, Buffer>();
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rain-runs-"));
  peer = await Peer.start();
  peer.onHttp = (request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => void parts.push(part));
    request.on("end", () => {
      uploads.set((request.url ?? "").split("/").at(-1) ?? "", Buffer.concat(parts));
      response.writeHead(201).end();
    });
  };
  client = await peer.connect();
});
beforeEach(async () => {
  peer.requests.length = 0;
  peer.log.length = 0;
  session = await client.newSession("runs", { onError: "continue" });
});
afterAll(async () => {
  await peer.stop();
  await rm(folder, { recursive: true });
});

async function submitted(): Promise<TaskSpec[]> {
  const before = peer.submitted.length;
  await session.submit();
  const specs = peer.submitted.slice(before);
  for (const spec of specs) expect(taskSpec.safeParse(spec).error).toBeUndefined();
  return specs;
}
async function refusal(run: () => unknown): Promise<Error> {
  try {
    await run();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("nothing was refused");
}

describe("sessions", () => {
  test("may be unique, limited and have attributes", async () => {
    const before = Date.now();
    const user = { run: { name: "first", list: [1, null, "x"] } };
    await client.newSession("first", {
      onError: "continue",
      detached: true,
      unique: true,
      parallelism: 3,
      maxFails: 2,
      user,
    });
    const asked = peer.of("session.open").at(-1);
    const limited = { unique: true, parallelism: 3, maxFails: 2 };
    expect(asked).toMatchObject({ name: "first", onError: "continue", detached: true, ...limited, user });
    expect(asked?.created).toBeGreaterThanOrEqual(before);
  });

  test.each([
    [{ unique: true }, "", /needs a name/],
    [{ unique: 1 as unknown as boolean }, "x", /true or false/],
    [{ parallelism: 0 }, "x", /parallelism: must be a whole number from 1/],
    [{ parallelism: 1.5 }, "x", /parallelism/],
    [{ maxFails: 3 }, "x", /onError: "continue"/],
    [{ user: { big: "x".repeat(limits.sessionUserBytes) } }, "x", /limit is 262144/],
    [{ parallelism: 1, paralelism: 3 }, "x", /unknown option "paralelism"/],
  ])("%j is refused", async (options, name, message) => {
    const asked = peer.of("session.open").length;
    expect((await refusal(() => client.newSession(name, options))).message).toMatch(message);
    expect(peer.of("session.open")).toHaveLength(asked);
  });

  test("are found by name", async () => {
    peer.handlers["session.get"] = ({ name, session: id }) => {
      if (name === "other") throw new RainError("unknown-session", "there is no session other");
      expect(name ?? id).toBe(id === undefined ? "first" : 1);
      return { view: peer.view(), user: { a: 1 } };
    };
    peer.handlers["session.describe"] = () => ({ tasks: [], objects: [], next: undefined });
    const found = await client.find("first");
    expect(found.id).toBe(1);
    expect(await found.info()).toMatchObject({ name: "test", state: "open", user: { a: 1 } });
    expect(await refusal(() => client.find("other"))).toMatchObject({ code: "unknown-session" });
  });
});

describe("tasks", () => {
  test("metrics, cache, files and objects in the environment", async () => {
    const data = blob("x", { label: "data" });
    session.execute(["train", data], {
      stdout: true,
      files: true,
      metrics: true,
      cache: true,
      env: { DATA: data, OTHER: blob("y"), LANG: "C" },
    });
    session.execute("plain", { files: "made", metrics: false, cache: false });
    session.concat([data], { cache: true });
    const [spec, plain, concat] = await submitted();
    expect(spec).toMatchObject({ metrics: true, cache: true });
    expect(spec?.work).toMatchObject({
      args: ["train", { input: 0 }],
      env: { DATA: { input: 0 }, OTHER: { input: 1 }, LANG: "C" },
    });
    expect(spec?.inputs.map(({ path }) => path)).toEqual([
      expect.stringMatching(/^in-/),
      expect.stringMatching(/^in-/),
    ]);
    expect(spec?.outputs.map(({ label, kind, capture }) => [label, kind, capture])).toEqual([
      ["stdout", "blob", "stdout"],
      ["files", "directory", "files"],
    ]);
    expect(plain).not.toHaveProperty("metrics");
    expect(plain).not.toHaveProperty("cache");
    expect(plain?.outputs[0]).toMatchObject({ label: "made", kind: "directory", capture: "files" });
    expect(concat).toMatchObject({ cache: true });
    expect(() => session.execute("x", { metrics: "yes" as never })).toThrow(/metrics: must be true or false/);
    expect(() => session.concat([data], { cache: 1 as never })).toThrow(/cache: must be true or false/);
    expect(() => session.execute("x", { env: { A: 5 as never } })).toThrow(/env: A: must be a string/);
  });

  test("an object that is stdin and in the environment has a place for the latter", async () => {
    const data = blob("x");
    session.execute("sort", { stdin: data, env: { DATA: data } });
    const [spec] = await submitted();
    expect(spec?.work).toMatchObject({ stdin: 0, env: { DATA: { input: 1 } } });
    expect(spec?.inputs.map(({ path }) => path)).toEqual([undefined, expect.stringMatching(/^in-/)]);
  });

  test("a directory is the task's folder itself, or shared", async () => {
    const tree = directory(folder, { files: [] });
    const project = inputDir("project", { object: tree, path: ".", write: true });
    const data = inputDir("data", {
      object: directory(folder, { files: [] }),
      shared: true,
      path: "in/data",
    });
    session.execute("x", { inputPaths: [project, data] });
    const [spec] = await submitted();
    expect(spec?.inputs).toEqual([
      { object: 0, label: "project", path: ".", write: true },
      { object: 1, label: "data", path: "in/data", shared: true },
    ]);
    const twice = inputDir("again", { object: tree, path: ".", write: true });
    expect(() => session.execute("x", { inputPaths: [project, twice] })).toThrow(/two inputs are the task's/);
    expect(() => inputDir("p", { object: tree, path: "." })).toThrow(/add write: true/);
    expect(() => inputDir("p", { object: tree, shared: true, write: true })).toThrow(/exclude each other/);
  });

  test("metrics and results are asked page by page", async () => {
    const task = session.execute("x", { metrics: true });
    await session.submit();
    const points = [{ name: "loss", value: Number.NaN, step: 1, at: 5 }];
    peer.handlers.metrics = ({ task: id }) => {
      expect(id).toBe(task.id);
      return { attempt: 1, points };
    };
    expect(await task.metrics()).toEqual({ attempt: 1, points });

    const counts = Object.fromEntries(taskStates.map((state) => [state, 0])) as TaskCounts;
    const row = (id: number): ResultRow => {
      return { task: asTaskId(id), state: "running", attempt: 1, outputs: [] };
    };
    peer.handlers.results = ({ since, instance }) => {
      const from = instance === "i" ? since : 0;
      return { rows: [row(from)], cursor: from + 1, instance: "i", more: from === 0, counts };
    };
    const first = await session.results();
    expect(first.rows.map((each) => each.task)).toEqual([0, 1]);
    expect(first).toMatchObject({ cursor: 2, instance: "i" });
    const later = await session.results({ since: first });
    expect(later.rows.map((each) => each.task)).toEqual([2]);
    await expect(session.results({ from: 1 } as object)).rejects.toThrow(/unknown option "from"/);
  });
});

describe("retry", () => {
  test("adds the same task in the place of one that has ended", async () => {
    const data = blob("x", { label: "data" }).keep();
    const options = { name: "t", cpus: 2, metrics: true, cache: true, user: { trial: 1 }, timeoutS: 9 };
    const first = session.execute(["train", data], { ...options, stdout: true });
    const second = session.execute(["use", first], { env: { A: "b" }, stdout: "made" });
    second.keepOutputs();
    const [spec, used] = await submitted();
    expect(() => session.retry([first])).toThrow(/only a task that has ended/);
    peer.settle([0], "failed", {
      failure: { reason: "exit", message: "no", attempt: 1 },
    });
    peer.settle([1], "aborted", { cause: asTaskId(0) });
    await session.waitAll();

    expect(() => session.retry([second])).toThrow(/task 1\/0 \(t\) did not finish; retry that task along/);
    const again = session.retry([second, first]);
    expect(again.map((task) => task.id)).toEqual([3, 2]);
    const [newSpec, newUsed] = await submitted();
    expect(newSpec).toEqual({
      ...spec,
      id: 2,
      replaces: 0,
      outputs: [{ ...spec?.outputs[0], object: 3 }],
      origin: newSpec?.origin,
    });
    expect(newUsed).toEqual({
      ...used,
      id: 3,
      replaces: 1,
      inputs: [{ ...used?.inputs[0], object: 3 }],
      outputs: [{ ...used?.outputs[0], object: 4 }],
      origin: newUsed?.origin,
    });
    expect(newUsed?.outputs[0]?.keep).toBe(true);
    expect(newSpec?.origin).toMatch(/^test\/client\/runs\.test\.ts:/);
    expect(() => session.retry([first])).toThrow(/was retried already: task 1\/2/);
  });

  test("says which input is not there any more, and adds nothing", async () => {
    const data = blob("x", { label: "data" });
    const task = session.execute(["train", data], { name: "t" });
    const kept = session.execute("y", {});
    await session.submit();
    peer.settle([0, 1], "finished");
    await session.waitAll();
    const error = await refusal(() => session.retry([kept, task]));
    expect(error).toMatchObject({ code: "not-kept" });
    expect(error.message).toMatch(/\(data\).*keep\(\)/);
    expect(session.tasks).toHaveLength(2);
    expect(() => session.retry([session.execute("new")])).toThrow(/is not submitted/);
    expect(() => session.retry(["x" as never])).toThrow(/must be a task/);
  });
});

describe("directory", () => {
  test("takes the files that are named, links and empty folders", async () => {
    const root = join(folder, "project");
    await mkdir(join(root, "a/empty"), { recursive: true });
    for (const name of ["run.sh", "a/x.txt", "secret"]) await writeFile(join(root, name), name);
    await chmod(join(root, "run.sh"), 0o755);
    await symlink("a/x.txt", join(root, "link"));
    const large = join(root, "large");
    await writeFile(large, Buffer.alloc(limits.inlineBytes + 1));
    const files = ["run.sh", "a/x.txt", "link", "a/empty", "large"];
    session.execute("x", {
      inputPaths: [inputDir("p", { object: directory(root, { files }), path: ".", write: true })],
    });
    await session.submit();
    const [constant] = peer.of("submit").at(-1)?.constants ?? [];
    const tar = uploads.get(constant?.sha256 ?? "");
    expect(
      createHash("sha256")
        .update(tar ?? "")
        .digest("hex"),
    ).toBe(constant?.sha256);
    const { Readable } = await import("node:stream");
    const entries = [];
    for await (const entry of listTree(Readable.from([tar ?? Buffer.alloc(0)])))
      entries.push([entry.path, entry.kind, entry.executable]);
    expect(entries).toEqual([
      ["a", "directory", false],
      ["a/empty", "directory", false],
      ["a/x.txt", "file", false],
      ["large", "file", false],
      ["link", "link", false],
      ["run.sh", "file", true],
    ]);
    expect(() => directory(root, { files: ["nothing"] })).toThrow(/nothing" does not exist/);
    expect(() => directory(root, { files: ["../x"] })).toThrow(/leaves/);
    expect(() => directory(root, { files: "x" as never })).toThrow(/must be a list/);
  });
});

describe("datastores", () => {
  test("are made of a file or folder", async () => {
    let version = 0;
    peer.handlers["datastore.create"] = () => ({ version: ++version });
    await writeFile(join(folder, "data.csv"), "1,2\n");
    const made = await client.createDatastore("digits", join(folder, "data.csv"));
    const sha256 = createHash("sha256").update("1,2\n").digest("hex");
    expect(uploads.get(sha256)?.toString()).toBe("1,2\n");
    expect(made).toMatchObject({ name: "digits", version: 1, kind: "blob", size: 4, sha256 });
    await mkdir(join(folder, "set"));
    await writeFile(join(folder, "set/a"), "a");
    expect(await client.createDatastore("digits", join(folder, "set"), { source: "s3" })).toMatchObject({
      version: 2,
      kind: "directory",
      source: "s3",
    });
    expect(peer.of("datastore.create").map(({ kind, source }) => [kind, source])).toEqual([
      ["blob", join(folder, "data.csv")],
      ["directory", "s3"],
    ]);
    for (const [name, path, message] of [
      ["Digits", "data.csv", /lower case/],
      ["digits", "nothing", /does not exist/],
    ] as const)
      expect((await refusal(() => client.createDatastore(name, join(folder, path)))).message).toMatch(
        message,
      );
  });

  test("are uploaded once more when the server has dropped the bytes", async () => {
    await writeFile(join(folder, "again"), "again");
    let asked = 0;
    peer.handlers["datastore.create"] = () => {
      if (++asked === 2) throw new RainError("unknown-object", "no such bytes");
      return { version: asked };
    };
    await client.createDatastore("again", join(folder, "again"));
    uploads.clear();
    expect(await client.createDatastore("again", join(folder, "again"))).toMatchObject({ version: 3 });
    expect([...uploads.values()].map(String)).toEqual(["again"]);
    const keys = peer.of("datastore.create").map(({ key }) => key);
    expect(new Set(keys).size).toBe(2);
  });

  test("stand for constants that are not uploaded", async () => {
    const version = (number: number): DatastoreVersion => {
      const sha256 = asDigest(String(number).repeat(64));
      return { name: "digits", version: number, kind: "directory", size: 10, sha256 };
    };
    // Page by page.
    peer.handlers["datastore.list"] = ({ after }) =>
      after === undefined
        ? { datastores: [version(1)], more: true }
        : { datastores: [version(after.version + 1)] };
    peer.handlers["datastore.delete"] = ({ version: which }) => ({ removed: which === undefined ? 2 : 1 });
    expect(await client.datastores()).toHaveLength(2);
    uploads.clear();
    const newest = await client.datastore("digits");
    const old = await client.datastore("digits", 1);
    session.execute(["ls", newest, old]);
    await session.submit();
    const [first, second] = peer.of("submit").at(-1)?.constants ?? [];
    expect(first).toMatchObject({ kind: "directory", label: "digits", size: 10, sha256: "2".repeat(64) });
    expect(first?.data).toBeUndefined();
    expect(second).toMatchObject({ sha256: "1".repeat(64) });
    expect(uploads.size).toBe(0);
    const error = await refusal(() => client.datastore("digits", 3));
    expect(error).toMatchObject({ code: "unknown-datastore" });
    expect(error.message).toMatch(/version 3; its versions: 1, 2/);
    expect((await refusal(() => client.datastore("other"))).message).toMatch(/there are: digits/);
    expect(await client.deleteDatastore("digits")).toBe(2);
    expect(await client.deleteDatastore("digits", 1)).toBe(1);
  });
});
