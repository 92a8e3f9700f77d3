import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "@rain/client";
import { lockFolder } from "@rain/protocol/lock";
import { startServer, type RunningServer } from "@rain/server";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { runMain } from "./io.ts";

// Much is tried in each test: on a busy machine that takes longer than a test usually may.
vi.setConfig({ testTimeout: 120_000 });

const golden = fileURLToPath(new URL("../server/golden-journal/format-1", import.meta.url));
const SEGMENT = "journal-0000000000000016.log";

let home: string;
let folder: string;
let before: string | undefined;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "rain-journal-"));
  folder = join(home, "default", "journal");
  await cp(golden, folder, { recursive: true });
  before = process.env["RAIN_HOME"];
  process.env["RAIN_HOME"] = home;
});
afterEach(async () => {
  if (before === undefined) delete process.env["RAIN_HOME"];
  else process.env["RAIN_HOME"] = before;
  await rm(home, { recursive: true, force: true });
});

/** Name and content of every file in a folder, less the lock. */
async function contentOf(place: string): Promise<Record<string, string>> {
  const names = (await readdir(place)).filter((name) => !name.startsWith("lock")).toSorted();
  const all = names.map(async (name) => [name, (await readFile(join(place, name))).toString("hex")] as const);
  return Object.fromEntries(await Promise.all(all));
}
/** More than one bit: that cannot be put right. */
async function damage(name: string, at: number, bits = 0x5a): Promise<void> {
  const bytes = await readFile(join(folder, name));
  bytes[at] = (bytes[at] ?? 0) ^ bits;
  await writeFile(join(folder, name), bytes);
}
const json = async <T>(...argv: string[]): Promise<T> => {
  const { out } = await runMain([...argv, "-o", "json"]);
  return JSON.parse(out) as T;
};

describe("rain journal check", () => {
  test("says what is there, of an instance and of a folder", async () => {
    for (const where of [[], ["--journal", golden]]) {
      const { code, out, err } = await runMain(["journal", "check", ...where]);
      expect({ code, err }).toEqual({ code: 0, err: "" });
      for (const part of [
        "cluster golden-cluster",
        "16 to 25",
        "10 records",
        "sound: a server can start on it",
      ])
        expect(out).toContain(part);
    }
    expect(await json("journal", "check")).toMatchObject({
      journal: folder,
      clusterId: "golden-cluster",
      sound: true,
      damage: [],
      problem: null,
      tornTail: null,
      content: { records: 11 },
      state: { nextSequence: 27, sessions: 1, tasks: 2 },
    });
  });

  test("case 5: damage has exit code 65, the file and the byte", async () => {
    await damage(SEGMENT, 60);
    const { code, out } = await runMain(["journal", "check"]);
    expect(code).toBe(65);
    expect(out).toContain(`damaged: ${SEGMENT} from byte 42 to`);
    expect(out).toContain("rain journal repair --dry-run");
    expect(await json("journal", "check")).toMatchObject({
      sound: false,
      damage: [{ file: SEGMENT, offset: 42 }],
      problem: { facts: { file: SEGMENT, offset: 42 } },
      state: null,
    });
  });

  test("case 4: a torn tail is no damage", async () => {
    const last = join(folder, "journal-0000000000000026.log");
    await writeFile(last, (await readFile(last)).subarray(0, -1));
    const { code, out } = await runMain(["journal", "check"]);
    expect(code).toBe(0);
    expect(out).toContain("never acknowledged");
  });

  test("changes nothing, writes nothing", async () => {
    await damage(SEGMENT, 60);
    const was = await contentOf(folder);
    const { mtimeMs } = await stat(folder);
    for (const command of [["check"], ["export"], ["export", "--state"], ["repair", "--dry-run"]])
      await runMain(["journal", ...command]);
    expect(await contentOf(folder)).toEqual(was);
    expect((await stat(folder)).mtimeMs).toBe(mtimeMs);
  });
});

describe("rain journal repair", () => {
  test("case 5: keeps a copy of what was, cuts, and says what is lost", async () => {
    await damage(SEGMENT, 60);
    const was = await contentOf(folder);
    const dry = await runMain(["journal", "repair", "--dry-run"]);
    expect(dry.code).toBe(0);
    expect(dry.out).toContain("lost: frames 16 to 26; 10 sound frames with 10 records (");
    expect(dry.out).toContain("nothing was changed");
    expect(await readdir(join(home, "default"))).toEqual(["journal"]);

    const result = await json<{ copy: string }>("journal", "repair");
    expect(result).toMatchObject({
      journal: folder,
      repaired: true,
      keptTo: 15,
      cut: [{ file: SEGMENT, size: 42 }],
      remove: ["journal-0000000000000026.log"],
      lost: { sequences: [16, 26], frames: 10, damagedFrames: 1, content: { records: 10, sessions: [1, 2] } },
    });
    expect(result.copy).toMatch(/journal\.damaged-\d{8}T\d{6}Z$/);
    expect(await contentOf(result.copy)).toEqual(was);
    expect((await stat(result.copy)).mode & 0o777).toBe(0o700);
    expect(await json("journal", "check")).toMatchObject({ sound: true, state: { nextSequence: 16 } });
    expect(await readdir(folder)).not.toContain("lock");
  });

  test("puts one flipped bit right: nothing is lost", async () => {
    const was = await contentOf(folder);
    await damage(SEGMENT, 60, 1);
    const { code, out } = await runMain(["journal", "repair"]);
    expect(code).toBe(0);
    expect(out).toContain(`mended: one bit of frame 16, ${SEGMENT} byte 60`);
    expect(out).toContain("lost: nothing");
    expect(await contentOf(folder)).toEqual(was);
  });

  test("leaves a sound journal alone", async () => {
    const was = await contentOf(folder);
    const { code, out } = await runMain(["journal", "repair"]);
    expect({ code, out }).toEqual({ code: 0, out: "nothing to repair: a server can start on it\n" });
    expect(await contentOf(folder)).toEqual(was);
    expect(await readdir(join(home, "default"))).toEqual(["journal"]);
  });

  test("refuses with 65 when nothing could be kept, and changes nothing", async () => {
    await damage("snapshot-0000000000000015.snap", 100);
    const was = await contentOf(folder);
    const { code, err } = await runMain(["journal", "repair"]);
    expect(code).toBe(65);
    expect(err).toContain("Nothing before the damage can be kept");
    expect(await contentOf(folder)).toEqual(was);
    expect(await readdir(join(home, "default"))).toEqual(["journal"]);
  });
});

describe("rain journal export", () => {
  test("prints one document a line, without what users keep secret", async () => {
    const { code, out } = await runMain(["journal", "export"]);
    expect(code).toBe(0);
    const lines = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { record?: { type: string } });
    expect(lines.filter(({ record }) => record !== undefined).length).toBe(11);
    expect(lines.length).toBe(27);
    expect(out).not.toContain("s3cret");
    expect(out).not.toContain("key-of-");
  });
  test("--state is what the records make", async () => {
    const { out } = await runMain(["journal", "export", "--state"]);
    expect(out.split("\n")[0]).toBe('{"item":{"type":"counters","nextSession":3,"nextGovernor":3}}');
  });
});

test("case 9: a journal in use is left alone, with pid and start time of the holder", async () => {
  const unlock = await lockFolder(folder, { what: "the journal", remedy: "stop it" });
  try {
    for (const command of ["check", "repair", "export"]) {
      const { code, err } = await runMain(["journal", command]);
      expect(code).toBe(77);
      expect(err).toMatch(new RegExp(`in use by process ${process.pid}, started 20.*rain stop`));
    }
  } finally {
    await unlock();
  }
});

test("case 9: a second server on the folder is refused, with pid and start time of the first", async () => {
  const base = {
    journalDir: folder,
    listen: { host: "127.0.0.1", port: 0 },
    version: "0",
    log: () => undefined,
  };
  await rm(folder, { recursive: true });
  const first = await startServer({ ...base, instanceDir: join(home, "first") });
  const was = await contentOf(folder);
  try {
    await expect(startServer({ ...base, instanceDir: join(home, "second") })).rejects.toMatchObject({
      code: "not-allowed",
      message: expect.stringMatching(
        new RegExp(`in use by process ${process.pid}, started \\d{4}-\\d\\d-\\d\\dT.*stop that server`),
      ) as string,
    });
    expect(await contentOf(folder)).toEqual(was);
  } finally {
    await first.stop();
  }
});

test("no journal: what was looked for and where", async () => {
  const { code, err } = await runMain(["journal", "check", "--instance", "none"]);
  expect(code).toBe(1);
  expect(err).toContain(join(home, "none", "journal"));
  expect((await runMain(["journal"])).code).toBe(2);
});

test("case 5: a server that refuses names the command, and starts once that was run", async () => {
  const options = { instanceDir: join(home, "real"), listen: { host: "127.0.0.1", port: 0 }, version: "0" };
  const start = (): Promise<RunningServer> => startServer({ ...options, log: () => undefined });
  const server = await start();
  const client = await Client.connect({ accessFile: server.accessFile });
  for (const name of ["first", "second", "third"]) {
    const session = await client.newSession(name, { detached: true });
    session.execute(["true"]);
    await session.submit();
  }
  await client.close();
  await server.stop();
  folder = join(options.instanceDir, "journal");
  const [name = ""] = await readdir(folder);
  const size = (await stat(join(folder, name))).size;
  await damage(name, Math.floor(size / 2));
  const refused: unknown = await start().catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "bad-file", facts: { file: name } });
  const [, argv = ""] = /"rain (journal repair --journal \S+)" does it/.exec(String(refused)) ?? [];
  expect(argv).toContain(folder);
  expect((await runMain(argv.split(" "))).code).toBe(0);
  const again = await start();
  const reader = await Client.connect({ accessFile: again.accessFile });
  await reader.close();
  await again.stop();
});

test.each([["journal"], ["journal", "check"], ["journal", "repair"], ["journal", "export"]])(
  "the help of rain %s %s fits a screen",
  async (...words) => {
    const { code, out } = await runMain([...words.filter((word) => word !== undefined), "--help"]);
    expect(code).toBe(0);
    const lines = out.trimEnd().split("\n");
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
  },
);
