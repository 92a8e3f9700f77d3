import { describe, expect, it } from "vitest";
import { RainError } from "@rain/protocol";
import type { ServerRecord } from "../../packages/server/src/core/types.ts";
import { scanFile, type FileSpec } from "../../packages/server/src/journal/scan.ts";
import { CLUSTER, hint, open, padding, promise, recordsIn, thrownBy, type Bench } from "./journal-support.ts";

const FIRST = "journal-0000000000000001.log";
const KiB = 1_024;

/** A journal of one frame a commit; `ends` are the sizes of its last file after each. */
function fill(count: number, recordBytes: number, settings = {}): { bench: Bench; ends: number[] } {
  const bench = open(undefined, settings);
  const ends: number[] = [];
  for (let n = 0; n < count; n += 1) {
    bench.commit(promise(n, padding(n, recordBytes)));
    bench.queue.drain();
    ends.push(bench.storage.read(bench.storage.list().at(-1) ?? "").length);
  }
  return { bench, ends };
}
const contentOf = (bench: Bench, name: string): Uint8Array =>
  bench.storage.files().get(name) ?? new Uint8Array();
const withFile = (bench: Bench, name: string, bytes: Uint8Array): Map<string, Uint8Array> =>
  bench.storage.files().set(name, bytes);

// Exhaustive tests: on a busy machine they take longer than a test usually may.
const LONG = 600_000;

describe("case 4: a last segment that was cut short", () => {
  const { bench, ends } = fill(46, 1_500);
  const bytes = contentOf(bench, FIRST);
  const spec: FileSpec = { kind: "segment", name: FIRST, sequence: 1, clusterId: CLUSTER };
  const wholeFrames = (size: number): number => ends.filter((end) => end <= size).length;

  it("keeps exactly the whole frames, at every byte of the last 64 KiB", { timeout: LONG }, () => {
    expect(bytes.length).toBeGreaterThan(64 * KiB);
    const header = scanFile(spec, bytes, true).frames[0]?.offset;
    for (let size = bytes.length - 64 * KiB; size <= bytes.length; size += 1) {
      const count = wholeFrames(size);
      const { frames, end } = scanFile(spec, bytes.subarray(0, size), true);
      if (frames.length !== count || end !== (ends[count - 1] ?? header))
        expect.fail(`cut to ${size} bytes: ${frames.length} frames up to ${end}`);
    }
  });

  it("opens to a prefix of the commits, says what was cut, and goes on from there", { timeout: LONG }, () => {
    for (let size = 44; size <= bytes.length; size += size % 1_500 < 100 ? 7 : 301) {
      const count = wholeFrames(size);
      const again = open(new Map([[FIRST, bytes.subarray(0, size)]]));
      expect(again.state.records).toEqual(bench.commits.flat().slice(0, count));
      const end = ends[count - 1] ?? 40;
      const cut =
        size === end
          ? []
          : [expect.stringContaining(`byte ${end} in a write that was cut short: ${size - end} bytes`)];
      expect(again.notes.map(({ text }) => text)).toEqual(cut);
      again.commit(promise(99));
      again.queue.drain();
      expect(recordsIn(again.storage.files()).slice(count)).toEqual([promise(99)]);
    }
  });

  it("begins again a segment whose header was cut short", () => {
    const sealed = fill(3, 300, { segmentBytes: 600 });
    const last = sealed.bench.storage.list().at(-1) ?? "";
    for (let size = 0; size < 40; size += 1) {
      const again = open(withFile(sealed.bench, last, contentOf(sealed.bench, last).subarray(0, size)));
      expect(again.state.records).toEqual(sealed.bench.commits.flat().slice(0, 2));
      expect(again.notes[0]?.text).toContain(`${last} was not made to the end`);
      expect(again.journal.nextSequence).toBe(3);
    }
  });

  it("cuts zeros and garbage after the last frame", () => {
    for (const fillByte of [0, 1, 0xff]) {
      const tail = Buffer.alloc(5_000, fillByte);
      expect(recordsIn(new Map([[FIRST, Buffer.concat([bytes, tail])]]))).toEqual(bench.commits.flat());
    }
  });

  it("refuses a hole of zeros when a sound frame comes after it", () => {
    const holed = Buffer.from(bytes);
    holed.fill(0, ends[9], ends[10]);
    const error = thrownBy(() => open(new Map([[FIRST, holed]])));
    expect(error.facts).toMatchObject({ file: FIRST, offset: ends[9], sequence: 11 });
    expect(error.message).toContain(`sound records follow at byte ${ends[10]}`);
  });
});

/** What a journal with this bit flipped holds, or the refusal. */
function flip(
  files: Map<string, Uint8Array>,
  bytes: Uint8Array,
  bit: number,
): readonly ServerRecord[] | RainError {
  const at = bit >> 3;
  const old = bytes[at] ?? 0;
  bytes[at] = old ^ (1 << (bit & 7));
  try {
    return open(files).state.records;
  } catch (error) {
    if (error instanceof RainError) return error;
    throw error;
  } finally {
    bytes[at] = old;
  }
}

describe("case 5: one flipped bit", () => {
  it("anywhere in the last 8 KiB is refused, also in the last frame", { timeout: LONG }, () => {
    const { bench, ends } = fill(20, 350);
    const files = bench.storage.files();
    const bytes = files.get(FIRST) ?? new Uint8Array();
    expect(bytes.length).toBeGreaterThan(8 * KiB);
    const from = bytes.length * 8 - 8 * KiB * 8;
    for (let bit = from; bit < bytes.length * 8; bit += 1) {
      const result = flip(files, bytes, bit);
      if (!(result instanceof RainError)) expect.fail(`bit ${bit}: ${result.length} records accepted`);
      const offset = ends.findLast((end) => end * 8 <= bit) ?? 40;
      if (result.code !== "bad-file" || result.facts["file"] !== FIRST || result.facts["offset"] !== offset)
        expect.fail(`bit ${bit}: ${result.message}`);
    }
  });

  it("in the last frame is told from a tail of zeros, which a file may have before its bytes", () => {
    const { bench, ends } = fill(3, 40);
    const bytes = Buffer.from(contentOf(bench, FIRST));
    for (let at = ends[1] ?? 0; at < bytes.length; at += 1) {
      const zeros = Buffer.from(bytes).fill(0, at);
      expect(recordsIn(new Map([[FIRST, zeros]])).length, `zeros from byte ${at}`).toBe(2);
    }
  });

  it("in a header, a sealed segment or a snapshot is always refused", { timeout: LONG }, () => {
    const { bench } = fill(11, 200, { segmentBytes: 700, compactAfterBytes: 1_400 });
    const files = bench.storage.files();
    const names = [...files.keys()].toSorted();
    expect(names.some((name) => name.startsWith("snapshot-"))).toBe(true);
    expect(names.length).toBeGreaterThan(2);
    const last = names.filter((name) => name.startsWith("journal-")).at(-1);
    for (const [name, bytes] of files) {
      const size = name === last ? 40 : bytes.length;
      for (let bit = 0; bit < size * 8; bit += name === last ? 1 : 3) {
        const result = flip(files, bytes, bit);
        if (!(result instanceof RainError) || result.facts["file"] !== name)
          expect.fail(`${name}, bit ${bit}`);
      }
    }
  });

  it("is told with its place", () => {
    const { bench, ends } = fill(5, 100);
    const bytes = Buffer.from(contentOf(bench, FIRST));
    bytes[(ends[1] ?? 0) + 40] = 0;
    const error = thrownBy(() => open(new Map([[FIRST, bytes]])));
    expect(error.message).toContain(
      `${FIRST} is damaged at byte ${ends[1]}: the checksum of a frame does not match`,
    );
    expect(error.facts).toMatchObject({ file: FIRST, offset: ends[1], sequence: 3 });
  });
});

it("hints that were not synced go with the tail, promises before them stay", () => {
  const bench = open();
  bench.commit(promise(1));
  bench.queue.drain();
  bench.commit(hint(2));
  bench.queue.drain();
  const crashed = bench.storage.crash(() => 0);
  expect(recordsIn(crashed.files())).toEqual([promise(1)]);
});
