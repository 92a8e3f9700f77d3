import * as fs from "node:fs/promises";
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { lockFolder } from "@rain/protocol/lock";
import { openJournalFolder, type Journal } from "../../packages/server/src/journal/index.ts";
import { NodeJournalStorage } from "../../packages/server/src/journal/storage-node.ts";
import { CLUSTER, ListState, padding, promise } from "./journal-support.ts";

let parent: string;
let folder: string;
beforeEach(async () => {
  parent = await fs.mkdtemp(join(tmpdir(), "rain-journal-"));
  folder = join(parent, "journal");
});
afterEach(async () => {
  await fs.rm(parent, { recursive: true });
});

const newState = (): ListState => new ListState();
const onFatal = (error: Error): never => expect.fail(error.message);
async function openFolder(settings = {}) {
  const notes: string[] = [];
  const onNote = ({ text }: { text: string }): void => void notes.push(text);
  const opened = await openJournalFolder({
    folder,
    clusterId: CLUSTER,
    newState,
    onFatal,
    onNote,
    ...settings,
  });
  return { ...opened, notes };
}
const commit = (journal: Journal, n: number): Promise<void> =>
  new Promise((resolve) => journal.commit([promise(n, padding(n, 500))], resolve));
const close = (journal: Journal): Promise<void> =>
  new Promise((resolve, reject) =>
    journal.close((error) => (error === undefined ? resolve() : reject(error))),
  );

describe("journal in a folder", () => {
  it("keeps, compacts and gives back; only its user can read it", async () => {
    const settings = { segmentBytes: 5_000, compactAfterBytes: 20_000 };
    const first = await openFolder(settings);
    for (let n = 0; n < 200; n += 1) await commit(first.journal, n);
    await expect.poll(() => first.journal.isCompacting, { timeout: 30_000 }).toBe(false);
    await close(first.journal);
    expect(first.notes.some((note) => note.endsWith("is done."))).toBe(true);
    const names = await fs.readdir(folder);
    expect(names.filter((name) => name.startsWith("snapshot-")).length).toBe(1);
    expect((await fs.stat(folder)).mode & 0o777).toBe(0o700);
    for (const name of names) expect((await fs.stat(join(folder, name))).mode & 0o777).toBe(0o600);
    const again = await openFolder(settings);
    expect(again.state.records).toEqual(Array.from({ length: 200 }, (_, n) => promise(n, padding(n, 500))));
    expect(again.nextSequence).toBe(201);
    await commit(again.journal, 200);
    await close(again.journal);
  });

  describe("synced appends", () => {
    const MANY = 30;
    /** Appends so often; which of them were done inside the call, and the errors. */
    async function appendAll(storage: NodeJournalStorage, name: string, isLone: boolean) {
      const inside: number[] = [];
      const errors: (string | undefined)[] = [];
      for (let n = 0; n < MANY; n += 1) {
        let isInside = true;
        await new Promise<void>((resolve) => {
          storage.appendSynced(name, Buffer.from(`${n}\n`), isLone, (error) => {
            if (isInside) inside.push(n);
            errors.push(error === undefined ? undefined : String(Reflect.get(error, "code")));
            resolve();
          });
          isInside = false;
        });
      }
      return { inside, errors };
    }
    const lines = Array.from({ length: MANY }, (_, n) => `${n}\n`).join("");
    const create = (storage: NodeJournalStorage, name: string): Promise<void> =>
      new Promise((resolve, reject) => storage.create(name, (error) => (error ? reject(error) : resolve())));

    it("need no thread when they are lone and the disk was quick, and say the same when the disk is full", async () => {
      const storage = new NodeJournalStorage(folder, () => 0);
      await create(storage, "quick");
      const quick = await appendAll(storage, "quick", true);
      expect(quick.inside.length).toBeGreaterThan(MANY / 3);
      expect(await fs.readFile(join(folder, "quick"), "utf8")).toBe(lines);
      expect((await appendAll(storage, "quick", false)).inside).toEqual([]);
      await fs.symlink("/dev/full", join(folder, "full"));
      const full = await appendAll(storage, "full", true);
      expect(full.inside.length).toBeGreaterThan(MANY / 3);
      expect(full.errors).toEqual(Array.from({ length: MANY }, () => "ENOSPC"));
      storage.close();
    });

    it("go through a thread when the disk is slow", async () => {
      let time = 0;
      const storage = new NodeJournalStorage(folder, () => (time += 5));
      await create(storage, "slow");
      expect((await appendAll(storage, "slow", true)).inside).toEqual([]);
      expect(await fs.readFile(join(folder, "slow"), "utf8")).toBe(lines);
      storage.close();
    });
  });

  it("case 4: cuts a torn tail on the disk and goes on", async () => {
    const first = await openFolder();
    for (let n = 0; n < 3; n += 1) await commit(first.journal, n);
    await close(first.journal);
    const file = join(folder, "journal-0000000000000001.log");
    await fs.truncate(file, (await fs.stat(file)).size - 5);
    const again = await openFolder();
    expect(again.notes[0]).toContain("was cut short");
    await commit(again.journal, 7);
    await close(again.journal);
    const last = await openFolder();
    expect(last.state.records).toEqual([0, 1, 7].map((n) => promise(n, padding(n, 500))));
    await close(last.journal);
  });

  it("case 5: refuses damage without touching it, and says how to repair it", async () => {
    const first = await openFolder();
    for (let n = 0; n < 3; n += 1) await commit(first.journal, n);
    await close(first.journal);
    const file = join(folder, "journal-0000000000000001.log");
    const bytes = await fs.readFile(file);
    bytes[300] = (bytes[300] ?? 0) ^ 4;
    await fs.writeFile(file, bytes);
    await expect(openFolder()).rejects.toMatchObject({
      code: "bad-file",
      facts: { offset: 40, folder },
      message: expect.stringContaining(`"rain journal repair --journal ${folder}" does it`) as string,
    });
    expect((await fs.readFile(file)).equals(bytes)).toBe(true);
  });

  it.runIf(process.platform === "linux")("says errno and path when the disk is full", async () => {
    const storage = new NodeJournalStorage(folder);
    await fs.symlink("/dev/full", join(folder, "full"));
    const error = await new Promise((resolve) => storage.append("full", Buffer.alloc(10), resolve));
    expect(error).toMatchObject({ code: "ENOSPC", path: join(folder, "full") });
    storage.close();
  });

  it("makes no file twice", async () => {
    const storage = new NodeJournalStorage(folder);
    const create = (): Promise<unknown> => new Promise((resolve) => storage.create("a", resolve));
    expect(await create()).toBeUndefined();
    expect(await create()).toMatchObject({ code: "EEXIST", path: join(folder, "a") });
    storage.close();
  });
});

const lockJournal = (folder: string): Promise<() => Promise<void>> =>
  lockFolder(folder, { what: "the journal", remedy: "stop that server" });
const lockFile = (): string => join(folder, "lock");
async function putLock(content: string): Promise<void> {
  await fs.mkdir(folder, { recursive: true });
  await fs.writeFile(lockFile(), content);
}
/** What this process writes into a lock. */
async function ownHolder(): Promise<object> {
  const unlock = await lockJournal(folder);
  const holder: unknown = JSON.parse(await fs.readFile(lockFile(), "utf8"));
  await unlock();
  if (typeof holder !== "object" || holder === null) throw new Error("the lock holds no object");
  return holder;
}

describe("case 9: lock of a journal", () => {
  it("keeps a second server out, names the first, and goes with it", async () => {
    const unlock = await lockJournal(folder);
    await expect(lockJournal(folder)).rejects.toMatchObject({
      code: "not-allowed",
      message: expect.stringContaining(`in use by process ${process.pid}, started 20`),
      facts: { pid: process.pid },
    });
    await unlock();
    const next = await lockJournal(folder);
    await unlock(); // a second time: not the next one's lock
    expect(await fs.readdir(folder)).toEqual(["lock"]);
    await next();
    expect(await fs.readdir(folder)).toEqual([]);
  });

  it.runIf(process.platform === "linux")(
    "is kept while another process lives and taken over after it",
    async () => {
      const other = spawn("sleep", ["600"], { stdio: "ignore" });
      await once(other, "spawn");
      const stat = await fs.readFile(`/proc/${other.pid}/stat`, "utf8");
      const startTicks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
      await putLock(JSON.stringify({ ...(await ownHolder()), pid: other.pid, startTicks }));
      try {
        await expect(lockJournal(folder)).rejects.toMatchObject({ facts: { pid: other.pid } });
      } finally {
        other.kill("SIGKILL");
        await once(other, "exit");
      }
      await (
        await lockJournal(folder)
      )();
    },
  );

  it.runIf(process.platform === "linux")(
    "is taken over from a killed process that nobody reaps",
    async () => {
      // The inner sleep ends at once and stays a zombie, since its parent has become a program that never waits.
      const parent = spawn("sh", ["-c", "sleep 0 & echo $!; exec sleep 600"], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      const [line] = (await once(parent.stdout, "data")) as [Buffer];
      const pid = Number(line.toString());
      const fields = async (): Promise<string[]> => {
        const stat = await fs.readFile(`/proc/${pid}/stat`, "utf8");
        return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      };
      while ((await fields())[0] !== "Z") await new Promise((done) => setTimeout(done, 10));
      await putLock(JSON.stringify({ ...(await ownHolder()), pid, startTicks: (await fields())[19] }));
      try {
        const unlock = await lockJournal(folder);
        await unlock();
      } finally {
        parent.kill("SIGKILL");
        await once(parent, "exit");
      }
    },
  );

  it.runIf(process.platform === "linux").each([
    ["its pid was used again", { startTicks: "1" }],
    ["it is from before a reboot", { bootId: "00000000-0000-0000-0000-000000000000" }],
  ])("is taken over when %s", async (_why, change) => {
    await putLock(JSON.stringify({ ...(await ownHolder()), ...change }));
    const unlock = await lockJournal(folder);
    await expect(lockJournal(folder)).rejects.toMatchObject({ code: "not-allowed" });
    await unlock();
  });

  it("that is not readable is taken over", async () => {
    await putLock("");
    await (
      await lockJournal(folder)
    )();
  });

  it("that is stale goes to exactly one of many", async () => {
    await putLock(JSON.stringify({ pid: 2 ** 22 + 1, since: "2020-01-01T00:00:00.000Z" }));
    const attempts = await Promise.allSettled(Array.from({ length: 8 }, () => lockJournal(folder)));
    const won = attempts.filter((attempt) => attempt.status === "fulfilled");
    expect(won.length).toBe(1);
    await won[0]?.value();
    expect(await fs.readdir(folder)).toEqual([]);
  });
});
