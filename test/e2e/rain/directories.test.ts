import { execFileSync } from "node:child_process";
import { lstat, mkdir, readFile, readdir, readlink, stat, symlink, writeFile, chmod } from "node:fs/promises";
import { join } from "node:path";
import {
  blob,
  directory,
  input,
  inputDir,
  output,
  outputDir,
  Program,
  TaskError,
  type Session,
} from "@rain/client";
import { beforeAll, expect, test } from "vitest";
import { textOf, until, untilEmpty, useRain, WAIT } from "./kit.ts";

const rain = useRain([2, 2]);
let count = 0;
const fresh = (): string => join(rain.folder, `result-${(count += 1)}`);

let top = "";
beforeAll(async () => {
  top = join(rain.folder, "toplevel");
  await mkdir(join(top, "dir1/dir2"), { recursive: true });
  await mkdir(join(top, "empty"));
  await writeFile(join(top, "file1.txt"), "My data 1");
  await writeFile(join(top, "dir1/dir2/file2.txt"), "My data 2");
  await writeFile(join(top, "größe 🌧.txt"), "unicode");
  await writeFile(join(top, "run.sh"), "#!/bin/sh\necho ran\n");
  await chmod(join(top, "run.sh"), 0o755);
  await symlink("dir1/dir2", join(top, "link"));
});

test("find over a mapped directory, with a file and a folder taken from inside it", WAIT, async () => {
  const folder = join(rain.folder, "test-dir");
  await mkdir(join(folder, "a/b"), { recursive: true });
  await writeFile(join(folder, "f.txt"), "Hello 1");
  await writeFile(join(folder, "a/b/g.txt"), "Hello 2");
  await rain.session(async (session) => {
    const find = session.execute("find ./mydir", {
      inputPaths: [inputDir("mydir", { object: directory(folder) })],
      outputPaths: [output("f", { path: "mydir/f.txt" }), outputDir("a", { path: "mydir/a" })],
      stdout: true,
    });
    find.keepOutputs();
    await session.submit();
    const found = (await textOf(find.outputs.get("stdout"))).trim().split("\n").toSorted();
    expect(found).toEqual(["./mydir", "./mydir/a", "./mydir/a/b", "./mydir/a/b/g.txt", "./mydir/f.txt"]);
    expect(await textOf(find.outputs.get("f"))).toBe("Hello 1");
    const result = fresh();
    await (await find.outputs.get("a").fetch()).write(result);
    expect(await readFile(join(result, "b/g.txt"), "utf8")).toBe("Hello 2");
  });
});

test("a tree comes back as it was: empty folders, executable bits, links, unicode names", WAIT, async () => {
  await rain.session(async (session) => {
    const object = directory(top);
    const same = session.execute("ls", {
      inputPaths: [inputDir("d", { object })],
      outputPaths: [outputDir("d")],
    });
    same.keepOutputs();
    await session.submit();
    const instance = await same.output.fetch();
    expect(instance.kind).toBe("directory");
    const result = fresh();
    await instance.write(result);
    expect((await readdir(result)).toSorted()).toEqual((await readdir(top)).toSorted());
    expect(await readdir(join(result, "empty"))).toEqual([]);
    expect(await readFile(join(result, "größe 🌧.txt"), "utf8")).toBe("unicode");
    expect((await stat(join(result, "run.sh"))).mode & 0o777).toBe(0o755);
    expect((await stat(join(result, "file1.txt"))).mode & 0o777).toBe(0o644);
    expect(await readlink(join(result, "link"))).toBe("dir1/dir2");
    // The same tree is the same object.
    await object.update();
    expect(object.info.sha256).toBe(instance.sha256);
    expect(same.output.info).toMatchObject({ sha256: instance.sha256, size: instance.size });
    // Its bytes are a tar that any tar reads.
    const listing = execFileSync("tar", ["-t"], { input: instance.bytes(), encoding: "utf8" });
    expect(listing).toContain("dir1/dir2/file2.txt");
    await expect(instance.write(result)).rejects.toThrow(/exists already/);
    expect(() => instance.text()).toThrow(/a directory is no text/);
  });
});

test.each([
  ["from the client", false],
  ["from a program", true],
])("sliceDirectory: files and folders, %s", WAIT, async (_, isMade) => {
  await rain.session(async (session) => {
    const constant = directory(top);
    const made = (): ReturnType<Session["execute"]> =>
      session.execute("ls", {
        inputPaths: [inputDir("d", { object: constant })],
        outputPaths: [outputDir("d")],
      });
    const source = isMade ? made().output : constant;
    const file = session.sliceDirectory(source, "file1.txt");
    const folder = session.sliceDirectory(source, "dir1/");
    const deep = session.sliceDirectory(source, "dir1/dir2/file2.txt");
    const again = session.sliceDirectory(folder, "dir2/");
    const empty = session.sliceDirectory(source, "empty/");
    session.keepAll();
    await session.submit();
    expect(await textOf(file)).toBe("My data 1");
    expect(await textOf(deep)).toBe("My data 2");
    expect([file.output.kind, folder.output.kind]).toEqual(["blob", "directory"]);
    const [one, two, none] = [fresh(), fresh(), fresh()];
    await (await folder.output.fetch()).write(one);
    await (await again.output.fetch()).write(two);
    await (await empty.output.fetch()).write(none);
    expect(await readFile(join(one, "dir2/file2.txt"), "utf8")).toBe("My data 2");
    expect(await readFile(join(two, "file2.txt"), "utf8")).toBe("My data 2");
    expect(await readdir(none)).toEqual([]);
  });
});

test.each([
  ["a file that is not there", "nothing.txt"],
  ["a folder that is not there", "nothing/"],
  ["a folder named as a file", "dir1"],
  ["a file named as a folder", "file1.txt/"],
])("sliceDirectory of %s fails clearly", WAIT, async (_, path) => {
  await rain.session(async (session) => {
    const slice = session.sliceDirectory(directory(top), path);
    await session.submit();
    const problem: unknown = await slice.wait().catch((error: unknown) => error);
    expect(problem).toBeInstanceOf(TaskError);
    expect((problem as TaskError).message).toContain(JSON.stringify(path).slice(1, -1).replace(/\/$/, ""));
    expect((problem as TaskError).reason).toBe("output-missing");
  });
});

test(
  "makeDirectory: blobs and directories, of the client and of programs, nested and by path",
  WAIT,
  async () => {
    const mydir3 = join(rain.folder, "mydir3");
    const none = join(rain.folder, "none");
    await mkdir(mydir3);
    await mkdir(none);
    await writeFile(join(mydir3, "file.txt"), "My data 4");
    await rain.session(async (session) => {
      const [b1, b2, b3] = [blob("My data 1"), blob("My data 2"), blob("My data 3")];
      const d1 = directory(mydir3);
      const task = session.execute(["/bin/cat", b1], {
        stdout: true,
        inputPaths: [inputDir("d1", { object: d1 })],
        outputPaths: [outputDir("d1")],
      });
      const made = session.makeDirectory({
        myfile1: task.outputs.get("stdout"),
        mydir: { mydir2: { myfile2: b2 }, myfile3: b3, d1a: d1, d2: directory(none) },
        "mydir/d1b": task.outputs.get("d1"),
        top: directory(top),
      });
      const byPairs = session.makeDirectory([
        ["a/deep/path/x", b1],
        ["adir", made.output],
      ]);
      const empty = session.makeDirectory({});
      session.keepAll();
      await session.submit();
      const result = fresh();
      await (await made.output.fetch()).write(result);
      const read = (path: string): Promise<string> => readFile(join(result, path), "utf8");
      expect(await read("myfile1")).toBe("My data 1");
      expect(await read("mydir/mydir2/myfile2")).toBe("My data 2");
      expect(await read("mydir/myfile3")).toBe("My data 3");
      expect(await read("mydir/d1a/file.txt")).toBe("My data 4");
      expect(await read("mydir/d1b/file.txt")).toBe("My data 4");
      expect(await readdir(join(result, "mydir/d2"))).toEqual([]);
      expect((await stat(join(result, "top/run.sh"))).mode & 0o777).toBe(0o755);
      expect(await readlink(join(result, "top/link"))).toBe("dir1/dir2");
      const second = fresh();
      await (await byPairs.output.fetch()).write(second);
      expect(await readFile(join(second, "a/deep/path/x"), "utf8")).toBe("My data 1");
      expect(await readFile(join(second, "adir/mydir/d1a/file.txt"), "utf8")).toBe("My data 4");
      const third = fresh();
      await (await empty.output.fetch()).write(third);
      expect(await readdir(third)).toEqual([]);
      // Made or mapped and packed again: one object.
      const packed = session.execute("true", {
        inputPaths: [inputDir("d", { object: made, write: true })],
        outputPaths: [outputDir("d")],
      });
      packed.keepOutputs();
      await session.submit();
      expect((await packed.output.fetch()).sha256).toBe((await made.output.fetch()).sha256);
    });
  },
);

test("a directory passes through sleep, and through programs by argument", WAIT, async () => {
  await rain.session(async (session) => {
    const later = session.sleep(directory(top), 0.01);
    expect(later.output.kind).toBe("directory");
    const cat = session.execute(["sh", "-c", 'cat "$0/dir1/dir2/file2.txt"; "$0/run.sh"', later], {
      stdout: true,
    });
    const program = new Program(["ls", inputDir("d")], { stdout: true });
    const listed = session.run(program, { d: later });
    session.keepAll();
    await session.submit();
    expect(await textOf(cat)).toBe("My data 2ran\n");
    expect(await textOf(listed)).toContain("file1.txt");
  });
});

test("read-only directories stay as they are; a writable one is a copy", WAIT, async () => {
  await rain.session(
    async (session) => {
      const object = session.sleep(directory(top), 0).output.keep();
      const map = (write: boolean) => ({
        inputPaths: [inputDir("d", { object, write })],
        outputPaths: [outputDir("d")],
        stdout: true,
        shell: true,
      });
      const modes = session.execute("stat -c %a d d/file1.txt d/run.sh d/dir1", map(false)).keepOutputs();
      const line = "echo more >> d/file1.txt; rm -r d/dir1; mkdir d/new";
      const allowed = session.execute(line, map(true)).keepOutputs();
      const refused = ["echo more >> d/file1.txt", "touch d/new", "rm d/dir1/dir2/file2.txt"].map((each) =>
        session.execute(`chmod -R u+w d; ${each}`, map(false)),
      );
      await session.submit();
      expect(await textOf(modes.outputs.get("stdout"))).toBe("555\n444\n555\n555\n");
      expect((await modes.outputs.get("d").fetch()).sha256).toBe((await object.fetch()).sha256);
      const result = fresh();
      await (await allowed.outputs.get("d").fetch()).write(result);
      expect(await readFile(join(result, "file1.txt"), "utf8")).toBe("My data 1more\n");
      expect((await readdir(result)).includes("new")).toBe(true);
      // The superuser is not bound by modes: what was written is found out.
      if (process.getuid?.() === 0) {
        for (const task of refused) await expect(task.wait()).rejects.toThrow(/may only read: "d"/);
      }
      const before = fresh();
      await (await object.fetch()).write(before);
      expect(await readFile(join(before, "file1.txt"), "utf8")).toBe("My data 1");
    },
    { onError: "continue" },
  );
});

test("a large directory travels once to a governor, and out again", WAIT, async () => {
  const data = Buffer.alloc(11 * 1024 ** 2, "01234567890");
  const folder = join(rain.folder, "dir");
  await mkdir(folder);
  await writeFile(join(folder, "file1"), data);
  await rain.session(async (session) => {
    const d = directory(folder);
    const task = session.execute("cat d/file1", {
      inputPaths: [inputDir("d", { object: d })],
      outputPaths: [outputDir("d"), "d/file1"],
      stdout: true,
    });
    task.keepOutputs();
    await session.submit();
    expect(data.equals((await task.outputs.get("stdout").fetch()).bytes())).toBe(true);
    expect(data.equals((await task.outputs.get("d/file1").fetch()).bytes())).toBe(true);
    const result = fresh();
    const instance = await task.outputs.get("d").fetch();
    await instance.write(result);
    expect(data.equals(await readFile(join(result, "file1")))).toBe(true);
    // What the governor has already it need not get again: the task runs where the tree is.
    await task.update();
    const second = session.execute(["ls", task.outputs.get("d")], { stdout: true });
    await session.submit();
    await second.wait();
    await second.update();
    expect(second.info.governor).toBe(task.info.governor);
  });
});

test("outputs of the wrong kind are named", WAIT, async () => {
  await rain.session(
    async (session) => {
      const file = session.execute("touch d", { outputPaths: [outputDir("d")] });
      const folder = session.execute("mkdir f", { outputPaths: ["f"] });
      const missing = session.execute("true", { outputPaths: [outputDir("m")] });
      const pipe = session.execute("mkdir p && mkfifo p/pipe", {
        outputPaths: [outputDir("p")],
        shell: true,
      });
      const out = session.execute("mkdir o && ln -s /etc o/etc", {
        outputPaths: [outputDir("o")],
        shell: true,
      });
      const link = session.execute("ln -s /etc l", { outputPaths: [outputDir("l")] });
      await session.submit();
      await expect(file.wait()).rejects.toThrow(/must be a directory, found a file/);
      await expect(folder.wait()).rejects.toThrow(/must be a file, found a directory/);
      await expect(missing.wait()).rejects.toThrow(/was not made/);
      await expect(pipe.wait()).rejects.toThrow(/pipe/);
      await expect(out.wait()).rejects.toThrow(/etc/);
      await expect(link.wait()).rejects.toThrow(/must be a directory, found a symbolic link/);
    },
    { onError: "continue" },
  );
});

test("many small files survive the trip", { timeout: 120_000 }, async () => {
  await rain.session(async (session) => {
    const line = "mkdir d && cd d && for i in $(seq 40); do mkdir $i; (cd $i && seq 50 | xargs touch); done";
    const made = session.execute(line, { shell: true, outputPaths: [outputDir("d")] });
    const counted = session.execute(["sh", "-c", 'find "$0" -type f | wc -l', made], { stdout: true });
    session.keepAll();
    await session.submit();
    expect((await textOf(counted)).trim()).toBe("2000");
    const result = fresh();
    await (await made.output.fetch()).write(result);
    expect((await readdir(result)).length).toBe(40);
    expect((await lstat(join(result, "40/50"))).size).toBe(0);
  });
});

test("what is wrong is an error at its line", WAIT, async () => {
  const odd = join(rain.folder, "odd");
  await mkdir(odd);
  execFileSync("mkfifo", [join(odd, "pipe")]);
  const away = join(rain.folder, "away");
  await mkdir(away);
  await symlink("/etc", join(away, "etc"));
  await rain.session(async (session) => {
    const d = directory(top);
    const cases: [() => unknown, RegExp][] = [
      [() => directory(join(top, "nothing")), /does not exist/],
      [() => directory(join(top, "file1.txt")), /not a folder/],
      [() => directory(odd), /is a FIFO/],
      [() => directory(away), /outside the folder/],
      [() => session.concat([d]), /must be a blob, not a directory/],
      [() => session.execute("cat", { stdin: d }), /must be a blob/],
      [() => input("x", { object: d }), /is a directory, not a blob; use inputDir/],
      [() => inputDir("x", { object: blob("x") }), /is a blob, not a directory; use input/],
      [() => session.run(new Program(["ls", inputDir("d")]), { d: blob("x") }), /use input/],
      [() => session.execute("ls", { stdout: outputDir("x") }), /its output is a file/],
      [() => session.sliceDirectory(blob("x"), "a"), /must be a directory/],
      [() => session.sliceDirectory(d, "../a"), /leaves/],
      [() => session.sliceDirectory(d, ""), /empty/],
      [() => session.sliceDirectory(d, "/a"), /absolute/],
      [() => session.makeDirectory({ a: blob("1"), "a/b": blob("2") }), /lies in "a", which is a file/],
      [() => session.makeDirectory({ "a/b": blob("1"), a: blob("2") }), /folder of another path/],
      [() => session.makeDirectory({ a: d, "a/b": blob("2") }), /lies in "a"/],
      [() => session.makeDirectory({ "a/b": blob("1"), a: { b: blob("2") } }), /used twice/],
      [() => session.makeDirectory({ "": blob("1") }), /is empty/],
      [() => session.makeDirectory({ "/x": blob("1") }), /absolute/],
      [() => session.makeDirectory({ "a/../b": blob("1") }), /leaves/],
      [() => session.makeDirectory({ a: "text" as never }), /must be a data object/],
      [() => session.makeDirectory({ a: {} }), /nothing in it/],
      [() => session.load("relative"), /is not absolute/],
      [() => session.loadDir("relative"), /is not absolute/],
      [() => session.store(d, "relative"), /is not absolute/],
      [
        () =>
          session.execute("x", {
            inputPaths: [inputDir("d", { object: d }), input("d/x", { object: blob("") })],
          }),
        /lies in "d"/,
      ],
    ];
    for (const [build, message] of cases) expect(build).toThrow(message);
    expect(session.tasks).toEqual([]);
  });
});

test(
  "a folder that changed to something else since is an error of the submit, which can be repeated",
  WAIT,
  async () => {
    const folder = join(rain.folder, "changing");
    await mkdir(folder);
    const made = session(folder);
    await rain.session(async (current) => {
      const list = current.execute(["ls", made], { stdout: true });
      list.output.keep();
      execFileSync("mkfifo", [join(folder, "pipe")]);
      await expect(current.submit()).rejects.toThrow(/pipe/);
      execFileSync("rm", [join(folder, "pipe")]);
      await writeFile(join(folder, "file"), "");
      await current.submit();
      expect(await textOf(list)).toBe("file\n");
    });
  },
);
const session = (folder: string) => directory(folder);

test("nothing of it stays on the governors", WAIT, async () => {
  await rain.session(async (current) => {
    const kept = current.makeDirectory({ d: directory(top) });
    kept.output.keep();
    await current.submit();
    await kept.wait();
    await kept.output.unkeep();
    await untilEmpty(rain.client);
  });
  await until(async () => (await rain.client.sessions()).length === 0);
  await untilEmpty(rain.client);
});
