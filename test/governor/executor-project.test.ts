import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { listTree, packTree } from "@rain/protocol/tree";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { RunOutcome } from "../../packages/governor/src/executor/types.ts";
import { Trees } from "../../packages/governor/src/store/index.ts";
import { failure, Kit, texts, until, type Request } from "./executor-kit.ts";

let kit: Kit;
let trees: Trees;
let folder: string;
let tar: Buffer;
// The superuser's programs get copies of more files than those of others.
const BIG = process.getuid?.() === 0 ? 70_000_000 : 2_000_000;
const patient = { timeout: 120_000 };
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rain-project-"));
  trees = await Trees.open(folder, (error) => kit.logged.push(String(error)));
  kit = await Kit.start({ trees });
  const project = join(folder, "project");
  await mkdir(join(project, "data/empty"), { recursive: true });
  await mkdir(join(project, "pkg/__pycache__"), { recursive: true });
  await writeFile(join(project, "train.py"), "print(1)\n");
  await writeFile(join(project, "run"), "#!/bin/sh\necho ran\n", { mode: 0o755 });
  await writeFile(join(project, "data/x"), "of the project\n");
  await writeFile(join(project, "data/medium"), Buffer.alloc(300_000, "m"));
  await writeFile(join(project, "pkg/old.py"), "old\n");
  await symlink("data/x", join(project, "link"));
  tar = await buffer(packTree(project));
});
afterAll(async () => {
  expect([...kit.logged, ...kit.taskFolders]).toEqual([]);
  expect(kit.logged).toEqual([]);
  await kit.stop();
  await trees.close();
  await rm(folder, { recursive: true, force: true });
});

const stdout = { capture: "stdout" } as const;
const files = { capture: "files", kind: "directory" } as const;
const project = { path: ".", write: true, kind: "directory", label: "project" } as const;
const own = (bytes: Buffer = tar) => ({ ...project, bytes });
const shell = (line: string, request: Omit<Request, "work">) => kit.shell(line, request);
const unpacked = (): string[] => readdirSync(join(folder, "trees"));
const entriesOf = async (outcome: RunOutcome, index = 0): Promise<Record<string, string>> => {
  if (!outcome.ok) throw new Error(outcome.failure.message);
  const sha256 = outcome.outputs[index]?.sha256;
  if (sha256 === undefined) throw new Error("no output");
  const found: Record<string, string> = {};
  for await (const entry of listTree(createReadStream(await kit.store.onDisk(sha256))))
    found[entry.path] =
      entry.kind === "link" ? `-> ${entry.target}` : entry.kind === "file" ? String(entry.size) : "/";
  return found;
};

describe("a project folder", () => {
  it("is the program's own, with modes and links, and each task gets it as it was", async () => {
    const line =
      "./run; cat link; stat -c '%a %n' run train.py; echo more >>train.py; rm -r data; wc -l <train.py";
    for (let round = 0; round < 2; round += 1) {
      const outcome = await shell(line, { inputs: [own()], outputs: [stdout] });
      expect(texts(outcome)).toEqual(["ran\nof the project\n755 run\n644 train.py\n2\n"]);
    }
    expect(unpacked()).toHaveLength(1);
  });

  it("gives way to an input that is mapped in the place of a file", async () => {
    const other = { bytes: "mapped\n", path: "data/x", label: "other" };
    const outcome = await shell("cat data/x; ls data", { inputs: [own(), other], outputs: [stdout] });
    expect(texts(outcome)).toEqual(["mapped\nempty\nmedium\nx\n"]);
    const beside = { bytes: "new\n", path: "data/new/y" };
    expect(texts(await shell("cat data/new/y", { inputs: [beside, own()], outputs: [stdout] }))).toEqual([
      "new\n",
    ]);
  });

  it.each([
    ["data", 'a folder at "data"'],
    ["link", 'a symbolic link at "link"'],
    ["link/x", 'a symbolic link at "link"'],
    ["train.py/x", 'a file at "train.py"'],
  ])("refuses an input at %s", async (path, why) => {
    const found = failure(await shell("true", { inputs: [own(), { bytes: "x", path, label: "other" }] }));
    expect(found.reason).toBe("input-unavailable");
    expect(found.message).toContain(`"other" cannot be mapped at "${path}"`);
    expect(found.message).toContain(why);
  });

  it("that is not what its digest says fails the task", async () => {
    const hostile = Buffer.from(tar);
    hostile.write("../out", 0);
    const found = failure(await shell("true", { inputs: [own(hostile)] }));
    expect(found.reason).toBe("input-unavailable");
    const whole = await shell("ls", { inputs: [own()], outputs: [stdout] });
    expect(whole.ok).toBe(true);
  });

  it("has large files as links, and a change of one is found out", patient, async () => {
    const large = join(folder, "large");
    await mkdir(large);
    await writeFile(join(large, "big"), Buffer.alloc(BIG, "b"));
    const bytes = await buffer(packTree(large));
    expect(texts(await shell("stat -c '%h %a' big", { inputs: [own(bytes)], outputs: [stdout] }))).toEqual([
      "2 444\n",
    ]);
    const removed = await shell("rm big; echo mine >big", {
      inputs: [own(bytes)],
      outputs: [{ path: "big" }],
    });
    expect(texts(removed)).toEqual(["mine\n"]);
    const changed = await shell("chmod u+w big; echo x >>big", { inputs: [own(bytes)] });
    expect(failure(changed).reason).toBe("input-modified");
    expect(failure(changed).message).toContain('"project"');
    const again = await shell("stat -c %s big", { inputs: [own(bytes)], outputs: [stdout] });
    expect(texts(again)).toEqual([`${BIG}\n`]);
  });

  it("of a thousand files is there whole", patient, async () => {
    const many = join(folder, "many");
    await mkdir(many);
    for (let at = 0; at < 1_000; at += 1) await writeFile(join(many, `f${at}`), `${at}\n`.repeat(500));
    const bytes = await buffer(packTree(many));
    const outcome = await shell("ls | wc -l; cat f* | wc -l", {
      inputs: [own(bytes)],
      outputs: [stdout, files],
    });
    expect(texts(outcome)[0]).toBe("1000\n500000\n");
    expect(await entriesOf(outcome, 1)).toEqual({});
  });
});

describe("a shared input", () => {
  const shared = () =>
    ({ bytes: tar, path: "in/data", kind: "directory", shared: true, label: "store" }) as const;

  it("is a link to the one copy, which nobody may write to", async () => {
    const line =
      "readlink in/data >where; cat in/data/link; stat -c %a in/data/ in/data/train.py; ls in/data/pkg/";
    const first = await shell(line, { inputs: [shared()], outputs: [stdout, { path: "where" }, files] });
    const second = await shell(line, { inputs: [shared()], outputs: [stdout, { path: "where" }] });
    expect(texts(first)[0]).toBe("of the project\n555\n444\n__pycache__\nold.py\n");
    expect(texts(first)[1]).toBe(texts(second)[1]);
    expect(await entriesOf(first, 2)).toEqual({});
  });

  it("that a program changes fails the task, and the next one has the right bytes", async () => {
    const outcome = await shell("sleep 0.02; echo x >>in/data/train.py", { inputs: [shared()] });
    const { reason, stderr } = failure(outcome);
    if (reason !== "input-modified") expect(stderr).toMatch(/denied|not permitted/);
    const next = await shell("cat in/data/train.py", { inputs: [shared()], outputs: [stdout] });
    expect(texts(next)).toEqual(["print(1)\n"]);
  });

  it("is an absolute path in the environment, and so is any input", async () => {
    const work = {
      type: "execute",
      shell: true,
      args: ['cat "$DATA/train.py"; cat "$B"; ls "$HERE" | head -1; cd /; cat "$B"; echo "$T"'],
      env: { DATA: { input: 0 }, B: { input: 1 }, HERE: { input: 2 }, T: "text" },
    } as const;
    const inputs = [shared(), { bytes: "blob\n", path: "b" }, own()];
    expect(texts(await kit.run({ work, inputs, outputs: [stdout] }))).toEqual([
      "print(1)\nblob\nb\nblob\ntext\n",
    ]);
  });
});

describe("all files that a program made", () => {
  it("are those that are new or changed, without outputs of their own and __pycache__", async () => {
    const line = [
      "echo x >data/new; printf 'PRINT(1)\n' >train.py; touch -d @1 data/x; chmod +x pkg/old.py; rm run",
      "mkdir -p out/deep/empty pkg/__pycache__ new/__pycache__; echo y >out/deep/f; echo z >pkg/__pycache__/a.pyc",
      "echo declared >declared; mkdir dir; echo d >dir/x; ln -s train.py ok; ln -s ../work/train.py bad",
      "ln -s /etc/passwd abs; mkfifo pipe; cp data/medium m2; echo loud",
    ].join("; ");
    const outputs = [files, { path: "declared" }, { path: "dir", kind: "directory" }, stdout] as const;
    const outcome = await shell(line, { inputs: [own(), { bytes: "blob", path: "b" }], outputs });
    expect(await entriesOf(outcome)).toEqual({
      data: "/",
      "data/new": "2",
      "data/x": "15",
      m2: "300000",
      new: "/",
      ok: "-> train.py",
      out: "/",
      "out/deep": "/",
      "out/deep/empty": "/",
      "out/deep/f": "2",
      pkg: "/",
      "pkg/old.py": "4",
      "train.py": "9",
    });
    expect(outcome.info.debug).toMatch(/^files: left out are /);
    for (const name of ["pipe", "abs", "bad"]) expect(outcome.info.debug).toContain(`"${name}"`);
    expect(texts(outcome).at(-1)).toBe("loud\n");
  });

  it("are an empty directory when there are none, and nothing is written for it", async () => {
    const first = await shell("true", { inputs: [own()], outputs: [files] });
    expect(await entriesOf(first)).toEqual({});
    if (!first.ok) throw new Error("failed");
    const [output] = first.outputs;
    const before = statSync(await kit.store.onDisk(output?.sha256 ?? ("" as never))).mtimeMs;
    const second = await shell("cat train.py", { inputs: [own()], outputs: [files] });
    expect(second).toMatchObject({ outputs: [{ sha256: output?.sha256, size: 1_024 }] });
    expect(statSync(await kit.store.onDisk(output?.sha256 ?? ("" as never))).mtimeMs).toBe(before);
  });

  it("leave mapped directories out that are read-only, and see changes in private ones", async () => {
    const inputs = [
      { bytes: tar, path: "ro", kind: "directory" },
      { bytes: tar, path: "rw", kind: "directory", write: true },
    ] as const;
    const outcome = await shell("sleep 0.02; echo y >rw/data/y; echo z >>rw/train.py", {
      inputs,
      outputs: [files],
    });
    expect(await entriesOf(outcome)).toEqual({
      rw: "/",
      "rw/data": "/",
      "rw/data/y": "2",
      "rw/train.py": "11",
    });
  });

  it("of an odd name or mode are left out, with a note", async () => {
    const line = "touch \"$(printf 'a\\377')\" 'back\\slash' good; touch secret; chmod 000 secret";
    const outcome = await shell(line, { outputs: [files] });
    const found = Object.keys(await entriesOf(outcome));
    expect(found.filter((name) => name !== "secret")).toEqual(["good"]); // the superuser can read anything
    expect(outcome.info.debug).toContain("not valid UTF-8");
    expect(outcome.info.debug).toContain("backslash");
  });
});

describe("unpacked trees", () => {
  let store: Trees;
  let root: string;
  const errors: unknown[] = [];
  const file = (): string => join(root, "blob");
  const names = (): string[] => readdirSync(join(root, "trees"));
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "rain-trees-"));
    store = await Trees.open(root, (error) => errors.push(error));
    await writeFile(file(), tar);
    return async () => {
      await store.close();
      expect(errors).toEqual([]);
      await rm(root, { recursive: true, force: true });
    };
  });
  const packed = async () => kit.store.putBytes(tar);

  it("are made once, and go with their blob and their last user", async () => {
    const blob = await packed();
    const [one, two] = [store.take(blob, file()), store.take(blob, file())];
    expect((await one.unpacked).path).toBe((await two.unpacked).path);
    expect(store.bytesOf(blob.sha256)).toBeGreaterThan(300_000);
    store.drop(blob.sha256);
    expect(store.bytesOf(blob.sha256)).toBe(0);
    one.release();
    expect(readFileSync(join((await two.unpacked).path, "train.py"), "utf8")).toBe("print(1)\n");
    const fresh = store.take(blob, file());
    expect((await fresh.unpacked).path).not.toBe((await two.unpacked).path);
    two.release();
    await until(() => names().length === 1, "the old tree to go");
    fresh.release();
    expect(existsSync((await fresh.unpacked).path)).toBe(true);
    store.drop(blob.sha256);
    await until(() => names().length === 0, "the tree to go");
  });

  it("that cannot be made are tried again, and a new governor has none", async () => {
    const blob = await packed();
    await writeFile(file(), tar.subarray(0, 1_000));
    const broken = store.take(blob, file());
    await expect(broken.unpacked).rejects.toThrow();
    broken.release();
    await writeFile(file(), tar);
    const whole = store.take(blob, file());
    await whole.unpacked;
    await Trees.open(root, (error) => errors.push(error));
    expect(names()).toEqual([]);
  });
});
