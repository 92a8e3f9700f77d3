import { createHash } from "node:crypto";
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  statfs,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { asDigest, type Digest } from "@rain/protocol";
import { BlobStore, RunStore } from "../../packages/governor/src/store/index.ts";

const digestOf = (bytes: string | Uint8Array): Digest =>
  asDigest(createHash("sha256").update(bytes).digest("hex"));

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "rain-store-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});
const files = async (folder: string): Promise<string[]> => {
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
};

describe("the store", () => {
  it("keeps bytes and files under their digest, read-only, each once", async () => {
    const store = await BlobStore.open(root);
    const hello = digestOf("hello");
    expect(store.has(hello)).toBe(false);
    expect(await store.putBytes(Buffer.from("hello"))).toEqual({ sha256: hello, size: 5 });
    const path = join(root, "a file");
    for (const text of ["hello", "other"]) {
      await writeFile(path, text);
      expect(await store.adoptFile(path)).toEqual({ sha256: digestOf(text), size: 5 });
      await expect(stat(path)).rejects.toThrow("ENOENT");
      expect(store.has(digestOf(text))).toBe(true);
      expect(await readFile(await store.onDisk(digestOf(text)), "utf8")).toBe(text);
      expect((await stat(store.path(digestOf(text)))).mode & 0o777).toBe(0o444);
    }
    expect(store.path(hello)).toBe(join(root, "store", hello.slice(0, 2), hello));
    expect((await files("store")).length).toBe(2);
    await store.remove(hello);
    await store.remove(hello);
    expect(store.has(hello)).toBe(false);
    expect(await files("store")).toEqual([digestOf("other")]);
    expect(await files("incoming")).toEqual([]);
  });

  it("gives small bytes a file when somebody asks for it, once", async () => {
    const store = await BlobStore.open(root);
    const { sha256 } = await store.putBytes(Buffer.from("small"));
    const large = await store.putBytes(Buffer.alloc(100_000, "x"));
    expect(Buffer.from(store.bytes(sha256) ?? []).toString()).toBe("small");
    expect([await files("store"), store.bytes(large.sha256)]).toEqual([[large.sha256], undefined]);
    const paths = await Promise.all([
      store.onDisk(sha256),
      store.onDisk(sha256),
      store.putBytes(Buffer.from("small")),
    ]);
    expect(paths.slice(0, 2)).toEqual([store.path(sha256), store.path(sha256)]);
    expect(store.bytes(sha256)).toBeUndefined();
    expect(await readFile(store.path(sha256), "utf8")).toBe("small");
    await store.remove(sha256);
    await store.putBytes(Buffer.from("small"));
    await Promise.all([store.onDisk(sha256), store.remove(sha256)]);
    expect([await files("store"), store.bytes(sha256), store.has(sha256)]).toEqual([
      [large.sha256],
      undefined,
      false,
    ]);
  });

  it("keeps no more in memory than is good", async () => {
    const store = await BlobStore.open(root);
    const count = 33_554_432 / 65_536;
    for (let i = 0; i <= count; i += 1) await store.putBytes(Buffer.alloc(65_536, `${i}.`));
    expect((await files("store")).length).toBe(1);
    await store.remove(digestOf(Buffer.alloc(65_536, "0.")));
    await store.putBytes(Buffer.from("fits again"));
    expect((await files("store")).length).toBe(1);
  });

  it("takes large and empty files", async () => {
    const store = await BlobStore.open(root);
    const large = Buffer.alloc(1_500_000, "x");
    for (const bytes of [large, Buffer.of()]) {
      await writeFile(join(root, "f"), bytes);
      expect(await store.adoptFile(join(root, "f"))).toEqual({ sha256: digestOf(bytes), size: bytes.length });
    }
  });

  it("takes plain files only", async () => {
    const store = await BlobStore.open(root);
    await symlink("/etc/hostname", join(root, "link"));
    await expect(store.adoptFile(join(root, "link"))).rejects.toThrow(/not a plain file/);
    await mkdir(join(root, "folder"));
    await expect(store.adoptFile(join(root, "folder"))).rejects.toThrow(/not a plain file/);
  });

  it("survives any mix of puts, adopts and removes of the same bytes at once", async () => {
    const store = await BlobStore.open(root);
    const sha256 = digestOf("same");
    for (let round = 0; round < 30; round += 1) {
      const work: Promise<unknown>[] = [];
      for (let i = 0; i < 6; i += 1) {
        const path = store.incomingPath();
        work.push(
          store.putBytes(Buffer.from("same")),
          writeFile(path, "same").then(() => store.adoptFile(path)),
        );
        if (i % 2 === round % 2) work.push(store.remove(sha256));
      }
      await Promise.all(work);
      if (store.has(sha256)) expect(await readFile(await store.onDisk(sha256), "utf8")).toBe("same");
      else expect(await files("store")).toEqual([]);
      expect(await files("incoming")).toEqual([]);
    }
  });

  it("starts empty", async () => {
    const before = await BlobStore.open(root);
    const { sha256 } = await before.putBytes(Buffer.from("x"));
    await writeFile(before.incomingPath(), "half");
    const after = await BlobStore.open(root);
    expect(after.has(sha256)).toBe(false);
    expect([...(await files("store")), ...(await files("incoming"))]).toEqual([]);
  });

  it("refuses a work folder that others could tamper with, and makes one that is missing", async () => {
    await mkdir(join(root, "real"));
    await symlink(join(root, "real"), join(root, "link"));
    await expect(BlobStore.open(join(root, "link"))).rejects.toThrow(
      /is a symbolic link; name the folder itself/,
    );
    await chmod(join(root, "real"), 0o777);
    await expect(BlobStore.open(join(root, "real"))).rejects.toThrow(
      /can be written by every user; run: chmod 700/,
    );
    await chmod(join(root, "real"), 0o1777);
    await BlobStore.open(join(root, "real"));
    await BlobStore.open(join(root, "a", "b"));
    expect((await stat(join(root, "a", "b"))).mode & 0o777).toBe(0o700);
  });

  it.skipIf(process.getuid?.() !== 0)("refuses a work folder of another user", async () => {
    const { chown } = await import("node:fs/promises");
    await mkdir(join(root, "theirs"));
    await chown(join(root, "theirs"), 12_345, 12_345);
    await expect(BlobStore.open(join(root, "theirs"))).rejects.toThrow(/belongs to user 12345/);
  });
});

describe("pins", () => {
  it("hold a blob until the last is gone", async () => {
    const store = await BlobStore.open(root);
    const { sha256 } = await store.putBytes(Buffer.from("x"));
    await store.onDisk(sha256);
    store.pin(sha256);
    store.pin(sha256);
    await store.remove(sha256);
    expect(store.has(sha256)).toBe(false); // for everyone else it is gone
    await store.unpin(sha256);
    expect(await files("store")).toEqual([sha256]);
    await store.unpin(sha256);
    expect(await files("store")).toEqual([]);
  });

  it("let a blob stay when it came in again meanwhile", async () => {
    const store = await BlobStore.open(root);
    const { sha256 } = await store.putBytes(Buffer.from("x"));
    await store.onDisk(sha256);
    for (const again of [async () => store.keep(sha256), () => store.putBytes(Buffer.from("x"))]) {
      store.pin(sha256);
      await store.remove(sha256);
      await again();
      await store.unpin(sha256);
      expect(store.has(sha256)).toBe(true);
      expect(await files("store")).toEqual([sha256]);
    }
  });

  it("are set by what a run takes in, until it ends", async () => {
    const store = await BlobStore.open(root);
    const run = new RunStore(store);
    const { sha256 } = await store.putBytes(Buffer.from("x"));
    await run.putBytes(Buffer.from("x"));
    await store.remove(sha256);
    expect(await readFile(await run.onDisk(sha256), "utf8")).toBe("x");
    await run.end();
    expect(await files("store")).toEqual([]);
    await expect(run.putBytes(Buffer.of())).rejects.toThrow(/after its end/);
  });
});

describe("blobs that nobody needs any more", () => {
  const bytesOf = (letter: string): Buffer => Buffer.alloc(100_000, letter);
  const put = async (store: BlobStore, letter: string): Promise<Digest> =>
    (await store.putBytes(bytesOf(letter))).sha256;

  it("are kept within the budget, the last ones, and are here at once when they are needed again", async () => {
    const gone: Digest[] = [];
    const store = await BlobStore.open(root, {
      cache: { bytes: 250_000 },
      onGone: (sha256) => gone.push(sha256),
    });
    const [a, b, c] = [await put(store, "a"), await put(store, "b"), await put(store, "c")];
    for (const sha256 of [a, b]) await store.remove(sha256);
    expect([store.has(a), gone]).toEqual([false, []]);
    expect(store.keep(a)).toBe(true);
    expect(store.has(a)).toBe(true);
    await store.remove(a); // now b is the older one
    await store.remove(c);
    expect(gone).toEqual([b]);
    expect((await files("store")).toSorted()).toEqual([a, c].toSorted());
    expect(store.keep(b)).toBe(false);
    await store.putBytes(bytesOf("a"));
    expect((await readFile(store.path(a))).equals(bytesOf("a"))).toBe(true);
    await store.putBytes(bytesOf("b"));
    expect(store.has(b)).toBe(true);
  });

  it("are not kept when they are small, larger than the budget, or spoilt", async () => {
    const store = await BlobStore.open(root, { cache: { bytes: 250_000 } });
    const small = (await store.putBytes(Buffer.from("small"))).sha256;
    const large = (await store.putBytes(Buffer.alloc(300_000))).sha256;
    const [a, b] = [await put(store, "a"), await put(store, "b")];
    await store.remove(a);
    for (const sha256 of [small, large]) await store.remove(sha256);
    expect((await files("store")).toSorted()).toEqual([a, b].toSorted());
    await store.discard(a); // while it is kept
    await store.discard(b); // while it is needed
    expect(await files("store")).toEqual([]);
    expect([store.keep(a), store.keep(b)]).toEqual([false, false]);
  });

  it("count with what lies besides them, and a pinned one is kept after its last pin", async () => {
    const store = await BlobStore.open(root, { cache: { bytes: 250_000 }, besides: () => 100_000 });
    const [a, b] = [await put(store, "a"), await put(store, "b")];
    store.pin(a);
    await store.remove(a);
    await store.remove(b);
    await store.unpin(a);
    expect(await files("store")).toEqual([a]);
    expect(store.keep(a)).toBe(true);
  });

  it("are few on a disk that is nearly full, unless somebody said how many", async () => {
    const store = await BlobStore.open(root, { cache: {} });
    const { bavail, bsize } = await statfs(root);
    const a = await put(store, "a");
    await store.remove(a);
    expect(store.keep(a)).toBe(bavail * bsize > 10 * 100_000);
    const none = await BlobStore.open(root, { cache: { bytes: 0 } });
    const b = await put(none, "b");
    await none.remove(b);
    expect(none.keep(b)).toBe(false);
  });
});
