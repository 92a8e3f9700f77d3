import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { listTree, packTree } from "@rain/protocol/tree";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { RunEffect, RunOutcome } from "../../packages/governor/src/executor/types.ts";
import { execute, failure, Kit, texts, type Request } from "./executor-kit.ts";

let kit: Kit;
let folder: string;
let tar: Buffer;
beforeAll(async () => {
  kit = await Kit.start();
  folder = await mkdtemp(join(tmpdir(), "rain-directories-"));
  await mkdir(join(folder, "tree/sub/empty"), { recursive: true });
  await writeFile(join(folder, "tree/file"), "one\n");
  await writeFile(join(folder, "tree/run"), "#!/bin/sh\necho ran\n", { mode: 0o755 });
  await writeFile(join(folder, "tree/sub/big"), Buffer.alloc(200_000, "big "));
  await symlink("sub/big", join(folder, "tree/link"));
  tar = await buffer(packTree(join(folder, "tree")));
});
afterAll(async () => {
  expect(kit.taskFolders).toEqual([]);
  expect(kit.logged).toEqual([]);
  await kit.stop();
  await rm(folder, { recursive: true, force: true });
});

const directory = (path: string, write = false) => ({ bytes: tar, path, label: "tree", write });
/** Runs it with every input at `directories` being a directory. */
async function run(request: Request, directories: readonly number[] = [0]): Promise<RunOutcome> {
  const effect = await kit.effect(request);
  const inputs = effect.inputs.map((input, index) =>
    directories.includes(index) ? { ...input, kind: "directory" as const } : input,
  );
  return await kit.begin({ ...effect, inputs });
}
const shell = (line: string, request: Omit<Request, "work">, directories?: readonly number[]) =>
  run({ ...request, work: { type: "execute", shell: true, args: [line] } }, directories);
const stdout = { capture: "stdout" } as const;
const tree = (path: string) => ({ path, kind: "directory" }) as const;
const namesIn = async (outcome: RunOutcome, index: number): Promise<string[]> => {
  if (!outcome.ok) throw new Error(outcome.failure.message);
  const sha256 = outcome.outputs[index]?.sha256;
  if (sha256 === undefined) throw new Error("no output");
  const names: string[] = [];
  for await (const entry of listTree(createReadStream(await kit.store.onDisk(sha256))))
    names.push(entry.path);
  return names.toSorted();
};

it("a directory is mapped for reading, and what is taken out of it is as it was", async () => {
  const outcome = await shell("stat -c '%a %n' d d/file d/run d/sub d/sub/big; d/run; readlink d/link", {
    inputs: [directory("d")],
    outputs: [stdout, tree("d"), tree("d/sub"), { path: "d/sub/big" }, { path: "d/file" }],
  });
  if (!outcome.ok) throw new Error(outcome.failure.message);
  const [out, whole, , big, file] = outcome.outputs;
  expect(Buffer.from(out?.data ?? "").toString()).toBe(
    "555 d\n444 d/file\n555 d/run\n555 d/sub\n444 d/sub/big\nran\nsub/big\n",
  );
  expect(whole?.size).toBe(tar.length);
  expect(readFileSync(kit.store.path(whole?.sha256 ?? ("" as never))).equals(tar)).toBe(true);
  expect(await namesIn(outcome, 2)).toEqual(["big", "empty"]);
  expect(big?.size).toBe(200_000);
  expect(Buffer.from(file?.data ?? "").toString()).toBe("one\n");
  expect(statSync(kit.store.path(big?.sha256 ?? ("" as never))).mode & 0o777).toBe(0o444);
});

it("a small directory rides in the report, an empty one too", async () => {
  const outcome = await shell("mkdir a b; echo x >b/x", { outputs: [tree("a"), tree("b")] });
  if (!outcome.ok) throw new Error(outcome.failure.message);
  expect(outcome.outputs.map(({ data, size }) => data?.length === size)).toEqual([true, true]);
  expect(await namesIn(outcome, 0)).toEqual([]);
  expect(await namesIn(outcome, 1)).toEqual(["x"]);
});

it("a writable one is a copy, which is removed with the task", async () => {
  const line = "rm d/file; echo new >d/sub/new; chmod 000 d/sub/empty; ls d";
  const outcome = await shell(line, { inputs: [directory("d", true)], outputs: [stdout] });
  expect(texts(outcome)).toEqual(["link\nrun\nsub\n"]);
});

it.each([
  ["a file is written", "echo more >>d/file"],
  ["a file is made", "touch d/new"],
  ["a file is removed", "rm d/file"],
  ["a deep file is replaced", "cp d/file x; mv x d/sub/big"],
])("a change of a read-only one does not go unnoticed: %s", async (_, line) => {
  const outcome = await shell(`sleep 0.02; ${line}`, { inputs: [directory("d")] });
  const { reason, message, stderr } = failure(outcome);
  if (reason === "input-modified") expect(message).toContain('"tree"');
  else expect(stderr).toMatch(/denied|not permitted/);
});

it("bytes that are no tree fail the task, and nothing is left", async () => {
  const hostile = Buffer.from(tar);
  hostile.write("../out", 0);
  const effect = await kit.effect({ work: execute("true"), inputs: [{ bytes: hostile, path: "d" }] });
  const inputs: RunEffect["inputs"] = effect.inputs.map((input) => ({ ...input, kind: "directory" }));
  const found = failure(await kit.begin({ ...effect, inputs }));
  expect(found.reason).toBe("input-unavailable");
  expect(found.message).toContain('cannot be mapped at "d"');
});

it("makeDirectory and sliceDirectory work on tars, without a process", async () => {
  const made = await run(
    {
      work: { type: "makeDirectory", paths: ["x/tree", "x/blob"] },
      inputs: [{ bytes: tar }, { bytes: "text" }],
      outputs: [tree("")],
    },
    [0],
  );
  expect(await namesIn(made, 0)).toEqual([
    "x",
    "x/blob",
    "x/tree",
    "x/tree/file",
    "x/tree/link",
    "x/tree/run",
    "x/tree/sub",
    "x/tree/sub/big",
    "x/tree/sub/empty",
  ]);
  const slice = (path: string, kind: "blob" | "directory") =>
    run({ work: { type: "sliceDirectory", path }, inputs: [{ bytes: tar }], outputs: [{ kind }] });
  expect(texts(await slice("file", "blob"))).toEqual(["one\n"]);
  expect(await namesIn(await slice("sub/", "directory"), 0)).toEqual(["big", "empty"]);
  for (const path of ["nothing", "nothing/", "sub", "file/", "link"])
    expect(failure(await slice(path, "blob"))).toMatchObject({ reason: "output-missing" });
});

it("a second attempt takes what the first has stored for its own", async () => {
  const store = async (path: string, attempt: number, bytes: Buffer): Promise<RunOutcome> => {
    const effect = await kit.effect({ work: { type: "store", path }, inputs: [{ bytes }] });
    const kind = bytes === tar ? ("directory" as const) : ("blob" as const);
    const inputs = effect.inputs.map((input) => ({ ...input, kind }));
    return await kit.begin({ ...effect, inputs, ref: { ...effect.ref, attempt } });
  };
  const [file, dir] = [join(folder, "stored"), join(folder, "stored-tree")];
  for (const [path, bytes] of [
    [file, Buffer.from("text")],
    [dir, tar],
  ] as const) {
    expect((await store(path, 1, bytes)).ok).toBe(true);
    expect((await store(path, 2, bytes)).ok).toBe(true);
    expect(failure(await store(path, 1, bytes)).message).toContain("exists already");
  }
  expect(failure(await store(file, 2, Buffer.from("other"))).message).toContain("exists already");
  expect(await readFile(join(dir, "file"), "utf8")).toBe("one\n");
  expect(existsSync(join(folder, "stored"))).toBe(true);
});

it("the measured type of an input must be what is asked", async () => {
  const typed = async (measured: string, wanted: string): Promise<RunOutcome> => {
    const effect = await kit.effect({ work: execute("true"), inputs: [{ bytes: "x", label: "in" }] });
    const inputs = effect.inputs.map((input) => ({ ...input, contentType: measured }));
    const specs = effect.spec.inputs.map((input) => ({ ...input, contentType: wanted }));
    return await kit.begin({ ...effect, inputs, spec: { ...effect.spec, inputs: specs } });
  };
  expect((await typed("", "json")).ok).toBe(true);
  expect((await typed("text-latin1", "text")).ok).toBe(true);
  const found = failure(await typed("text", "json"));
  expect(found).toMatchObject({ reason: "content-type" });
  expect(found.message).toBe('input "in" must have content type "json", but has "text"');
});
