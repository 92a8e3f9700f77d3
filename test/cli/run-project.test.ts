import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isLeftBehind, readProject } from "../../packages/cli/src/runs/project.ts";
import { runMain } from "./io.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "rain-project-"));
});
afterEach(() => rm(folder, { recursive: true }));

async function put(...paths: string[]): Promise<void> {
  for (const path of paths) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), path);
  }
}
function git(...args: string[]): void {
  execFileSync("git", ["-c", "user.name=x", "-c", "user.email=x@y", ...args], { cwd: folder, stdio: "pipe" });
}
const files = async (at = folder): Promise<string[]> => [...(await readProject(at)).files].toSorted();

describe("with git", () => {
  test("what is tracked, and what is not and is not ignored; deleted files are not missed", async () => {
    await put("a.py", "gone.py", "sub/b.py", "data/large.bin", "new file.txt", "ünï.txt");
    await writeFile(join(folder, ".gitignore"), "data/\n*.log\n");
    git("init", "-q");
    git("add", "a.py", "gone.py", "sub/b.py", ".gitignore");
    git("commit", "-qm", "x");
    await rm(join(folder, "gone.py"));
    await put("sub/x.log", "tracked.log");
    git("add", "-f", "tracked.log");
    expect(await files()).toEqual(
      [".gitignore", "a.py", "new file.txt", "sub/b.py", "tracked.log", "ünï.txt"].toSorted(),
    );
    expect(await files(join(folder, "sub"))).toEqual(["b.py"]);
    // git knows nothing of an ignored folder: all of it is meant.
    expect(await files(join(folder, "data"))).toEqual(["large.bin"]);
  });

  test("a repository inside it travels too, as git shows it", async () => {
    await put("a.py", "inner/b.py", "inner/skip.log");
    await writeFile(join(folder, "inner/.gitignore"), "*.log\n");
    execFileSync("git", ["init", "-q"], { cwd: join(folder, "inner") });
    git("init", "-q");
    expect(await files()).toEqual(["a.py", "inner/.gitignore", "inner/b.py"]);
  });
});

test("without git: all but what nobody wants", async () => {
  await put("a.py", "node_modules/x/i.js", "sub/__pycache__/b.pyc", ".venv/bin/python", "venv/x", "sub/c.py");
  await mkdir(join(folder, "empty"));
  expect(await files()).toEqual(["a.py", "empty", "sub/c.py"]);
});

test(".rainignore is written as .gitignore is", async () => {
  await put("a.py", "data/x.bin", "data/keep.csv", "deep/data/y", "b.tmp");
  await writeFile(join(folder, ".rainignore"), "/data/*\n!/data/keep.csv\n*.tmp\n# nothing\n");
  const expected = [".rainignore", "a.py", "data/keep.csv", "deep/data/y"];
  expect(await files()).toEqual(expected);
  git("init", "-q");
  expect(await files()).toEqual(expected);
});

test("links that lead out stay behind, and are told; others travel", async () => {
  await put("a.py");
  await symlink("a.py", join(folder, "inside"));
  await symlink("/etc/hostname", join(folder, "absolute"));
  await symlink("../x", join(folder, "outside"));
  const project = await readProject(folder);
  expect([...project.files].toSorted()).toEqual(["a.py", "inside"]);
  expect(project.notes).toEqual([
    expect.stringMatching(/^left out of the project folder: .*absolute \(a link to \/etc\/hostname/),
  ]);
});

test("too large a folder: the largest, and what to do", async () => {
  await put("a.py", "sub/x", "sub/y");
  await writeFile(join(folder, "sub/x"), Buffer.alloc(3_000));
  const error = await readProject(folder, 2_048).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ exitCode: 2 });
  expect(String(error)).toMatch(
    /the limit is 2K. The largest: sub\/ 2\.9K, a\.py 4B\. .*\.rainignore.*--localdir/,
  );
});

test("files that are named and do not travel", async () => {
  await put("a.py", "data/x.bin", "out/y");
  await writeFile(join(folder, ".rainignore"), "data\n*.log\n");
  await put("b.log");
  const project = await readProject(folder);
  const sent = new Set(project.files);
  const left = ["a.py", "./a.py", "data/x.bin", "data", "out", "b.log", "nothing", "../x", "/etc", ""].filter(
    (word) => isLeftBehind(project, sent, word),
  );
  expect(left).toEqual(["data/x.bin", "data", "b.log"]);
  const words = ["run", "--dry-run", "--localdir", folder, "a.py", "--data", "data/x.bin"];
  expect((await runMain(words)).err).toContain("data/x.bin is here but does not travel");
  await writeFile(join(folder, ".rainignore"), "a.py\n");
  const refused = await runMain(words);
  expect(refused).toMatchObject({
    code: 2,
    err: expect.stringContaining("the program a.py would not travel"),
  });
});

test("a folder that is not there", async () => {
  const { code, err } = await runMain(["run", "--dry-run", "--localdir", join(folder, "no"), "/bin/sh"]);
  expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining("--localdir: there is no folder") });
});
