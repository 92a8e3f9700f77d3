import { RainError } from "@rain/protocol";
import { DurableState } from "../../core/index.ts";
import { JournalDamage } from "../failure.ts";
import { findFlippedBit } from "../flipped.ts";
import type { Frame } from "../frame.ts";
import { claimedCluster, clusterIn, encodeHeader, isTornHeader, mendedHeader } from "../header.ts";
import { segmentName, sortNames, type FoundFile } from "../names.ts";
import { recover } from "../recover.ts";
import type { FileSpec } from "../scan.ts";
import type { StoredFiles } from "../storage.ts";
import { contentOf, survey, type Content, type Flaw, type Survey } from "./survey.ts";

/** What a repair does to the files. Nothing, when a server can start on them as they are. */
export interface RepairPlan {
  /** Files that get these bytes: a header that can be told for sure, or an empty segment to go on with. */
  readonly write: ReadonlyMap<string, Uint8Array>;
  /** Files that lose their end: the size that is kept. */
  readonly cut: ReadonlyMap<string, number>;
  readonly remove: readonly string[];
  /** Bits in frames that are put right: of these, all is as it was written. */
  readonly mended: readonly { readonly file: string; readonly offset: number; readonly sequence: number }[];
  /** Sequence of the last frame that is kept; undefined when nothing is done. */
  readonly lastKept: number | undefined;
  /** The first damage, as a server says it. */
  readonly damage: RainError | undefined;
  readonly lost: Loss;
}

/** What is not in the journal any more after a repair. */
export interface Loss {
  /** Sequences of the frames, both ends included; undefined when nothing is lost. */
  readonly sequences: readonly [first: number, last: number] | undefined;
  /** Frames that are sound, behind the damage. */
  readonly frames: number;
  /** Frames that are not, as far as the numbers of those around them tell. */
  readonly damagedFrames: number;
  /** Bytes that cannot be read as frames. */
  readonly unreadableBytes: number;
  /** What the sound ones hold. */
  readonly content: Content;
}

const nothingLost: Loss = {
  sequences: undefined,
  frames: 0,
  damagedFrames: 0,
  unreadableBytes: 0,
  content: { records: 0, byType: {}, sessions: [], unreadable: 0 },
};
const nothing: Omit<RepairPlan, "damage"> = {
  write: new Map(),
  cut: new Map(),
  remove: [],
  mended: [],
  lastKept: undefined,
  lost: nothingLost,
};

/**
 * How to make a journal on which a server starts, from the beginning up to the first damage. `clusterIds`: ids that the
 * journal may have, when its headers do not tell. Reads only. Throws RainError "bad-file" when there is nothing to go on
 * with, or when the trouble is not damage (a newer format, another cluster, records of another version).
 */
export function planRepair(storage: StoredFiles, clusterIds: readonly string[] = []): RepairPlan {
  const mended = mendHeaders(storage, clusterIds);
  const clusterId = mended.clusterId ?? "";
  const damage = problemOf(storage, clusterId);
  if (damage === undefined) return { ...nothing, damage };
  if (!(damage instanceof JournalDamage)) throw damage;
  const { files, bits } = mendBits(overlay(storage, { ...nothing, write: mended.headers }), clusterId);
  const mendedFiles = new Map([...mended.headers, ...files]);
  const whole = overlay(storage, { ...nothing, write: mendedFiles });
  const best = startsOf(whole).map((start) => keepFrom(whole, clusterId, start));
  // The chain that reaches furthest; of two, that from the newer snapshot.
  const chosen = best.toSorted((a, b) => b.last - a.last)[0];
  if (chosen === undefined || chosen.last === 0) throw nothingToKeep(damage);
  const write = new Map([...mendedFiles].filter(([name]) => !chosen.remove.includes(name)));
  if (chosen.begin !== undefined)
    write.set(
      segmentName(chosen.begin),
      encodeHeader({ kind: "segment", clusterId, sequence: chosen.begin }),
    );
  const remove = chosen.remove.filter((name) => !write.has(name));
  const plan = { write, cut: chosen.cut, remove, lastKept: chosen.last };
  const problem = problemOf(overlay(storage, plan), clusterId);
  if (problem !== undefined) throw problem;
  return {
    ...plan,
    mended: bits.filter(({ file }) => write.has(file)),
    damage,
    lost: lossOf(whole, clusterId, chosen),
  };
}

const nothingToKeep = (damage: JournalDamage): RainError =>
  new RainError(
    "bad-file",
    `${damage.message} Nothing before the damage can be kept: restore the folder from a copy, or move it away to begin ` +
      `with an empty journal.`,
    damage.facts,
  );

function problemOf(storage: StoredFiles, clusterId: string): RainError | undefined {
  try {
    recover(storage, clusterId, new DurableState());
    return undefined;
  } catch (error) {
    if (error instanceof RainError) return error;
    throw error;
  }
}

/** The files as they will be. */
function overlay(storage: StoredFiles, plan: Pick<RepairPlan, "write" | "cut" | "remove">): StoredFiles {
  const { write, cut, remove } = plan;
  return {
    list: () => [...new Set([...storage.list(), ...write.keys()])].filter((name) => !remove.includes(name)),
    read: (name) => {
      const bytes = write.get(name) ?? storage.read(name);
      return bytes.subarray(0, cut.get(name));
    },
  };
}

// --------------------------------------------------------------------------------------------------------- headers

interface Mended {
  readonly clusterId: string | undefined;
  /** Files with their header put right. */
  readonly headers: ReadonlyMap<string, Uint8Array>;
}

/** A header can be written again when its fields or its checksum are whole: nothing is lost by damage in it. */
function mendHeaders(storage: StoredFiles, known: readonly string[]): Mended {
  const found = sortNames(storage.list());
  const files = [
    ...found.snapshots.map((file) => ({ kind: "snapshot", ...file }) as const),
    ...found.segments.map((file) => ({ kind: "segment", ...file }) as const),
  ].map((spec) => ({ spec, bytes: storage.read(spec.name) }));
  const mend = (clusterId: string, byChecksum: boolean): Mended | undefined => {
    const headers = new Map<string, Uint8Array>();
    let matches = 0;
    for (const { spec, bytes } of files) {
      const mended = mendedHeader(bytes, { ...spec, clusterId });
      if (mended === undefined || (byChecksum && !mended.checksum)) continue;
      matches++;
      const { header, isWhole } = mended;
      if (!isWhole) headers.set(spec.name, Buffer.concat([header, bytes.subarray(header.length)]));
    }
    return matches > 0 ? { clusterId, headers } : undefined;
  };
  const sound = files.flatMap(({ bytes }) => clusterIn(bytes) ?? []);
  // What a broken header says may be what is broken: then its checksum must agree.
  const claimed = files.flatMap(({ bytes }) => claimedCluster(bytes) ?? []);
  for (const id of new Set([...sound, ...known])) {
    const mended = mend(id, false);
    if (mended !== undefined) return mended;
  }
  for (const id of new Set(claimed)) {
    const mended = mend(id, true);
    if (mended !== undefined) return mended;
  }
  return { clusterId: undefined, headers: new Map() };
}

/**
 * A frame with one bit wrong can be put right: its checksum tells which bit that is. `files` are those with such frames,
 * as they were written.
 */
function mendBits(
  storage: StoredFiles,
  clusterId: string,
): { readonly files: ReadonlyMap<string, Uint8Array>; readonly bits: RepairPlan["mended"] } {
  const found = sortNames(storage.list());
  const files = new Map<string, Uint8Array>();
  const bits: { file: string; offset: number; sequence: number }[] = [];
  for (const spec of [
    ...found.snapshots.map((file) => ({ kind: "snapshot", ...file }) as const),
    ...found.segments.map((file) => ({ kind: "segment", ...file }) as const),
  ]) {
    const seen = survey({ ...spec, clusterId }, storage.read(spec.name));
    const bytes = Buffer.from(seen.bytes);
    for (const { offset, end } of seen.flaws.filter((flaw) => flaw.offset >= seen.start)) {
      const flipped = findFlippedBit(bytes, offset, end);
      if (flipped === undefined) continue;
      bytes[flipped.at] = (bytes[flipped.at] ?? 0) ^ flipped.mask;
      bits.push({ file: spec.name, offset: flipped.at, sequence: Number(bytes.readBigUInt64BE(offset + 8)) });
      files.set(spec.name, bytes);
    }
  }
  return { files, bits };
}

// ---------------------------------------------------------------------------------------------------- what is kept

/** A snapshot to start from; undefined: the very beginning. */
type Start = FoundFile | undefined;

/** The newest snapshot first. */
function startsOf(storage: StoredFiles): Start[] {
  return [...sortNames(storage.list()).snapshots.toReversed(), undefined];
}

interface Kept {
  readonly start: Start;
  /** Last sequence that is kept; 0: nothing. */
  readonly last: number;
  readonly cut: ReadonlyMap<string, number>;
  readonly remove: readonly string[];
  /** An empty segment must be made with this number. */
  readonly begin: number | undefined;
}

/** What can be kept from this start: the snapshot, and frames without a gap after it. */
function keepFrom(storage: StoredFiles, clusterId: string, start: Start): Kept {
  const { snapshots, segments } = sortNames(storage.list());
  const upTo = start?.sequence ?? 0;
  const newer = snapshots.filter(({ sequence }) => sequence > upTo).map(({ name }) => name);
  if (start !== undefined && !isSoundSnapshot(storage, clusterId, start))
    return { start, last: 0, cut: new Map(), remove: [], begin: undefined };
  let next = upTo + 1;
  let ended = false;
  let kept = 0;
  const cut = new Map<string, number>();
  const remove: string[] = [];
  for (const file of segments.filter(({ sequence }) => sequence > upTo)) {
    const spec: FileSpec = { kind: "segment", ...file, clusterId };
    const bytes = storage.read(file.name);
    const seen = survey(spec, bytes);
    const isLast = file === segments.at(-1);
    if (
      ended ||
      file.sequence !== next ||
      (seen.header !== undefined && !(isLast && isTornHeader(bytes, spec)))
    ) {
      ended = true;
      remove.push(file.name);
      continue;
    }
    kept++;
    const flaw = seen.flaws.find(({ offset }) => offset >= seen.start);
    next += seen.frames.filter(({ offset }) => flaw === undefined || offset < flaw.offset).length;
    if (flaw === undefined || seen.header !== undefined) continue;
    cut.set(file.name, flaw.offset);
    ended = true;
  }
  return { start, last: next - 1, cut, remove: [...newer, ...remove], begin: kept === 0 ? next : undefined };
}

function isSoundSnapshot(storage: StoredFiles, clusterId: string, { name, sequence }: FoundFile): boolean {
  const only: StoredFiles = {
    list: () => [name, segmentName(sequence + 1)],
    read: (file) =>
      file === name
        ? storage.read(name)
        : encodeHeader({ kind: "segment", clusterId, sequence: sequence + 1 }),
  };
  return problemOf(only, clusterId) === undefined;
}

// ---------------------------------------------------------------------------------------------------- what is lost

function lossOf(storage: StoredFiles, clusterId: string, { last, cut, remove }: Kept): Loss {
  const { segments } = sortNames(storage.list());
  const lost: Frame[] = [];
  const flaws: Flaw[] = [];
  for (const file of segments) {
    const seen: Survey = survey({ kind: "segment", ...file, clusterId }, storage.read(file.name));
    const behind = seen.frames.filter(({ sequence }) => sequence > last);
    lost.push(...behind);
    if (cut.has(file.name) || remove.includes(file.name)) flaws.push(...seen.flaws);
  }
  const unreadableBytes = flaws.reduce((sum, { offset, end }) => sum + end - offset, 0);
  const numbers = new Set(lost.map(({ sequence }) => sequence));
  const furthest = Math.max(last, ...numbers, lastBySnapshot(storage));
  if (furthest === last && unreadableBytes === 0) return nothingLost;
  return {
    // Behind the last sound frame nothing tells how many there were: at least the damaged one.
    sequences: [last + 1, Math.max(furthest, last + 1)],
    frames: numbers.size,
    damagedFrames: Math.max(furthest, last + 1) - last - numbers.size,
    unreadableBytes,
    content: contentOf(lost),
  };
}

/** A snapshot, also a broken one, says by its name how far it went. */
const lastBySnapshot = (storage: StoredFiles): number =>
  sortNames(storage.list()).snapshots.at(-1)?.sequence ?? 0;
