import { describe, expect, it, vi } from "vitest";
import seedrandom from "seedrandom";
import { isHint, type ServerRecord } from "../../packages/server/src/core/types.ts";
import type { CrashKind, Fault, MemoryStorage } from "../support/memory-storage.ts";
import {
  beginOpen,
  hint,
  newDisk,
  open,
  padding,
  promise,
  recordsIn,
  type Bench,
} from "./journal-support.ts";

// Much is tried in each test: on a busy machine that takes longer than a test usually may.
vi.setConfig({ testTimeout: 120_000 });

const small = { segmentBytes: 700, compactAfterBytes: 1_500, batchBytes: 300 };

/** Commits of one or two records, hints among them, some empty. */
function commitSome(bench: Bench, count: number, random: () => number): void {
  for (let n = 0; n < count; n += 1) {
    const id = bench.commits.length;
    const what = random();
    if (what < 0.1) bench.commit();
    else if (what < 0.4) bench.commit(hint(id));
    else if (what < 0.5) bench.commit(hint(id), promise(id));
    else bench.commit(promise(id, padding(id, Math.floor(random() * 120))));
  }
}

/** Commits in small groups, with turns of the disk in between; false when `turn` said to stop. */
function runScenario(bench: Bench, random: () => number, turn: () => boolean): boolean {
  for (let group = 0; group < 25; group += 1) {
    commitSome(bench, 1 + Math.floor(random() * 3), random);
    for (let turns = Math.floor(random() * 5); turns > 0; turns -= 1) if (!turn()) return false;
  }
  while (bench.queue.step()) if (!turn()) return false;
  return true;
}

/** What is on the disk must be all of some first commits, and these all that had to be kept. */
function checkSurvivors(
  bench: Bench,
  before: readonly ServerRecord[],
  found: readonly ServerRecord[],
  kind: CrashKind,
): void {
  const kept = found.length;
  const boundaries = [before.length];
  for (const commit of bench.commits) boundaries.push((boundaries.at(-1) ?? 0) + commit.length);
  expect(found).toEqual([...before, ...bench.commits.flat()].slice(0, kept));
  expect(boundaries).toContain(kept);
  for (const index of bench.released) {
    const mustStay =
      kind === "kill" ? bench.commits[index]?.length !== 0 : !bench.commits[index]?.every(isHint);
    if (mustStay) expect(kept).toBeGreaterThanOrEqual(boundaries[index + 1] ?? 0);
  }
}
const reopen = (storage: MemoryStorage, random: () => number, kind: CrashKind): Bench => {
  const disk = newDisk();
  return open({ queue: disk.queue, storage: storage.crash(random, kind, disk.queue.schedule) }, small);
};
/** Nothing useless stays after an opening: no partial file, one snapshot, no segment before it. */
function expectTidy(bench: Bench): void {
  expect(partialFiles(bench.storage)).toEqual([]);
  const names = bench.storage.list().toSorted();
  const snapshots = names.filter((name) => name.startsWith("snapshot-"));
  expect(snapshots.length).toBeLessThan(2);
  const numberOf = (name: string | undefined): number => Number(name?.match(/\d{16}/)?.[0] ?? 0);
  const first = names.find((name) => name.startsWith("journal-"));
  expect(numberOf(first)).toBe(numberOf(snapshots[0]) + 1);
}
const partialFiles = (storage: MemoryStorage): string[] =>
  storage.list().filter((name) => name.endsWith(".tmp"));

describe("a crash", () => {
  it.each(["power", "kill"] as const)("at every turn of the disk keeps what was released: %s", (kind) => {
    let step = 0;
    for (let complete = false; !complete; step += 1) {
      const random = seedrandom(`scenario`);
      const bench = open(undefined, small);
      let turns = 0;
      complete = runScenario(bench, random, () => (bench.queue.step(), (turns += 1) < step));
      const again = reopen(bench.storage, seedrandom(`crash ${step}`), kind);
      checkSurvivors(bench, [], again.state.records, kind);
      expectTidy(again);
      again.commit(promise(9_999));
      again.queue.drain();
      expect(recordsIn(again.storage.files())).toEqual([...again.state.records, promise(9_999)]);
    }
    expect(step).toBeGreaterThan(60);
  });

  it("after crash, again and again, on 150 random histories", () => {
    let compactions = 0;
    for (let seed = 0; seed < 150; seed += 1) {
      const random = seedrandom(`history ${seed}`);
      let bench = open(undefined, small);
      for (let life = 0; life < 5; life += 1) {
        const before = [...bench.state.records];
        const lifetime = Math.floor(random() * 120);
        let turns = 0;
        const current = bench;
        runScenario(current, random, () => (current.queue.step(), (turns += 1) < lifetime));
        compactions += current.notes.filter(({ text }) => text.endsWith("is done.")).length;
        const kind = random() < 0.5 ? "power" : "kill";
        const disk = newDisk();
        const left = current.storage.crash(random, kind, disk.queue.schedule);
        // Now and then the machine dies again while it opens the journal.
        let survivor = left;
        if (random() < 0.4) {
          beginOpen({ queue: disk.queue, storage: left }, small);
          for (let turn = Math.floor(random() * 6); turn > 0; turn -= 1) disk.queue.step();
          survivor = left.crash(random, "power");
          // What only a kill had spared may now be gone with the power, as long as nobody acted upon it.
          bench = reopen(survivor, random, "kill");
          checkSurvivors(current, before, bench.state.records, "power");
        } else {
          bench = open({ queue: disk.queue, storage: left }, small);
          checkSurvivors(current, before, bench.state.records, kind);
        }
      }
    }
    expect(compactions).toBeGreaterThan(50);
  });

  it("just after opening keeps what the opening read, though it was never synced by its writer", () => {
    const bench = open();
    bench.commit(promise(1));
    bench.queue.step(); // written, not synced: not released
    expect(bench.released).toEqual([]);
    const again = reopen(bench.storage, () => 0.99, "kill");
    expect(again.state.records).toEqual([promise(1)]);
    expect(recordsIn(again.storage.crash(() => 0).files())).toEqual([promise(1)]);
  });
});

it("a snapshot whose name is not on disk yet takes nothing away at the next opening", () => {
  const settings = { segmentBytes: 500, compactAfterBytes: 1_000 };
  /** What a server leaves that is killed when its snapshot has its name, and the folder is not synced yet. */
  const killedServer = (): { bench: Bench; commits: number } => {
    const bench = open(undefined, settings);
    const renames: string[] = [];
    bench.storage.fault = ({ kind, name }) => void (kind === "rename" && renames.push(name));
    let commits = 0;
    for (; renames.length === 0; commits += 1) {
      bench.commit(promise(commits, padding(commits, 100)));
      while (renames.length === 0 && bench.queue.step());
    }
    return { bench, commits };
  };
  // The power fails at every step of the next opening: of all changes to names, only removals get to the disk.
  for (let steps = 0; steps < 20; steps += 1) {
    const { bench, commits } = killedServer();
    const disk = newDisk();
    const left = bench.storage.crash(() => 0.1, "kill", disk.queue.schedule);
    expect(left.list().some((name) => name.endsWith(".snap"))).toBe(true);
    beginOpen({ queue: disk.queue, storage: left }, settings);
    for (let step = 0; step < steps; step += 1) disk.queue.step();
    const found = recordsIn(left.crash(() => 0.1).files());
    expect(found.length).toBeGreaterThanOrEqual(commits - 1);
  }
});

describe("cases 6 and 7: a failing disk", () => {
  const faults: readonly Fault[] = [
    { code: "ENOSPC", written: 0 },
    { code: "ENOSPC", written: 11 },
    { code: "EIO", written: 60 },
  ];

  it.each(faults)("$code after $written bytes, at every change: nothing is released after it", (fault) => {
    let fatal = 0;
    let survived = 0;
    for (let index = 0; ; index += 1) {
      const disk = newDisk();
      let failedAt: number | undefined;
      let releasedThen: number | undefined;
      disk.storage.fault = (change) => {
        if (change.index !== index) return undefined;
        failedAt = index;
        return fault;
      };
      const opening = beginOpen(disk, small);
      disk.queue.drain();
      if (opening.bench === undefined) {
        expect(opening.error).toMatchObject({ code: "bad-file", facts: { errno: fault.code } });
        continue;
      }
      const bench = opening.bench;
      runScenario(bench, seedrandom("faults"), () => {
        bench.queue.step();
        if (bench.fatal.length > 0) releasedThen ??= bench.released.length;
        return true;
      });
      bench.queue.drain();
      if (failedAt === undefined) break;
      if (bench.fatal.length > 0) {
        fatal += 1;
        expect(bench.fatal.length).toBe(1);
        expect(bench.fatal[0]).toMatchObject({ code: "bad-file", facts: { errno: fault.code } });
        expect(bench.released.length).toBe(releasedThen);
        const changes = bench.storage.changes;
        bench.commit(promise(1));
        bench.queue.drain();
        expect([bench.storage.changes, bench.released.length]).toEqual([changes, releasedThen]);
      } else {
        // A compaction failed: the journal goes on without it.
        survived += 1;
        expect(bench.notes.filter(({ level }) => level === "error").length).toBe(1);
        expect(bench.released.length).toBe(bench.commits.length);
      }
      const again = reopen(bench.storage, seedrandom(`after ${index}`), "kill");
      checkSurvivors(bench, [], again.state.records.slice(0), "power");
      expectTidy(again);
    }
    expect(fatal).toBeGreaterThan(20);
    expect(survived).toBeGreaterThan(10);
  });

  it("is not asked to sync again after EIO, whichever sync it was: the system may have dropped the bytes", () => {
    let syncs = 0;
    for (let failing = 0; ; failing += 1) {
      const disk = newDisk();
      let seen = 0;
      let after = 0;
      let failedAt: number | undefined;
      disk.storage.fault = ({ kind, name }) => {
        if (kind !== "sync" && kind !== "syncFolder") return undefined;
        // A snapshot that cannot be synced is given up, and the journal goes on without it.
        if (name.endsWith(".tmp")) return undefined;
        if (failedAt !== undefined) after += 1;
        if (seen++ !== failing) return undefined;
        failedAt = seen;
        return { code: "EIO" };
      };
      const opening = beginOpen(disk, { segmentBytes: 700 });
      disk.queue.drain();
      const bench = opening.bench;
      let released: number | undefined;
      if (bench !== undefined) {
        runScenario(bench, seedrandom("syncs"), () => {
          bench.queue.step();
          if (failedAt !== undefined) released ??= bench.released.length;
          return true;
        });
        let closed: unknown;
        bench.journal.close((error) => (closed = error));
        bench.queue.drain();
        if (failedAt === undefined) break;
        expect(closed).toMatchObject({ code: "bad-file", facts: { errno: "EIO" } });
        expect(bench.released.length).toBe(released);
      } else expect(opening.error).toMatchObject({ facts: { errno: "EIO" } });
      expect(after).toBe(0);
      syncs += 1;
    }
    expect(syncs).toBeGreaterThan(15);
  });

  it("that was full goes on after a restart, with all that was acknowledged", () => {
    for (let index = 5; index < 60; index += 3) {
      const bench = open(undefined, small);
      bench.storage.fault = (change) =>
        change.kind === "append" && change.index >= index ? { code: "ENOSPC", written: 9 } : undefined;
      runScenario(bench, seedrandom(`full ${index}`), () => (bench.queue.step(), true));
      bench.queue.drain();
      expect(bench.fatal.length).toBe(1);
      bench.storage.fault = () => undefined; // space was made
      const again = reopen(bench.storage, seedrandom("full"), "kill");
      checkSurvivors(bench, [], [...again.state.records], "kill");
      again.commit(promise(7));
      again.queue.drain();
      expect(again.released).toEqual([0]);
    }
  });

  it("says what failed, where, and what to do", () => {
    const bench = open();
    bench.storage.fault = ({ kind }) => (kind === "sync" ? { code: "EIO" } : undefined);
    bench.commit(promise(1));
    bench.queue.drain();
    expect(bench.fatal[0]?.message).toMatch(/sync of journal-0{15}1\.log failed with EIO.*Check the disk/);
    expect(bench.fatal[0]?.facts).toMatchObject({
      operation: "sync",
      errno: "EIO",
      file: "journal-0000000000000001.log",
    });
    let closed: unknown;
    bench.journal.close((error) => (closed = error));
    bench.queue.drain();
    expect(closed).toBe(bench.fatal[0]);
  });
});

describe.each(["power", "kill"] as const)("case 8: a snapshot interrupted at each step: %s", (kind) => {
  it("leaves the older files or the new snapshot in force, and no partial file after the next start", () => {
    const settings = { segmentBytes: 500, compactAfterBytes: 1_000 };
    const kinds = new Set<string>();
    let older = 0;
    let newer = 0;
    for (let steps = 0, ended = false; !ended; steps += 1) {
      // A journal that has a snapshot already, up to where the next compaction begins.
      const bench = open(undefined, settings);
      for (let n = 0; bench.notes.length < 1; n += 1) {
        bench.commit(promise(n, padding(n, 100)));
        bench.queue.drain();
      }
      const [first] = snapshotsOf(bench.storage);
      while (!bench.journal.isCompacting) {
        bench.commit(promise(bench.commits.length, padding(9, 100)));
        expect(bench.queue.step()).toBe(true);
      }
      bench.storage.fault = ({ kind: change, name }) => {
        if (/snap|^$/.test(name) || change === "remove") kinds.add(`${change} ${name.replace(/\d+/, "N")}`);
        return undefined;
      };
      for (let step = 0; step < steps && !ended; step += 1) ended = !bench.queue.step();
      // With the usual sizes, so that no other compaction begins.
      const { queue } = newDisk();
      const again = open({
        queue,
        storage: bench.storage.crash(seedrandom(`step ${steps}`), kind, queue.schedule),
      });
      checkSurvivors(bench, [], [...again.state.records], kind);
      expectTidy(again);
      if (snapshotsOf(again.storage)[0] === first) older += 1;
      else newer += 1;
    }
    for (const step of ["create", "append", "sync", "rename"])
      expect([...kinds]).toContain(`${step} snapshot-N.snap.tmp`);
    expect([...kinds]).toEqual(
      expect.arrayContaining(["syncFolder ", "remove snapshot-N.snap", "remove journal-N.log"]),
    );
    expect(older).toBeGreaterThan(4);
    expect(newer).toBeGreaterThan(2);
  });
});
const snapshotsOf = (storage: MemoryStorage): string[] =>
  storage.list().filter((name) => name.startsWith("snapshot-"));

describe("compaction", () => {
  it("makes the state that plain replay makes, and drops the files before it", () => {
    const settings = { segmentBytes: 20_000, compactAfterBytes: 60_000 };
    const bench = open(undefined, settings);
    const plain = open(undefined, { segmentBytes: 20_000 });
    const random = seedrandom("compaction");
    for (let group = 0; group < 60; group += 1) {
      const from = bench.commits.length;
      commitSome(bench, 100, random);
      for (const commit of bench.commits.slice(from)) plain.commit(...commit);
      bench.queue.drain();
      plain.queue.drain();
    }
    expect(bench.notes.filter(({ text }) => text.endsWith("is done.")).length).toBeGreaterThan(2);
    const names = bench.storage.list().toSorted();
    expect(names.filter((name) => name.startsWith("snapshot-")).length).toBe(1);
    expect(names.length).toBeLessThan(6);
    expect(plain.storage.list().length).toBeGreaterThan(10);
    expect(recordsIn(bench.storage.files())).toEqual(recordsIn(plain.storage.files()));
    expect(recordsIn(plain.storage.files())).toEqual(bench.commits.flat());
  });

  it("leaves the writer free: commits are released between its slices", () => {
    const bench = open(undefined, { segmentBytes: 40_000, compactAfterBytes: 1, batchBytes: 10_000 });
    for (let n = 0; n < 3_000; n += 1) bench.commit(promise(n));
    while (!bench.journal.isCompacting) expect(bench.queue.step()).toBe(true);
    let releasedWhile = 0;
    while (bench.journal.isCompacting) {
      const before = bench.released.length;
      bench.commit(promise(1));
      bench.queue.step();
      bench.queue.step();
      releasedWhile += bench.released.length - before;
    }
    expect(releasedWhile).toBeGreaterThan(4);
  });

  it("begins at opening when enough is sealed already", () => {
    const bench = open(undefined, { segmentBytes: 500 });
    for (let n = 0; n < 50; n += 1) {
      bench.commit(promise(n, padding(n, 100)));
      bench.queue.drain();
    }
    const again = open(bench.storage.files(), { segmentBytes: 500, compactAfterBytes: 1_000 });
    expect(again.storage.list().length).toBe(2);
    expect(recordsIn(again.storage.files())).toEqual(bench.commits.flat());
  });

  it("that meets damage is told of, and changes nothing", () => {
    const settings = { segmentBytes: 500, compactAfterBytes: 1_000 };
    const fill = (bench: Bench, count: number): void => {
      for (let n = 0; n < count; n += 1) {
        bench.commit(promise(n, padding(n, 100)));
        bench.queue.drain();
      }
    };
    const bench = open(undefined, settings);
    fill(bench, 12);
    const [name] = bench.storage.list().filter((file) => file.startsWith("snapshot-"));
    const whole = bench.storage.read(name ?? "");
    // Without its end frame: { items } with a number below 128.
    bench.storage.put(name ?? "", whole.subarray(0, whole.length - (16 + 8)));
    const before = bench.notes.length;
    fill(bench, 12);
    const told = bench.notes.slice(before);
    expect(told[0]).toMatchObject({ level: "error" });
    expect(told[0]?.text).toContain("the snapshot ends before its last item");
    expect(bench.released.length).toBe(24);
    bench.storage.put(name ?? "", whole);
    expect(recordsIn(bench.storage.files())).toEqual(bench.commits.flat());
  });

  it("is given up when the journal closes", () => {
    const bench = open(undefined, small);
    for (let n = 0; n < 200; n += 1) bench.commit(promise(n, padding(n, 100)));
    while (!bench.journal.isCompacting) expect(bench.queue.step()).toBe(true);
    let closed = false;
    bench.journal.close(() => (closed = true));
    bench.queue.drain();
    expect([closed, bench.released.length, partialFiles(bench.storage)]).toEqual([true, 200, []]);
    expect(recordsIn(bench.storage.files())).toEqual(bench.commits.flat());
  });
});
