import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RainError } from "@rain/protocol";
import {
  createAccess,
  createKey,
  instanceDir,
  keyId,
  loadAccess,
  saveAccessPlace,
  splitAccess,
  writeAccess,
  type Access,
} from "@rain/protocol/access";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const url = "http://127.0.0.1:7210";
let root: string;
let path: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "rain-access-"));
  path = join(root, "home", "default", "access.json");
});
afterEach(async () => {
  await rm(root, { recursive: true });
});

async function refusal(promise: Promise<unknown>): Promise<RainError> {
  const error: unknown = await promise.then(
    () => new Error("nothing was refused"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof RainError)) throw error;
  return error;
}
const secrets = (access: Access): string[] => Object.values(access.keys).map((key) => key ?? "");
/** Refused as a bad file, with these words, without any part of a key. */
async function expectBadFile(promise: Promise<unknown>, access: Access, words: RegExp): Promise<void> {
  const error = await refusal(promise);
  expect(error.code).toBe("bad-file");
  expect(error.message).toMatch(words);
  const shown = `${error.message}${error.stack}${JSON.stringify(error.facts)}${String(error.cause)}`;
  for (const key of secrets(access)) expect(shown).not.toContain(key.slice(0, 16));
}

describe("an access file", () => {
  test("is made for its owner only and read back", async () => {
    const access = await createAccess(path, { url });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(path, ".."))).mode & 0o777).toBe(0o700);
    expect(access.keys.client).toMatch(/^rainc_[\w-]{43}$/);
    expect(access.keys.governor).toMatch(/^raing_[\w-]{43}$/);
    expect(access.keys.viewer).toMatch(/^rainv_[\w-]{43}$/);
    expect(await loadAccess(path)).toEqual(access);
    expect(await readdir(join(path, ".."))).toEqual(["access.json"]);
  });
  test("is not made twice", async () => {
    const access = await createAccess(path, { url });
    await expectBadFile(createAccess(path, { url }), access, /exists already/);
    expect(await loadAccess(path)).toEqual(access);
    expect(await readdir(join(path, ".."))).toEqual(["access.json"]);
  });
  test("of two that make it at once, one does", async () => {
    const results = await Promise.allSettled([1, 2, 3, 4].map(() => createAccess(path, { url })));
    const made = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    expect(made).toEqual([await loadAccess(path)]);
  });
  test("is not made in a folder that others may write to, nor through a link", async () => {
    const access = await createAccess(path, { url });
    const open = join(root, "open");
    await mkdir(open);
    await chmod(open, 0o777);
    await expectBadFile(createAccess(join(open, "access.json"), { url }), access, /chmod 700 /);
    await symlink(join(root, "elsewhere"), join(root, "home", "link.json"));
    await expectBadFile(createAccess(join(root, "home", "link.json"), { url }), access, /exists already/);
  });
  test("takes another address in one step", async () => {
    const access = await createAccess(path, { url });
    const before = await stat(path);
    await saveAccessPlace(path, { url });
    expect((await stat(path)).ino).toBe(before.ino);
    await saveAccessPlace(path, { url: "http://127.0.0.1:9999" });
    expect(await loadAccess(path)).toEqual({ ...access, url: "http://127.0.0.1:9999" });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(join(path, ".."))).toEqual(["access.json"]);
    await expectBadFile(saveAccessPlace(path, { url: "file:///etc/passwd" }), access, /url: /);
  });

  test("case 47: that others may read is refused", async () => {
    const access = await createAccess(path, { url });
    for (const mode of [0o640, 0o604, 0o620, 0o660]) {
      await chmod(path, mode);
      await expectBadFile(loadAccess(path), access, new RegExp(`mode ${mode.toString(8)}.*chmod 600 `));
    }
  });
  test("case 47: that is a symbolic link, a folder or not there is refused", async () => {
    const access = await createAccess(path, { url });
    const linked = join(root, "linked.json");
    await symlink(path, linked);
    await expectBadFile(loadAccess(linked), access, /symbolic link/);
    await expectBadFile(loadAccess(root), access, /not a regular file/);
    await expectBadFile(loadAccess(join(root, "none.json")), access, /does not exist.*rain start --simple/);
  });
  test.runIf(process.getuid?.() === 0)("case 47: of another user is refused", async () => {
    const access = await createAccess(path, { url });
    await chown(path, 65_534, 65_534);
    await expectBadFile(loadAccess(path), access, /belongs to user 65534.*chmod 600/);
  });
  test("case 47: that is cut at any place is refused", async () => {
    const access = await createAccess(path, { url });
    const text = await readFile(path, "utf8");
    for (let length = 0; length < text.trimEnd().length; length += 7) {
      await writeFile(path, text.slice(0, length));
      await expectBadFile(loadAccess(path), access, /cut short/);
    }
  });
  test.each<[string, (access: Access) => unknown, RegExp]>([
    ["another version", (access) => ({ ...access, v: 2 }), /v: /],
    [
      "a key of another role",
      (access) => ({ ...access, keys: { client: access.keys.governor } }),
      /keys\.client: a key of the role client/,
    ],
    ["an unknown field", (access) => ({ ...access, extra: 1 }), /extra/],
    ["no address", (access) => ({ ...access, url: "localhost:7210" }), /url: the address of a server/],
    ["a key in the address", (access) => ({ ...access, url: `http://x:${access.keys.client}@h` }), /url: /],
    ["a list", () => [], /not an access file/],
  ])("with %s is refused", async (_, change, words) => {
    const access = await createAccess(path, { url });
    await writeFile(path, JSON.stringify(change(access)));
    await expectBadFile(loadAccess(path), access, words);
  });
});

describe("a part of an access", () => {
  test("holds the named keys only", async () => {
    const access = await createAccess(path, { url });
    const governor = splitAccess(access, ["governor"]);
    expect(governor).toEqual({ ...access, keys: { governor: access.keys.governor } });
    const file = join(root, "g.json");
    await writeAccess(file, governor);
    expect(await loadAccess(file)).toEqual(governor);
    expect(() => splitAccess(governor, ["client"])).toThrow(/holds no client key/);
  });
  test("a key has a short public name", () => {
    const key = createKey("client");
    expect(keyId(key)).toMatch(/^[0-9a-f]{8}$/);
    expect(keyId("rainc_test")).toBe("903b4241");
  });
});

describe("the folder of an instance", () => {
  const before = process.env["RAIN_HOME"];
  afterEach(() => {
    if (before === undefined) delete process.env["RAIN_HOME"];
    else process.env["RAIN_HOME"] = before;
  });
  test("is below RAIN_HOME or ~/.rain", () => {
    process.env["RAIN_HOME"] = root;
    expect(instanceDir()).toBe(join(root, "default"));
    expect(instanceDir("lab-2")).toBe(join(root, "lab-2"));
    delete process.env["RAIN_HOME"];
    expect(instanceDir()).toMatch(/\/\.rain\/default$/);
  });
  test.each(["", "..", "a/b", ".hidden", "x".repeat(65), "a\0b"])("refuses the name %j", (name) => {
    expect(() => instanceDir(name)).toThrow(RainError);
  });
});
