import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import { DurableState } from "@rain/server/core";
import {
  applyRepair,
  exportRecords,
  exportState,
  inspect,
  planRepair,
  type RepairPlan,
} from "@rain/server/journal-tools";
import { openJournal } from "../../packages/server/src/journal/index.ts";
import { encodeHeader } from "../../packages/server/src/journal/header.ts";
import { recover } from "../../packages/server/src/journal/recover.ts";
import type { MemoryStorage } from "../support/memory-storage.ts";
import { history } from "./golden-journal/history.ts";
import { newDisk, open, thrownBy } from "./journal-support.ts";

// Much is tried in each test: on a busy machine that takes longer than a test usually may.
vi.setConfig({ testTimeout: 120_000 });

const CLUSTER = "golden-cluster";
const FIRST = "journal-0000000000000001.log";
type Files = Map<string, Uint8Array>;

/** The golden history as a journal, one frame a record; `ends` are where the frames of the only segment end. */
function write(settings: { segmentBytes?: number; compactAfterBytes?: number } = {}): {
  files: Files;
  ends: number[];
} {
  const { queue, storage } = newDisk();
  const ends: number[] = [];
  openJournal(
    {
      storage,
      clusterId: CLUSTER,
      newState: () => new DurableState(),
      onFatal: (error) => expect.fail(error.message),
      ...settings,
    },
    (error, opened) => {
      expect(error).toBeUndefined();
      const next = (at: number): void => {
        const record = history[at];
        if (record === undefined) return;
        opened?.journal.commit([record], () => {
          ends.push(storage.read(storage.list().at(-1) ?? "").length);
          queue.schedule(() => next(at + 1));
        });
      };
      next(0);
    },
  );
  queue.drain();
  return { files: storage.files(), ends };
}

const whole = write();
const segment = (): Buffer => Buffer.from(whole.files.get(FIRST) ?? []);
const endOf = (frame: number): number => whole.ends[frame - 1] ?? HEADER;
const HEADER = encodeHeader({ kind: "segment", clusterId: CLUSTER, sequence: 1 }).length;

/** The state that the first `count` records make. */
function stateAfter(count: number): unknown[] {
  const state = new DurableState();
  for (const record of history.slice(0, count)) state.apply(record);
  return plainOf(state);
}
const plainOf = (state: DurableState): unknown[] =>
  JSON.parse(JSON.stringify([...state.dump()])) as unknown[];
function stateIn(storage: MemoryStorage): unknown[] {
  const state = new DurableState();
  recover(storage, CLUSTER, state);
  return plainOf(state);
}

/** Repairs these files; the plan and the files after it. */
function repair(files: Files, clusters: string[] = []): { plan: RepairPlan; storage: MemoryStorage } {
  const { queue, storage } = newDisk(files);
  const plan = planRepair(storage, clusters);
  expect(storage.changes).toBe(0);
  applyRepair(storage, plan, (error) => expect(error).toBeUndefined());
  queue.drain();
  expect(planRepair(storage).damage).toBeUndefined();
  return { plan, storage };
}
const flipped = (bytes: Buffer, at: number, bit: number): Buffer => {
  const made = Buffer.from(bytes);
  made[at] = (made[at] ?? 0) ^ bit;
  return made;
};
/** More than one bit: that cannot be put right. */
const broken = (bytes: Buffer, at: number): Buffer => flipped(bytes, at, 0x5a);

describe("check", () => {
  it("says what is there", () => {
    const seen = inspect(newDisk(whole.files).storage);
    expect(seen).toMatchObject({
      clusterId: CLUSTER,
      flaws: [],
      problem: undefined,
      tornTail: undefined,
      content: { records: history.length, sessions: [1, 2], unreadable: 0 },
      state: { nextSequence: history.length + 1, sessions: 1, openSessions: 1, tasks: 2, governors: 2 },
    });
    expect(seen.files).toEqual([
      {
        name: FIRST,
        kind: "segment",
        bytes: segment().length,
        frames: history.length,
        first: 1,
        last: history.length,
        holds: history.length,
        covered: false,
      },
    ]);
  });

  it("finds every damaged place, not only the first", () => {
    const bytes = broken(broken(segment(), endOf(3) + 20), endOf(7) + 20);
    const seen = inspect(newDisk(new Map([[FIRST, bytes]])).storage);
    expect(seen.flaws).toEqual([
      { file: FIRST, offset: endOf(3), end: endOf(4), why: "the checksum of a frame does not match" },
      { file: FIRST, offset: endOf(7), end: endOf(8), why: "the checksum of a frame does not match" },
    ]);
    expect(seen.problem?.facts).toMatchObject({ file: FIRST, offset: endOf(3) });
    expect(seen.files[0]?.frames).toBe(history.length - 2);
  });

  it("tells a torn tail from damage", () => {
    const cut = segment().subarray(0, -3);
    const seen = inspect(newDisk(new Map([[FIRST, cut]])).storage);
    const offset = endOf(history.length - 1);
    expect(seen).toMatchObject({
      flaws: [],
      problem: undefined,
      tornTail: { file: FIRST, offset, bytes: cut.length - offset },
    });
  });

  it("knows an empty folder, and a segment that was not made to its end", () => {
    expect(inspect(newDisk().storage)).toMatchObject({ files: [], problem: undefined });
    const torn = new Map([[FIRST, segment().subarray(0, 20)]]);
    expect(inspect(newDisk(torn).storage, CLUSTER)).toMatchObject({ flaws: [], problem: undefined });
  });
});

describe("repair", () => {
  it("leaves a sound journal alone, also with a torn tail", () => {
    for (const bytes of [segment(), segment().subarray(0, -3)]) {
      const plan = planRepair(newDisk(new Map([[FIRST, bytes]])).storage);
      expect([plan.damage, plan.cut.size, plan.write.size, plan.remove]).toEqual([undefined, 0, 0, []]);
    }
  });

  it("case 5: cuts at the first damage and says exactly what is lost", () => {
    for (let frame = 2; frame < history.length; frame += 1) {
      const bytes = broken(segment(), endOf(frame - 1) + 18);
      const { plan, storage } = repair(new Map([[FIRST, bytes]]));
      const lost = history.slice(frame); // sound, behind the damage
      expect(plan.damage?.facts).toMatchObject({ file: FIRST, offset: endOf(frame - 1) });
      expect(plan.lastKept).toBe(frame - 1);
      expect([...plan.cut]).toEqual([[FIRST, endOf(frame - 1)]]);
      expect(plan.lost).toMatchObject({
        sequences: [frame, history.length],
        frames: lost.length,
        damagedFrames: 1,
        unreadableBytes: endOf(frame) - endOf(frame - 1),
      });
      const types = new Map<string, number>();
      for (const { type } of lost) types.set(type, (types.get(type) ?? 0) + 1);
      expect(plan.lost.content.byType).toEqual(Object.fromEntries(types));
      expect(plan.lost.content.records).toBe(lost.length);
      expect(stateIn(storage)).toEqual(stateAfter(frame - 1));
    }
  });

  it("loses nothing for damage in the header: one half of it tells the other", () => {
    for (let bit = 0; bit < HEADER * 8; bit += 1) {
      const bytes = flipped(segment(), bit >> 3, 1 << (bit & 7));
      const { plan, storage } = repair(new Map([[FIRST, bytes]]), [CLUSTER]);
      expect(plan.lost.sequences).toBeUndefined();
      expect([...plan.write.keys()]).toEqual([FIRST]);
      expect(stateIn(storage)).toEqual(stateAfter(history.length));
    }
  });

  it("case 5: puts one flipped bit right, wherever it is, and loses nothing", () => {
    for (let bit = HEADER * 8; bit < segment().length * 8; bit += 37) {
      const bytes = flipped(segment(), bit >> 3, 1 << (bit & 7));
      // The last byte, left with no bit at all: that is a tail of zeros.
      if (bytes.at(-1) === 0) continue;
      const frame = whole.ends.findIndex((end) => end > bit >> 3) + 1;
      const { plan, storage } = repair(new Map([[FIRST, bytes]]));
      expect(plan.mended, `bit ${bit}`).toEqual([{ file: FIRST, offset: bit >> 3, sequence: frame }]);
      expect(plan.lost.sequences).toBeUndefined();
      expect(Buffer.from(storage.read(FIRST)).equals(segment())).toBe(true);
    }
  });

  const parts = write({ segmentBytes: 1_500 });
  const names = [...parts.files.keys()].toSorted();

  it("removes what comes behind a segment that is missing, and says which frames there were", () => {
    expect(names.length).toBeGreaterThan(3);
    const [first = "", missing = "", ...rest] = names;
    const { plan, storage } = repair(new Map([...parts.files].filter(([name]) => name !== missing)));
    const kept = Number(/\d{16}/.exec(missing)?.[0]) - 1;
    expect(plan).toMatchObject({ lastKept: kept, remove: rest });
    expect(plan.damage?.message).toContain(`${missing} is damaged at byte 0: it is missing`);
    const sound = history.length - Number(/\d{16}/.exec(rest[0] ?? "")?.[0]) + 1;
    expect(plan.lost).toMatchObject({
      sequences: [kept + 1, history.length],
      frames: sound,
      damagedFrames: history.length - kept - sound,
    });
    expect(storage.list()).toEqual([first]);
    expect(stateIn(storage)).toEqual(stateAfter(kept));
  });

  it("goes on behind a snapshot whose next segment is gone", () => {
    const { files } = write({ segmentBytes: 1_500, compactAfterBytes: 3_000 });
    const [snapshot = ""] = [...files.keys()].filter((name) => name.startsWith("snapshot-"));
    const upTo = Number(/\d{16}/.exec(snapshot)?.[0]);
    const { plan, storage } = repair(new Map([[snapshot, files.get(snapshot) ?? new Uint8Array()]]));
    expect(plan.lastKept).toBe(upTo);
    expect(stateIn(storage)).toEqual(stateAfter(upTo));
    expect(storage.list().length).toBe(2);
  });

  it("uses the segments that a damaged snapshot covers, when they are still there", () => {
    const compacted = write({ segmentBytes: 1_500, compactAfterBytes: 3_000 }).files;
    const [snapshot = ""] = [...compacted.keys()].filter((name) => name.startsWith("snapshot-"));
    const damagedSnapshot = broken(Buffer.from(compacted.get(snapshot) ?? []), 200);
    const { plan, storage } = repair(new Map([...parts.files, [snapshot, damagedSnapshot]]));
    expect(plan).toMatchObject({ remove: [snapshot], lost: { sequences: undefined } });
    expect(stateIn(storage)).toEqual(stateAfter(history.length));
  });

  it.each<[string, () => Files]>([
    [
      "its snapshot, the only one",
      () => {
        const { files } = write({ segmentBytes: 1_500, compactAfterBytes: 3_000 });
        const [snapshot = ""] = [...files.keys()].filter((name) => name.startsWith("snapshot-"));
        return files.set(snapshot, broken(Buffer.from(files.get(snapshot) ?? []), 200));
      },
    ],
    ["its first frame", () => new Map([[FIRST, broken(segment(), HEADER + 20)]])],
    ["its first segment, gone", () => new Map([...parts.files].filter(([name]) => name !== names[0]))],
  ])("refuses when nothing can be kept: damage in %s", (_, files) => {
    const { storage } = newDisk(files());
    const error = thrownBy(() => planRepair(storage));
    expect(error).toMatchObject({ code: "bad-file" });
    expect(error.message).toContain("Nothing before the damage can be kept");
    expect(storage.changes).toBe(0);
  });

  it("case 10: does not touch a journal that is newer, or of two clusters", () => {
    const newer = encodeHeader({ kind: "segment", clusterId: CLUSTER, sequence: 1 }, 2);
    expect(thrownBy(() => planRepair(newDisk(new Map([[FIRST, newer]])).storage)).message).toContain(
      "journal format 2, and this server reads up to format 1",
    );
    const foreign = open(new Map([...whole.files]), { clusterId: CLUSTER });
    foreign.queue.drain();
    const mixed = new Map(parts.files).set(
      names[1] ?? "",
      encodeHeader({
        kind: "segment",
        clusterId: "another",
        sequence: Number(/\d{16}/.exec(names[1] ?? "")?.[0]),
      }),
    );
    expect(thrownBy(() => planRepair(newDisk(mixed).storage)).message).toContain(
      'belongs to cluster "another"',
    );
  });

  it.each(["stop", "fail"] as const)("can be made again when it %ss at any step", (how) => {
    const [first = ""] = names;
    const bytes = Buffer.from(parts.files.get(first) ?? []);
    // The second frame, and the header of the first file: all kinds of changes are needed.
    const at = HEADER + 16 + bytes.readUInt32BE(HEADER);
    const files = new Map(parts.files).set(first, flipped(broken(bytes, at + 20), 9, 1));
    const expected = repair(files, [CLUSTER]).storage;
    let steps = 0;
    for (let index = 0; ; index += 1) {
      const { queue, storage } = newDisk(files);
      let failed = false;
      if (how === "fail")
        storage.fault = (change) => (change.index === index ? { code: "ENOSPC", written: 5 } : undefined);
      applyRepair(storage, planRepair(storage, [CLUSTER]), (error) => (failed = error !== undefined));
      if (how === "fail") queue.drain();
      else for (let step = 0; step < index; step += 1) queue.step();
      const done = how === "fail" ? !failed : storage.changes === index && !queue.step();
      const left = how === "fail" ? storage : storage.crash(() => 0.5, "kill");
      const again = newDisk(left.files());
      applyRepair(again.storage, planRepair(again.storage, [CLUSTER]), (error) =>
        expect(error).toBeUndefined(),
      );
      again.queue.drain();
      expect(stateIn(again.storage)).toEqual(stateIn(expected));
      if (done) break;
      steps += 1;
    }
    expect(steps).toBeGreaterThan(4);
  });
});

describe("export", () => {
  const folder = new URL("./golden-journal/format-1/", import.meta.url);
  const golden = (): MemoryStorage =>
    newDisk(
      new Map(
        readdirSync(folder).map((name) => [name, readFileSync(new URL(name, folder))] as [string, Buffer]),
      ),
    ).storage;

  it("gives every record; values of environments, request keys and long bytes are left out", () => {
    const lines = [...exportRecords(newDisk(whole.files).storage, CLUSTER)];
    expect(lines.map((line) => ("sequence" in line ? line.sequence : 0))).toEqual(
      history.map((_, at) => at + 1),
    );
    const text = JSON.stringify(lines);
    expect(text).not.toContain("s3cret");
    expect(text).not.toContain("key-of-");
    expect(text).toContain('"TOKEN":"(6 characters)"');
    expect(text).toContain('{"bytes":300,"base64":"AAEC');
    expect(text.length).toBeLessThan(20_000);
  });

  it("gives what comes before the damage, then says where that is", () => {
    const { storage } = newDisk(new Map([[FIRST, broken(segment(), endOf(5) + 18)]]));
    const seen: unknown[] = [];
    const error = thrownBy(() => {
      for (const line of exportRecords(storage, CLUSTER)) seen.push(line);
    });
    expect(seen.length).toBe(5);
    expect(error.facts).toMatchObject({ file: FIRST, offset: endOf(5) });
  });

  it("R14: the golden folder of each format is read to the records and the state that it was written with", () => {
    const expected = JSON.parse(
      readFileSync(new URL("./golden-journal/format-1.json", import.meta.url), "utf8"),
    ) as { records: object[]; state: { item: { type: string } }[] };
    const plain = (lines: Iterable<unknown>): unknown => JSON.parse(JSON.stringify([...lines]));
    // A later version may say more of each, never less.
    expect(plain(exportRecords(golden(), CLUSTER))).toMatchObject(expected.records);
    const types = new Set(expected.state.map(({ item }) => item.type));
    const state = plain(exportState(golden(), CLUSTER)) as typeof expected.state;
    expect(state.filter(({ item }) => types.has(item.type))).toMatchObject(expected.state);
    expect(stateIn(golden())).toEqual(stateAfter(history.length));
    expect(inspect(golden()).problem).toBeUndefined();
  });

  it("R14: this version writes the segments of the golden folder, byte for byte", () => {
    const { files } = write({ segmentBytes: 1_500, compactAfterBytes: 3_000 });
    const written = [...files].filter(([name]) => name.startsWith("journal-"));
    expect(written.length).toBeGreaterThan(1);
    for (const [name, bytes] of written) expect(Buffer.from(bytes).equals(golden().read(name))).toBe(true);
  });
});
