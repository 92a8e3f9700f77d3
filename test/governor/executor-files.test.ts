import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { limits } from "@rain/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { execute, failure, Kit, texts } from "./executor-kit.ts";

let kit: Kit;
beforeAll(async () => {
  kit = await Kit.start();
});
afterAll(async () => {
  expect(kit.taskFolders).toEqual([]);
  expect(kit.logged).toEqual([]);
  await kit.stop();
});

const stdout = { capture: "stdout" } as const;
const large = Buffer.alloc(2_000_000, "large ");

describe("inputs", () => {
  it("are mapped read-only, large ones without a copy of their own", async () => {
    const inputs = [
      { bytes: "small", path: "in/deep/small.txt" },
      { bytes: large, path: "large.bin" },
      { bytes: "", path: "empty" },
    ];
    const outcome = await kit.shell("stat -c '%a %s' in/deep/small.txt large.bin empty", {
      inputs,
      outputs: [stdout],
    });
    expect(texts(outcome)).toEqual(["444 5\n444 2000000\n444 0\n"]);
  });

  it("are arguments by their path, and so are outputs", async () => {
    const inputs = [{ bytes: "abc", path: "a b'c" }];
    const args = [{ input: 0 }, { output: 0 }] as const;
    const plain = await kit.run({
      work: { type: "execute", args: ["cp", ...args] },
      inputs,
      outputs: [{ path: "copy of it" }],
    });
    expect(texts(plain)).toEqual(["abc"]);
    const shell = await kit.run({
      work: { type: "execute", shell: true, args: ["cat", args[0], ">", args[1]] },
      inputs,
      outputs: [{ path: "copy of it" }],
    });
    expect(texts(shell)).toEqual(["abc"]);
  });

  it("can be stdin, mapped or not", async () => {
    const work = { type: "execute", args: ["cat"], stdin: 0 } as const;
    const mapped = await kit.run({ work, inputs: [{ bytes: "one", path: "x/one" }], outputs: [stdout] });
    const unmapped = await kit.run({ work, inputs: [{ bytes: "two" }], outputs: [stdout] });
    const none = await kit.run({ work: execute("cat"), outputs: [stdout] });
    expect([mapped, unmapped, none].flatMap(texts)).toEqual(["one", "two", ""]);
  });

  it("can be a private copy that the program changes", async () => {
    const effect = await kit.effect({
      work: { type: "execute", shell: true, args: ["printf more >>data; stat -c %a data"] },
      inputs: [{ bytes: large, path: "data", write: true }],
      outputs: [stdout, { path: "data" }],
    });
    const outcome = await kit.begin(effect);
    expect(outcome).toMatchObject({ ok: true, outputs: [{}, { size: large.length + 4 }] });
    const [input] = effect.inputs;
    if (input === undefined) throw new Error("no input");
    expect(readFileSync(kit.store.path(input.sha256)).equals(large)).toBe(true);
  });

  it("that a program changes through its link fail the task and leave the store", async () => {
    const effect = await kit.effect({
      work: {
        type: "execute",
        shell: true,
        args: ["chmod u+w data; printf X | dd of=data conv=notrunc 2>&1"],
      },
      inputs: [{ bytes: Buffer.alloc(1_500_000, 1), path: "data", label: "the data" }],
    });
    const [input] = effect.inputs;
    if (input === undefined) throw new Error("no input");
    const before = readFileSync(kit.store.path(input.sha256));
    const outcome = await kit.begin(effect);
    if (outcome.ok) {
      // The file system made a private clone.
      expect(readFileSync(kit.store.path(input.sha256)).equals(before)).toBe(true);
      return;
    }
    expect(outcome.failure).toMatchObject({ reason: "input-modified" });
    expect(outcome.failure.message).toContain('"the data"');
    // It was a copy of its own, or a link: then the spoilt bytes are out of the store.
    if (kit.store.has(input.sha256))
      expect(readFileSync(kit.store.path(input.sha256)).equals(before)).toBe(true);
  });

  it("that only had their mode changed get it back", async () => {
    const effect = await kit.effect({
      work: execute("chmod", "666", "data"),
      inputs: [{ bytes: Buffer.alloc(1_500_000, 2), path: "data" }],
    });
    expect((await kit.begin(effect)).ok).toBe(true);
    const [input] = effect.inputs;
    if (input === undefined) throw new Error("no input");
    expect(statSync(kit.store.path(input.sha256)).mode & 0o777).toBe(0o444);
  });

  it("that are not in the store, or in each other's way, are named", async () => {
    const effect = await kit.effect({
      work: execute("true"),
      inputs: [{ bytes: "gone", path: "p", label: "L" }],
    });
    const [input] = effect.inputs;
    if (input === undefined) throw new Error("no input");
    await kit.store.remove(input.sha256);
    const gone = failure(await kit.begin(effect));
    expect(gone).toMatchObject({ reason: "input-unavailable" });
    expect(gone.message).toContain('"L"');
    const twice = [
      { bytes: "1", path: "p" },
      { bytes: "2", path: "p" },
    ];
    expect(failure(await kit.run({ work: execute("true"), inputs: twice })).message).toContain(
      "already there",
    );
    const inside = [
      { bytes: "1", path: "p" },
      { bytes: "2", path: "p/q" },
    ];
    const refused = failure(await kit.run({ work: execute("true"), inputs: inside }));
    expect(refused.message).toContain("cannot be mapped");
  });

  it("may be thousands", async () => {
    const inputs = Array.from({ length: 2_000 }, (_, index) => ({
      bytes: `${index}\n`,
      path: `in/${index}`,
    }));
    const outcome = await kit.shell("cat in/* | sort -n | tail -1; ls in | wc -l", {
      inputs,
      outputs: [stdout],
    });
    expect(texts(outcome)).toEqual(["1999\n2000\n"]);
  });
});

describe("outputs", () => {
  it("go into the store, small ones into the report too", async () => {
    const line = `head -c ${limits.inlineBytes} /dev/zero >a; head -c ${limits.inlineBytes + 1} /dev/zero >b; : >c`;
    const outcome = await kit.shell(line, { outputs: [{ path: "a" }, { path: "b" }, { path: "c" }] });
    if (!outcome.ok) throw new Error(outcome.failure.message);
    expect(outcome.outputs.map((output) => output.data?.length)).toEqual([limits.inlineBytes, undefined, 0]);
    expect(outcome.outputs.map((output) => output.contentType)).toEqual(["text", "text", "text"]);
    for (const output of outcome.outputs) {
      const found = statSync(await kit.store.onDisk(output.sha256));
      expect([found.size, found.mode & 0o777]).toEqual([output.size, 0o444]);
    }
  });

  it("may name one file twice, or an input", async () => {
    const outputs = [stdout, stdout, { path: "in" }, { path: "in" }];
    const small = await kit.shell("cat in", { inputs: [{ bytes: "both", path: "in" }], outputs });
    expect(texts(small)).toEqual(["both", "both", "both", "both"]);
    const whole = await kit.shell("cat in", { inputs: [{ bytes: large, path: "in" }], outputs });
    expect(whole).toMatchObject({ ok: true, outputs: outputs.map(() => ({ size: large.length })) });
  });

  it("do not stay reachable through another name", async () => {
    const outside = join(kit.root, "second-name");
    const line = `head -c 100000 /dev/zero >out; ln out ${outside}`;
    const outcome = await kit.shell(line, { outputs: [{ path: "out" }] });
    if (!outcome.ok) throw new Error(outcome.failure.message);
    await writeFile(outside, "changed later");
    expect(outcome.outputs.map(({ sha256 }) => statSync(kit.store.path(sha256)).size)).toEqual([100_000]);
  });

  it("case 29: that are missing are all listed, with the end of stderr", async () => {
    const outputs = [{ path: "a" }, { path: "made" }, { path: "sub/b" }, { path: "made/c" }];
    const outcome = failure(await kit.shell("touch made; echo why >&2", { outputs }));
    expect(outcome.reason).toBe("output-missing");
    expect(outcome.message.split("\n")).toEqual([
      'output "out0" ("a") was not made by the program',
      'output "out2" ("sub/b") was not made by the program',
      'output "out3" ("made/c") was not made by the program',
    ]);
    expect(outcome.stderr).toBe("why\n");
  });

  it.each([
    ["a directory", "mkdir out", "found a directory"],
    ["a FIFO", "mkfifo out", "found a FIFO"],
    ["a link to a foreign file", "ln -s /etc/passwd out", 'found a symbolic link to "/etc/passwd"'],
    ["a link to nothing", "ln -s nowhere out", 'found a symbolic link to "nowhere"'],
  ])("case 29: that are %s are refused", async (_, line, message) => {
    const found = failure(await kit.shell(line, { outputs: [{ path: "out" }] }));
    expect(found.reason).toBe("output-kind");
    expect(found.message).toContain(message);
  });

  it("case 29: that are a device are refused", async () => {
    const found = await kit.shell("mknod out c 1 3", { outputs: [{ path: "out" }] });
    if (failure(found).reason === "exit") return; // only root may make one
    expect(failure(found).message).toContain("found a device");
  });

  it("case 29: below a link out of the folder are refused", async () => {
    const outside = join(kit.root, "outside");
    await mkdir(outside);
    await writeFile(join(outside, "secret"), "secret");
    const found = failure(await kit.shell(`ln -s ${outside} sub`, { outputs: [{ path: "sub/secret" }] }));
    expect(found.reason).toBe("output-kind");
    expect(found.message).toContain("outside the task's folder");
    const moved = failure(
      await kit.shell(`mv ../work ../gone; ln -s ${outside} ../work`, { outputs: [{ path: "secret" }] }),
    );
    expect(moved.message).toContain("outside the task's folder");
    expect(readFileSync(join(outside, "secret"), "utf8")).toBe("secret");
  });

  it("below a link inside the folder are fine", async () => {
    const line = "mkdir real; ln -s real sub; echo x >sub/out";
    expect(texts(await kit.shell(line, { outputs: [{ path: "sub/out" }] }))).toEqual(["x\n"]);
  });

  it("of a failed program do not count", async () => {
    const found = failure(await kit.shell("echo x >out; exit 9", { outputs: [{ path: "out" }] }));
    expect(found).toMatchObject({ reason: "exit", exitCode: 9 });
  });
});

describe("the task's folder", () => {
  it("is removed whatever the program made of it", async () => {
    const line = "mkdir -p a/b/c; touch a/b/c/d; chmod 000 a/b/c; chmod 500 a/b; chmod 000 a; chmod 500 . ..";
    expect((await kit.shell(line)).ok).toBe(true);
    expect(kit.taskFolders).toEqual([]);
  });

  it("is removed for an ordinary user too, whom modes bind", async () => {
    const { removeTree } = await import("../../packages/governor/src/executor/folder.ts");
    const root = join(kit.root, "tree");
    await mkdir(join(root, "a/b"), { recursive: true });
    await writeFile(join(root, "a/b/file"), "");
    execFileSync("chmod", ["-R", "a-w", root]);
    await removeTree(root);
    expect(existsSync(root)).toBe(false);
  });
});
