import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { blob, directory, type Task } from "@rain/client";
import { expect, test } from "vitest";
import { textOf, useRain, WAIT } from "./kit.ts";

const rain = useRain([2]);

test("concat: several short blobs, none, large ones, a chain", WAIT, async () => {
  const a = Buffer.from("a123".repeat(1_000_000));
  const b = Buffer.from("b43".repeat(2_500_000));
  const c = Buffer.from("c".repeat(1_000));
  await rain.session(async (session) => {
    const short = session.concat(["Hello ", "", "", "world", "!", ""].map((text) => blob(text)));
    const none = session.concat([]);
    const large = session.concat([a, c, b, c, a].map((bytes) => blob(bytes)));
    let chain: Task = session.concat([blob("a"), blob("b")]);
    for (const letter of "cdef") chain = session.concat([chain, blob(letter)]);
    session.keepAll();
    await session.submit();
    expect(await textOf(short)).toBe("Hello world!");
    expect(await textOf(none)).toBe("");
    expect(Buffer.concat([a, c, b, c, a]).equals((await large.output.fetch()).bytes())).toBe(true);
    expect(await textOf(chain)).toBe("abcdef");
  });
});

test("sleep hands its input on, no sooner; chains of it add up", WAIT, async () => {
  await rain.session(async (session) => {
    const one = session.sleep(blob("abc123456"), 0.3);
    const two = session.sleep(session.sleep(session.sleep(blob("b"), 0.1), 0.1), 0.1);
    session.keepAll();
    await session.submit();
    expect(await textOf(one)).toBe("abc123456");
    await two.wait();
    await one.update();
    expect(one.info.durationS).toBeGreaterThanOrEqual(0.29);
    expect(await textOf(two)).toBe("b");
  });
});

test("load and loadDir take what is on the governor's machine, as it is at that moment", WAIT, async () => {
  const folder = join(rain.folder, "load");
  await mkdir(join(folder, "sub"), { recursive: true });
  await writeFile(join(folder, "sub/file"), "content");
  await writeFile(join(folder, "big"), Buffer.alloc(300_000, "big "));
  await writeFile(join(folder, "run"), "");
  await chmod(join(folder, "run"), 0o700);
  await symlink(folder, join(rain.folder, "link"));
  await rain.session(async (session) => {
    const file = session.load(join(folder, "sub/file"), { contentType: "text" });
    const big = session.load(join(rain.folder, "link/big"));
    const tree = session.loadDir(folder);
    const linked = session.loadDir(join(rain.folder, "link"));
    session.keepAll();
    await session.submit();
    await session.waitAll();
    await writeFile(join(folder, "sub/file"), "changed later");
    expect((await file.output.fetch()).load()).toBe("content");
    expect((await big.output.fetch()).size).toBe(300_000);
    const instance = await tree.output.fetch();
    await instance.write(join(rain.folder, "loaded"));
    expect(await readFile(join(rain.folder, "loaded/sub/file"), "utf8")).toBe("content");
    expect((await stat(join(rain.folder, "loaded/run"))).mode & 0o777).toBe(0o755);
    expect((await linked.output.fetch()).sha256).toBe(instance.sha256);
    expect(await readFile(join(folder, "sub/file"), "utf8")).toBe("changed later");
  });
});

test.each([
  ["load of nothing", "load", "/not/exists", /"\/not\/exists" on this governor does not exist/],
  ["load of a folder", "load", "/etc", /must be a file, but is a folder; use loadDir/],
  ["load of a device", "load", "/dev/null", /must be a file/],
  ["loadDir of nothing", "loadDir", "/not/exists", /does not exist/],
  ["loadDir of a file", "loadDir", "/etc/passwd", /is not a folder/],
] as const)("%s fails clearly", WAIT, async (_, method, path, message) => {
  await rain.session(async (session) => {
    const task = session[method](path);
    await session.submit();
    await expect(task.wait()).rejects.toThrow(message);
  });
});

test("store writes files and folders, makes folders above, and refuses what exists", WAIT, async () => {
  const to = (name: string): string => join(rain.folder, "store", name);
  await mkdir(to(""), { recursive: true });
  await writeFile(to("there"), "old");
  await mkdir(to("empty"));
  await rain.session(
    async (session) => {
      const joined = session.concat([blob("Hello "), blob("World!")]);
      const listing = session.execute("ls /", { stdout: "output" });
      const tree = session.makeDirectory({ "a/b": blob("deep"), c: directory(to("empty")) });
      session.store(joined, to("TEST1"));
      session.store(listing, to("sub/TEST2"));
      session.store(tree, to("tree"));
      session.store(tree, to("tree2/"));
      const file = session.store(blob("x"), to("there"));
      const folder = session.store(tree, to("empty"));
      const inFile = session.store(blob("x"), to("there/below"));
      await session.submit();
      expect((await session.waitAll()).length).toBe(3);
      expect(file.outputs.length).toBe(0);
      expect(await readFile(to("TEST1"), "utf8")).toBe("Hello World!");
      expect(await readFile(to("sub/TEST2"), "utf8")).toContain("bin");
      expect(await readFile(to("tree/a/b"), "utf8")).toBe("deep");
      expect(await readdir(to("tree2/c"))).toEqual([]);
      await expect(file.wait()).rejects.toThrow(
        /exists already on this governor; remove it or store to another/,
      );
      await expect(folder.wait()).rejects.toThrow(/exists already/);
      await expect(inFile.wait()).rejects.toThrow(/cannot be written|exists already/);
      expect(await readFile(to("there"), "utf8")).toBe("old");
      expect((await readdir(to(""))).filter((name) => name.startsWith("."))).toEqual([]);
    },
    { onError: "continue" },
  );
});

test("four built-ins in a row, as in the guide of Rain", WAIT, async () => {
  const path = join(rain.folder, "data");
  await writeFile(path, "loaded, ");
  const result = join(rain.folder, "result");
  await rain.session(async (session) => {
    const merged = session.concat([session.load(path), blob("constant data")]);
    session.store(session.sleep(merged, 0.05), result);
    await session.submit();
    expect(await session.waitAll()).toEqual([]);
    expect(existsSync(result)).toBe(true);
    expect(await readFile(result, "utf8")).toBe("loaded, constant data");
  });
});
