import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import {
  appendFile,
  chmod,
  mkdir,
  readdir,
  readFile,
  stat,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { describe, expect, test } from "vitest";
import { RainError } from "@rain/protocol";
import {
  extractTree,
  listTree,
  packEntries,
  packToFile,
  packTree,
  sliceTree,
  type TreeEntry,
} from "@rain/protocol/tree";
import { collect, file, folder, link, snapshot, stream, tar, withFolder } from "./tree-archives.ts";

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

async function write(root: string, path: string, data: string | Buffer = path, mode = 0o644): Promise<void> {
  const at = join(root, path);
  await mkdir(join(at, ".."), { recursive: true });
  await writeFile(at, data);
  await chmod(at, mode);
}

/** A tree with one of everything that a tree can hold. */
async function everything(root: string): Promise<string> {
  const tree = join(root, "tree");
  await write(tree, "a", "first");
  await write(tree, "a.txt");
  await write(tree, "bin/run", "#!/bin/sh\n", 0o755);
  await write(tree, "empty", "");
  await write(tree, "ünï/日本語/\u{1f600}", "smile");
  await write(tree, "ünï/\uff5e", "after or before the smile");
  await write(tree, "with space\nand newline", "x");
  await write(tree, `${"n".repeat(120)}/x`);
  await write(tree, `${"p/".repeat(60)}deep`);
  await write(tree, `${"long-folder-name-of-thirty-char/".repeat(12)}${"f".repeat(255)}`);
  await mkdir(join(tree, "nothing"));
  await mkdir(join(tree, "e".repeat(110)));
  await symlink("a", join(tree, "to-a"));
  await symlink("../a", join(tree, "bin", "up"));
  await symlink("ünï/日本語", join(tree, "zu-ünï"));
  await symlink("not/there", join(tree, "dangling"));
  await symlink("t".repeat(150), join(tree, "long-target"));
  return tree;
}

const makeFifo = (path: string): void => {
  execFileSync("sh", ["-c", 'mkfifo "$0"', path]);
};

async function failure(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("round trip", () => {
  test("of everything a tree can hold, through a file, with its envelope", async () => {
    await withFolder(async (root) => {
      const tree = await everything(root);
      const tarFile = join(root, "tree.tar");
      const packed = await packToFile(packTree(tree), tarFile);
      const bytes = await readFile(tarFile);
      expect(packed).toMatchObject({ size: bytes.length, sha256: sha256(bytes) });
      const result = await extractTree(createReadStream(tarFile), join(root, "copy"), packed);
      expect(result.entries).toBe(packed.entries);
      const before = (await snapshot(tree)).map((line) => line.replace(/^dir \d+/, "dir 755"));
      expect(await snapshot(join(root, "copy"))).toEqual(before);
      expect((await stat(join(root, "copy"))).mode & 0o777).toBe(0o700);
      expect(await collect(packTree(join(root, "copy")))).toEqual(bytes);
    });
  });

  test("the system's tar reads ours", async () => {
    await withFolder(async (root) => {
      const tree = await everything(root);
      await packToFile(packTree(tree), join(root, "tree.tar"));
      await mkdir(join(root, "copy"));
      execFileSync("tar", ["-xf", join(root, "tree.tar"), "-C", join(root, "copy")]);
      expect(await collect(packTree(join(root, "copy")))).toEqual(await readFile(join(root, "tree.tar")));
    });
  });

  test("of an empty folder: 1024 zeros", async () => {
    await withFolder(async (root) => {
      await mkdir(join(root, "empty"));
      const bytes = await collect(packTree(join(root, "empty")));
      expect(bytes).toEqual(Buffer.alloc(1024));
      expect(await extractTree(stream(bytes), join(root, "copy"))).toEqual({ entries: 0, bytes: 0 });
      expect(await readdir(join(root, "copy"))).toEqual([]);
    });
  });

  test("of 5,000 small files in 50 folders", { timeout: 120_000 }, async () => {
    await withFolder(async (root) => {
      const tree = join(root, "tree");
      for (let at = 0; at < 50; at++) await mkdir(join(tree, `d${at}`), { recursive: true });
      await Promise.all(
        Array.from({ length: 5000 }, (_, at) =>
          writeFile(join(tree, `d${at % 50}`, `f${at}`), `file ${at}`.repeat(at % 40)),
        ),
      );
      const packed = await packToFile(packTree(tree), join(root, "tar"));
      expect(packed.entries).toBe(5050);
      await extractTree(createReadStream(join(root, "tar")), join(root, "copy"), packed);
      expect(await snapshot(join(root, "copy"))).toEqual(await snapshot(tree));
    });
  });

  test(
    "of large files among small ones, in memory that does not grow with them",
    { timeout: 60_000 },
    async () => {
      await withFolder(async (root) => {
        const block = randomBytes(1_048_576);
        await write(join(root, "tree"), "a", "small");
        await write(join(root, "tree"), "b", Buffer.concat(Array.from({ length: 40 }, () => block)));
        await write(join(root, "tree"), "c", Buffer.concat([block, Buffer.from("odd")]));
        for (const size of [131_071, 131_072, 131_073, 65_536, 511, 512, 513])
          await write(join(root, "tree"), `d${size}`, block.subarray(0, size));
        const packed = await packToFile(packTree(join(root, "tree")), join(root, "tar"));
        await extractTree(createReadStream(join(root, "tar")), join(root, "copy"), packed);
        for (const name of await readdir(join(root, "tree"))) {
          const [one, other] = await Promise.all(
            ["tree", "copy"].map((at) => readFile(join(root, at, name))),
          );
          expect(one?.equals(other ?? Buffer.alloc(0)), name).toBe(true);
        }
      });
    },
  );

  test("modes come out as 0755 and 0644 under a strict umask too", async () => {
    await withFolder(async (root) => {
      const before = process.umask(0o077);
      try {
        const bytes = tar(
          folder("d"),
          file("d/a", "x", { mode: "0000755\0" }),
          file("d/b", "x"),
          file("d/c", "y"),
        );
        await extractTree(stream(bytes), join(root, "t"));
      } finally {
        process.umask(before);
      }
      expect(await snapshot(join(root, "t"))).toEqual([
        "dir 755 d",
        "file 755 d/a eA==",
        "file 644 d/b eA==",
        "file 644 d/c eQ==",
      ]);
    });
  });
});

describe("determinism", () => {
  test("the bytes of a tree never change", async () => {
    await withFolder(async (root) => {
      const bytes = await collect(packTree(await everything(root)));
      expect([bytes.length, sha256(bytes)]).toEqual(golden);
    });
  });

  test("times, owners' rights and the order of making do not matter", async () => {
    await withFolder(async (root) => {
      for (const name of ["one", "two"]) {
        const names = ["b", "a", "c/x", "c.txt", "c-d"];
        for (const path of name === "one" ? names : names.toReversed())
          await write(join(root, name), path, path, name === "one" ? 0o600 : 0o664);
      }
      const [one, two] = await Promise.all(["one", "two"].map((name) => collect(packTree(join(root, name)))));
      expect(one).toEqual(two);
    });
  });

  test("entries are sorted by the bytes of their paths", async () => {
    await withFolder(async (root) => {
      for (const path of ["a/b", "a.txt", "a-", "a0", "ab", "\u{1f600}", "\uff5e"])
        await write(join(root, "t"), path);
      const paths: string[] = [];
      for await (const entry of listTree(packTree(join(root, "t")))) paths.push(entry.path);
      expect(paths).toEqual(["a", "a-", "a.txt", "a/b", "a0", "ab", "\uff5e", "\u{1f600}"]);
    });
  });

  test("entries packed by name give the bytes of the folder", async () => {
    await withFolder(async (root) => {
      const tree = await everything(root);
      const entries: TreeEntry[] = [];
      for await (const { path, kind, executable, target } of listTree(packTree(tree)))
        if (kind === "file") entries.push({ path, kind, source: join(tree, path), executable });
        else if (kind === "link") entries.push({ path, kind, target: target ?? "" });
        else if (["nothing", "e".repeat(110)].includes(path)) entries.push({ path, kind }); // other parents come by themselves
      const expected = await collect(packTree(tree));
      expect(await collect(packEntries(entries.toReversed()))).toEqual(expected);
      expect(await collect(packEntries(toAsync(entries)))).toEqual(expected);
    });
  });
});

async function* toAsync<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

/** Of `everything`. A change here means that every directory object gets another digest. */
const golden = [68_608, "43f233ee757e082aa5a6e93647fcc6b5c8db9be9b635d3fc9d0c3e505ceae54f"];

describe("packing refuses", () => {
  const outcome = (work: (tree: string) => Promise<void>): Promise<unknown> =>
    new Promise((resolve, reject) => {
      withFolder(async (root) => {
        const tree = join(root, "tree");
        await write(tree, "good");
        await work(tree);
        resolve(await failure(collect(packTree(tree))));
      }).catch(reject);
    });

  test.each([
    ["absolute", "/etc/passwd", /"d\/l" cannot be in a tree: it has an absolute target.*"\/etc\/passwd"/],
    ["leading out", "../../x", /"d\/l" cannot be in a tree: it leads out of the tree.*"\.\.\/\.\.\/x"/],
    ["climbing after a name", "x/../y", /"d\/l" cannot be in a tree: it has '\.\.' after a name/],
    ["with a backslash", "a\\b", /"d\/l" cannot be in a tree: it has a target that contains a backslash/],
  ])("a link: %s", async (_what, target, says) => {
    const error = await outcome(async (tree) => {
      await mkdir(join(tree, "d"));
      await symlink(target, join(tree, "d", "l"));
    });
    expect(error).toMatchObject({ code: "bad-request" });
    expect((error as Error).message).toMatch(says);
  });

  test("a FIFO, without waiting for a writer", async () => {
    const error = await outcome(async (tree) => {
      makeFifo(join(tree, "pipe"));
    });
    expect(error).toMatchObject({
      code: "bad-request",
      message: expect.stringContaining('"pipe" is a FIFO'),
    });
  });

  test("a FIFO where a file was named", async () => {
    await withFolder(async (root) => {
      makeFifo(join(root, "pipe"));
      const entry: TreeEntry = { path: "x", kind: "file", source: join(root, "pipe"), executable: false };
      expect(await failure(collect(packEntries([entry])))).toMatchObject({
        code: "bad-request",
        message: expect.stringMatching(/"x" cannot go into the tree: .*pipe" is not a plain file/),
      });
    });
  });

  test("a socket", async () => {
    const server = createServer();
    const error = await outcome(async (tree) => {
      server.listen(join(tree, "s"));
      await once(server, "listening");
    });
    server.close();
    expect(error).toMatchObject({ code: "bad-request", message: expect.stringContaining('"s" is a socket') });
  });

  test("a device", async (context) => {
    const error = await outcome(async (tree) => {
      try {
        execFileSync("mknod", [join(tree, "null"), "c", "1", "3"], { stdio: "ignore" });
      } catch {
        context.skip("devices can only be made by root");
      }
    });
    expect(error).toMatchObject({ message: expect.stringContaining('"null" is a character device') });
  });

  test("a name that is not UTF-8, and one with a backslash", async () => {
    const bytes = await outcome(async (tree) => {
      await writeFile(Buffer.concat([Buffer.from(`${tree}/caf`), Buffer.from([0xe9])]), "x");
    });
    expect(bytes).toMatchObject({ code: "bad-request", message: expect.stringContaining("not valid UTF-8") });
    const slash = await outcome((tree) => write(tree, "a\\b"));
    expect(slash).toMatchObject({
      code: "bad-request",
      message: expect.stringContaining("contains a backslash"),
    });
  });

  test("folders nested too deep", async () => {
    const error = await outcome((tree) =>
      mkdir(join(tree, "d/".repeat(65)), { recursive: true }).then(() => undefined),
    );
    expect(error).toMatchObject({ code: "bad-request", message: expect.stringContaining("deeper than 64") });
  });

  test("more entries than allowed", async () => {
    await withFolder(async (root) => {
      for (const name of ["a", "b", "c"]) await write(join(root, "t"), name);
      const error = await failure(collect(packTree(join(root, "t"), { entries: 2 })));
      expect(error).toMatchObject({ code: "limit-exceeded", message: expect.stringContaining('"c"') });
    });
  });

  test("a link, a file or nothing in place of the folder", async () => {
    await withFolder(async (root) => {
      await write(root, "file");
      await symlink("tree", join(root, "link"));
      const says = async (name: string): Promise<string> =>
        String(await failure(collect(packTree(join(root, name)))));
      expect(await says("link")).toMatch(/is a symbolic link to "tree"/);
      expect(await says("file")).toMatch(/is not a folder/);
      expect(await says("none")).toMatch(/ENOENT/);
    });
  });

  test.each([
    ["shrinks", (at: string) => truncate(at, 2_000_000)],
    ["grows", (at: string) => appendFile(at, "more")],
  ])("a file that %s while it is read", async (_what, change) => {
    await withFolder(async (root) => {
      const at = join(root, "t", "large");
      await write(join(root, "t"), "large", Buffer.alloc(8_000_000));
      const source = packTree(join(root, "t"));
      const failed = failure(
        (async () => {
          let first = true;
          for await (const _chunk of source) {
            if (first) await change(at);
            first = false;
          }
        })(),
      );
      expect(await failed).toMatchObject({
        code: "bad-request",
        message: expect.stringMatching(
          /"large" cannot go into the tree: it changed while it was read: 8000000 bytes before/,
        ),
      });
    });
  });

  test("a source that is gone, or shorter than the part asked for", async () => {
    await withFolder(async (root) => {
      await write(root, "short", "12345");
      const base = { path: "x", kind: "file", executable: false } as const;
      const gone = packEntries([{ ...base, source: join(root, "none") }]);
      expect(await failure(collect(gone))).toMatchObject({
        code: "bad-request",
        message: expect.stringMatching(/"x" .*ENOENT/),
      });
      const part = packEntries([{ ...base, source: join(root, "short"), part: { start: 3, size: 3 } }]);
      expect(await failure(collect(part))).toMatchObject({
        code: "bad-request",
        message: expect.stringMatching(/has 5 bytes, not 6/),
      });
    });
  });
});

describe("entries that overlap are refused, both named", () => {
  const made = (path: string): TreeEntry => ({ path, kind: "file", source: "/nowhere", executable: false });
  test.each<[string, TreeEntry[], RegExp]>([
    ["two files", [made("a"), made("a")], /two entries are at "a": a file and a file/],
    ["a file and a folder", [made("a"), { path: "a", kind: "directory" }], /at "a": a file and a folder/],
    ["a link and a file", [{ path: "a", kind: "link", target: "b" }, made("a")], /a link to "b" and a file/],
    [
      "a file above a file",
      [made("a/b/c"), made("a")],
      /a file at "a\/b\/c" is beneath "a", which is a file/,
    ],
    [
      "a link above a file",
      [{ path: "a", kind: "link", target: "b" }, made("a/x")],
      /"a\/x" is beneath "a", which is a link to "b"/,
    ],
    ["a name that climbs", [made("../a")], /"\.\.\/a" cannot be in a tree: it has '\.\.'/],
  ])("%s", async (_what, entries, says) => {
    const error = await failure(collect(packEntries(entries)));
    expect(error).toMatchObject({ code: "bad-request" });
    expect((error as Error).message).toMatch(says);
  });

  test("but a folder may be named twice", async () => {
    const twice: TreeEntry[] = [
      { path: "a", kind: "directory" },
      { path: "a", kind: "directory" },
    ];
    expect(await collect(packEntries(twice))).toEqual(await collect(packEntries(twice.slice(1))));
  });
});

describe("listing", () => {
  test("says kind, size, rights, target and where the bytes are", async () => {
    await withFolder(async (root) => {
      const tree = await everything(root);
      await packToFile(packTree(tree), join(root, "tar"));
      const bytes = await readFile(join(root, "tar"));
      for await (const entry of listTree(createReadStream(join(root, "tar")))) {
        if (entry.kind !== "file") continue;
        const data = bytes.subarray(entry.offset, entry.offset + entry.size);
        expect(data).toEqual(await readFile(join(tree, entry.path)));
        expect(entry.executable).toBe(entry.path === "bin/run");
      }
    });
  });

  test("can be left early; the source is ended", async () => {
    const source = stream(tar(folder("a"), file("a/b", "x".repeat(100_000)), file("c")));
    for await (const { path } of listTree(source)) if (path === "a/b") break;
    expect(source.destroyed).toBe(true);
  });

  test("a file of more than 8 GiB has its size in one header", async () => {
    await withFolder(async (root) => {
      await write(join(root, "t"), "huge", "");
      await truncate(join(root, "t", "huge"), 9 * 2 ** 30);
      for await (const entry of listTree(packTree(join(root, "t")))) {
        expect(entry).toMatchObject({ path: "huge", size: 9 * 2 ** 30 });
        break;
      }
    });
  });

  test("its entries can be packed again elsewhere, out of the tar itself", async () => {
    await withFolder(async (root) => {
      const tree = await everything(root);
      const source = join(root, "tar");
      await packToFile(packTree(tree), source);
      const entries: TreeEntry[] = [];
      for await (const { path, kind, executable, target, offset, size } of listTree(
        createReadStream(source),
      )) {
        if (kind === "file")
          entries.push({ path: `in/here/${path}`, kind, executable, source, part: { start: offset, size } });
        else if (kind === "link") entries.push({ path: `in/here/${path}`, kind, target: target ?? "" });
        else entries.push({ path: `in/here/${path}`, kind });
      }
      const moved = await collect(packEntries(entries));
      expect(await collect(sliceTree(stream(moved), "in/here/"))).toEqual(await readFile(source));
    });
  });
});

describe("a slice", () => {
  test("of a file is its bytes, of a folder the tar of that folder", async () => {
    await withFolder(async (root) => {
      const tree = await everything(root);
      const bytes = await collect(packTree(tree));
      const take = (path: string): Promise<Buffer> => collect(sliceTree(stream(bytes), path));
      expect(String(await take("a"))).toBe("first");
      expect(await take("empty")).toHaveLength(0);
      expect(String(await take("ünï/日本語/\u{1f600}"))).toBe("smile");
      for (const path of ["ünï/", "p/p/", "nothing/", "ünï/日本語/"])
        expect(await take(path)).toEqual(await collect(packTree(join(tree, path.slice(0, -1)))));
    });
  });

  test("of a folder without an entry of its own", async () => {
    const bytes = tar(file("a/b/c", "x"), file("a/d/e", "y"), file("z"));
    expect(await collect(sliceTree(stream(bytes), "a/"))).toEqual(
      await collect(
        sliceTree(
          stream(tar(folder("q"), folder("q/b"), file("q/b/c", "x"), folder("q/d"), file("q/d/e", "y"))),
          "q/",
        ),
      ),
    );
  });

  test("of a large file passes through a file", async () => {
    await withFolder(async (root) => {
      const data = randomBytes(3_000_000);
      await write(join(root, "t"), "d/large", data);
      await pipeline(sliceTree(packTree(join(root, "t")), "d/large"), createWriteStream(join(root, "out")));
      expect((await readFile(join(root, "out"))).equals(data)).toBe(true);
    });
  });

  const bytes = tar(
    folder("data"),
    file("data/train.csv", "1"),
    folder("data/x"),
    file("data/x/test.csv", "2"),
    link("data/x/up", "../train.csv"),
    link("last", "data"),
  );
  test.each([
    ["a missing file", "data/trian.csv", /no file "data\/trian\.csv"; did you mean "data\/train\.csv"\?/],
    ["a file elsewhere", "test.csv", /no file "test\.csv"; did you mean "data\/x\/test\.csv"\?/],
    ["a missing folder", "daat/", /no folder "daat\/"; did you mean "data\/"/],
    ["nothing alike", "completely-other", /no file "completely-other"$/],
    ["a folder without its slash", "data", /"data" is a folder; write "data\/"/],
    ["a file with a slash", "data/train.csv/", /"data\/train\.csv" is a file; write "data\/train\.csv"/],
    ["a link", "last", /"last" is a link to "data"; take what it points to/],
    ["a link with a slash", "last/", /"last" is a link to "data"/],
    [
      "a folder with a link out of it",
      "data/x/",
      /the link "data\/x\/up" in it points to "\.\.\/train\.csv", outside/,
    ],
    ["a path that climbs", "../x", /"\.\.\/x" names no part of a tree/],
    ["an absolute path", "/x", /"\/x" names no part of a tree/],
    ["the root", "/", /"" names no part of a tree/],
  ])("of %s says so", async (_what, path, says) => {
    const source = stream(bytes);
    const error = await failure(collect(sliceTree(source, path)));
    expect(error).toBeInstanceOf(RainError);
    expect(error).toMatchObject({ code: "bad-request" });
    expect((error as Error).message).toMatch(says);
    expect(source.destroyed).toBe(true);
  });
});

describe("places", () => {
  test("a folder, file or link that is there already is left alone", async () => {
    await withFolder(async (root) => {
      await mkdir(join(root, "folder"));
      await write(root, "file");
      await symlink("folder", join(root, "link"));
      const before = await snapshot(root);
      for (const name of ["folder", "file", "link"])
        expect(await failure(extractTree(stream(tar(file("a"))), join(root, name)))).toMatchObject({
          code: "bad-request",
        });
      expect(await failure(packToFile(stream(tar(file("a"))), join(root, "file")))).toMatchObject({
        code: "EEXIST",
      });
      expect(await snapshot(root)).toEqual(before);
    });
  });

  test("a folder that cannot hold a new one says so", async () => {
    await withFolder(async (root) => {
      const source = stream(tar(file("a")));
      expect(await failure(extractTree(source, join(root, "none", "t")))).toMatchObject({ code: "ENOENT" });
      expect(source.destroyed).toBe(true);
    });
  });

  test("nothing is at the final place before the last byte is there", async () => {
    await withFolder(async (root) => {
      const bytes = tar(file("a", "x"), file("b", "y"));
      async function* slowly(): AsyncGenerator<Buffer> {
        for (let at = 0; at < bytes.length; at += 512) {
          expect((await readdir(root)).filter((name) => !name.endsWith(".partial"))).toEqual([]);
          yield bytes.subarray(at, at + 512);
        }
      }
      await extractTree(Readable.from(slowly(), { objectMode: false }), join(root, "t"));
      expect(await readdir(root)).toEqual(["t"]);
    });
  });

  test("a packing stream that is dropped half-way leaves no file open", async () => {
    await withFolder(async (root) => {
      for (let at = 0; at < 40; at++) await write(join(root, "t"), `f${at}`, Buffer.alloc(1_000_000));
      const open = async (): Promise<number> => (await readdir("/proc/self/fd")).length;
      const before = await open();
      for (let round = 0; round < 5; round++) {
        const source = packTree(join(root, "t"));
        for await (const _chunk of source) break;
        await failure(packToFile(packTree(join(root, "t"), { entries: 3 }), join(root, "tar")));
      }
      await expect.poll(open, { timeout: 10_000 }).toBeLessThanOrEqual(before + 1);
      expect(await readdir(root)).toEqual(["t"]);
    });
  });
});
