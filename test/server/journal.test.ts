import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import seedrandom from "seedrandom";
import { asSessionId, asTaskId } from "@rain/protocol";
import { DurableState } from "@rain/server/core";
import type { ServerRecord } from "../../packages/server/src/core/types.ts";
import { decodeFrame, encodeFrame } from "../../packages/server/src/journal/frame.ts";
import { pack, unpack } from "../../packages/server/src/journal/records.ts";
import { encodeHeader } from "../../packages/server/src/journal/header.ts";
import {
  beginOpen,
  CLUSTER,
  hint,
  newDisk,
  open,
  padding,
  promise,
  recordsIn,
  thrownBy,
} from "./journal-support.ts";
import { everyRecord, goldenArrays, goldenRecords } from "./journal-records.ts";

const FIRST = "journal-0000000000000001.log";

describe("journal", () => {
  it("gives back every type of record as it was", () => {
    const bench = open();
    for (const record of everyRecord) bench.commit(record);
    bench.queue.drain();
    expect(recordsIn(bench.storage.files())).toEqual(everyRecord);
  });

  it("begins in an empty folder and goes on in the same segment after a restart", () => {
    const bench = open();
    expect(bench.journal.nextSequence).toBe(1);
    bench.commit(promise(1), promise(2));
    bench.queue.drain();
    const again = open(bench.storage.files());
    again.commit(promise(3));
    again.queue.drain();
    expect(again.storage.list()).toEqual([FIRST]);
    expect(recordsIn(again.storage.files())).toEqual([promise(1), promise(2), promise(3)]);
  });

  it("releases in order of commit, a promise only after its sync, a hint without one", () => {
    const bench = open();
    const syncs = (): number => changes.filter((kind) => kind === "sync").length;
    const changes: string[] = [];
    bench.storage.fault = ({ kind }) => void changes.push(kind);
    bench.commit(hint(1));
    bench.queue.drain();
    expect([bench.released, syncs()]).toEqual([[0], 0]);
    bench.commit(promise(2));
    bench.queue.step(); // the end of the turn
    bench.commit();
    bench.commit(hint(3));
    bench.queue.step(); // the append
    expect(bench.released).toEqual([0]);
    bench.queue.step(); // the sync
    expect([bench.released, syncs()]).toEqual([[0, 1], 1]);
    bench.queue.step(); // the end of the turn: what needs no disk is released
    expect([bench.released, syncs()]).toEqual([[0, 1, 2], 1]);
    bench.queue.drain();
    expect([bench.released, syncs()]).toEqual([[0, 1, 2, 3], 1]);
  });

  it("releases a commit without records at once when nothing waits", () => {
    const bench = open();
    bench.commit();
    expect(bench.released).toEqual([0]);
  });

  it("puts commits of one turn into one append and one sync, and those that come during a sync into the next", () => {
    const bench = open();
    const before = bench.storage.changes;
    for (let n = 0; n < 500; n += 1) bench.commit(promise(n));
    bench.commit(hint(500));
    bench.queue.step(); // the end of the turn
    bench.queue.step(); // the append
    expect(bench.storage.changes - before).toBe(2);
    for (let n = 501; n < 1_000; n += 1) bench.commit(promise(n));
    bench.queue.drain();
    expect(bench.storage.changes - before).toBe(4);
    expect(bench.released).toEqual(Array.from({ length: 1_000 }, (_, n) => n));
  });

  it("keeps the order when a release commits again", () => {
    const bench = open();
    const order: string[] = [];
    bench.journal.commit([promise(1)], () => {
      order.push("a");
      bench.journal.commit([], () => order.push("c"));
    });
    bench.journal.commit([promise(2)], () => order.push("b"));
    bench.queue.drain();
    expect(order).toEqual(["a", "b", "c"]);
  });

  it("does not hand a record that is changed after its commit to the disk", () => {
    const bench = open();
    const tasks = [asTaskId(1), asTaskId(2)];
    bench.commit(promise(0), { type: "cancelled", session: asSessionId(1), tasks });
    tasks.pop();
    bench.queue.drain();
    expect(recordsIn(bench.storage.files())[1]).toMatchObject({ tasks: [1, 2] });
  });

  it("begins a new segment when one is full, and reads across them", () => {
    const bench = open(undefined, { segmentBytes: 2_000 });
    for (let n = 0; n < 100; n += 1) {
      bench.commit(promise(n, padding(n, 100)));
      bench.queue.drain();
    }
    expect(bench.storage.list().length).toBeGreaterThan(5);
    expect(recordsIn(bench.storage.files())).toEqual(bench.commits.flat());
  });

  it("closes with everything released and synced", () => {
    const bench = open();
    bench.commit(promise(1));
    bench.commit(hint(2));
    let closed = false;
    bench.journal.close((error) => {
      expect(error).toBeUndefined();
      closed = true;
    });
    bench.queue.drain();
    expect([closed, bench.released, bench.storage.isClosed]).toEqual([true, [0, 1], true]);
    expect(recordsIn(bench.storage.crash(seedrandom("close")).files())).toEqual([promise(1), hint(2)]);
  });
});

const filesWith = (...commits: ServerRecord[]): Map<string, Uint8Array> => {
  const bench = open();
  for (const record of commits) bench.commit(record);
  bench.queue.drain();
  return bench.storage.files();
};

describe("files that a server must not use", () => {
  it.each(["segment", "snapshot"] as const)(
    "case 10: refuses a newer format and says which is needed: a %s",
    (kind) => {
      const name = kind === "segment" ? FIRST : "snapshot-0000000000000001.snap";
      const header = encodeHeader({ kind, clusterId: CLUSTER, sequence: 1 }, 2);
      const disk = newDisk(new Map([[name, header]]));
      const error = thrownBy(() => beginOpen(disk));
      disk.queue.drain();
      expect(disk.storage.changes).toBe(0);
      expect(error.code).toBe("bad-file");
      expect(error.message).toContain("journal format 2, and this server reads up to format 1");
      expect(error.message).toContain("Start a version of the server that reads format 2");
      expect(error.facts).toMatchObject({ file: name, format: 2, supported: 1 });
    },
  );

  it("refuses the journal of another cluster", () => {
    const error = thrownBy(() => open(filesWith(promise(1)), { clusterId: "other" }));
    expect(error.message).toMatch(/belongs to cluster "test-cluster".*"other"/);
  });

  it("refuses a renamed segment, a missing one and a gap", () => {
    const bench = open(undefined, { segmentBytes: 500 });
    for (let n = 0; n < 20; n += 1) {
      bench.commit(promise(n, padding(n, 200)));
      bench.queue.drain();
    }
    const files = bench.storage.files();
    const names = [...files.keys()].toSorted();
    const without = (index: number): Map<string, Uint8Array> =>
      new Map([...files].filter(([name]) => name !== names[index]));
    expect(thrownBy(() => open(without(0))).message).toContain(
      `${names[0]} is damaged at byte 0: it is missing`,
    );
    expect(thrownBy(() => open(without(2))).message).toContain(
      `${names[2]} is damaged at byte 0: it is missing`,
    );
    const renamed = without(1).set(names[1] ?? "", files.get(names[2] ?? "") ?? new Uint8Array());
    expect(thrownBy(() => open(renamed)).message).toContain("was it renamed?");
  });

  it("refuses a sound frame whose records it does not know", () => {
    const payload = pack([{ type: "from-the-future", session: 1 }]);
    const header = encodeHeader({ kind: "segment", clusterId: CLUSTER, sequence: 1 });
    const error = thrownBy(() =>
      open(new Map([[FIRST, Buffer.concat([header, encodeFrame(1, [payload])])]])),
    );
    expect(error.message).toContain('record 0 is of no known type: "from-the-future"');
    expect(error.facts).toMatchObject({ file: FIRST, sequence: 1 });
  });

  it("changes nothing when it refuses", () => {
    const files = filesWith(promise(1), promise(2), promise(3));
    const bytes = files.get(FIRST) ?? new Uint8Array();
    bytes[70] = (bytes[70] ?? 0) ^ 1;
    const disk = newDisk(files);
    const error = thrownBy(() => beginOpen(disk));
    expect(error.message).toContain(`${FIRST} is damaged at byte`);
    disk.queue.drain();
    expect(disk.storage.changes).toBe(0);
  });
});

// Kept under names without .log: those are ignored by git.
const golden = (name: string): Uint8Array => readFileSync(new URL(`./golden/${name}`, import.meta.url));

const segment = (first: number): [string, Uint8Array] => [
  `journal-${String(first).padStart(16, "0")}.log`,
  encodeHeader({ kind: "segment", clusterId: CLUSTER, sequence: first }),
];

describe("R14: journal of format 1, as every later version must read it", () => {
  it("reads the golden files", () => {
    const files = new Map([
      ["snapshot-0000000000000002.snap", golden("journal-1-snapshot.bin")],
      ["journal-0000000000000003.log", golden("journal-1-segment.bin")],
    ]);
    expect(recordsIn(files)).toEqual(goldenRecords);
  });

  it("writes what the golden segment holds, byte for byte", () => {
    const bench = open(
      new Map([["snapshot-0000000000000002.snap", golden("journal-1-snapshot.bin")], segment(3)]),
    );
    for (const record of goldenRecords.slice(2)) {
      bench.commit(record);
      bench.queue.drain();
    }
    const written = bench.storage.files().get("journal-0000000000000003.log") ?? new Uint8Array();
    expect(Buffer.from(written).equals(golden("journal-1-segment.bin"))).toBe(true);
  });

  it("reads the golden files of arrays: records, and the state after them", () => {
    const [name, header] = segment(1);
    const files = new Map([[name, golden("journal-1-arrays-segment.bin")]]);
    expect(recordsIn(files)).toEqual(goldenArrays);
    const bench = open(new Map([[name, header]]));
    for (const record of goldenArrays) {
      bench.commit(record);
      bench.queue.drain();
    }
    expect(
      Buffer.from(bench.storage.files().get(name) ?? []).equals(golden("journal-1-arrays-segment.bin")),
    ).toBe(true);
    const state = new DurableState();
    for (const record of goldenArrays) state.apply(record);
    const items = unpack(golden("journal-1-arrays-items.bin")) as unknown[];
    const loaded = new DurableState();
    for (const item of items) loaded.load(item);
    expect([...loaded.dump()]).toEqual([...state.dump()]);
    expect(loaded.session(asSessionId(7)).tasks.virtual).toBe(500);
  });

  it("has frames as the documentation says", () => {
    const bytes = Buffer.from(golden("journal-1-segment.bin"));
    expect(bytes.toString("latin1", 0, 8)).toBe("RAINJRNL");
    expect([bytes.readUInt32BE(8), bytes.readUInt32BE(12), bytes.readBigUInt64BE(16)]).toEqual([1, 12, 3n]);
    const decoded = decodeFrame(bytes, 24 + 12 + 4);
    expect(decoded).toMatchObject({ kind: "frame", frame: { sequence: 3 } });
  });
});
