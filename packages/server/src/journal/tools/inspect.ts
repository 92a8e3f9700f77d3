import { RainError } from "@rain/protocol";
import { DurableState } from "../../core/index.ts";
import { clusterIn, isTornHeader } from "../header.ts";
import { sortNames, type FoundFile } from "../names.ts";
import { recover } from "../recover.ts";
import type { FileSpec } from "../scan.ts";
import type { StoredFiles } from "../storage.ts";
import { contentOf, itemsIn, survey, type Content, type Flaw, type Survey } from "./survey.ts";

export interface FileReport {
  readonly name: string;
  readonly kind: "segment" | "snapshot";
  readonly bytes: number;
  /** Sound ones. */
  readonly frames: number;
  /** Sequence of the first and last sound frame of a segment; of a snapshot, 1 and the last that it covers. */
  readonly first: number | null;
  readonly last: number | null;
  /** Records of a segment, items of a snapshot. */
  readonly holds: number;
  /** Does a newer snapshot make it useless? */
  readonly covered: boolean;
}

/** What is in a journal's folder, and whether a server can start on it. */
export interface Inspection {
  /** Undefined when no header can be read. */
  readonly clusterId: string | undefined;
  readonly files: readonly FileReport[];
  /** Left by an interruption; removed at the next start. */
  readonly partial: readonly string[];
  /** Every damaged place, in order. A torn tail is none. */
  readonly flaws: readonly Flaw[];
  /** What a server would refuse to start with. */
  readonly problem: RainError | undefined;
  /** The end of the last segment, cut short by a crash: the next start cuts it off. */
  readonly tornTail: { readonly file: string; readonly offset: number; readonly bytes: number } | undefined;
  /** Of all segments that are not covered. */
  readonly content: Content;
  /** Undefined when there is a problem. */
  readonly state:
    | {
        readonly nextSequence: number;
        readonly sessions: number;
        readonly openSessions: number;
        readonly tasks: number;
        readonly governors: number;
      }
    | undefined;
}

/** The id of the cluster that the journal belongs to, as the first sound header says. */
export function clusterOf(storage: StoredFiles): string | undefined {
  const { segments, snapshots } = sortNames(storage.list());
  for (const { name } of [...snapshots, ...segments]) {
    const id = clusterIn(storage.read(name));
    if (id !== undefined) return id;
  }
  return undefined;
}

/** Reads everything in the folder. Changes nothing; throws only what the storage throws. */
export function inspect(
  storage: StoredFiles,
  clusterId: string | undefined = clusterOf(storage),
): Inspection {
  const found = sortNames(storage.list());
  const upTo = found.snapshots.at(-1)?.sequence ?? 0;
  const specOf = (kind: FileSpec["kind"], file: FoundFile): FileSpec => ({
    kind,
    ...file,
    clusterId: clusterId ?? "",
  });
  const files: FileReport[] = [];
  const flaws: Flaw[] = [];
  const contents: Content[] = [];
  for (const file of found.snapshots) {
    const seen = survey(specOf("snapshot", file), storage.read(file.name));
    files.push(reportSnapshot(seen, file.sequence < upTo));
    flaws.push(...seen.flaws);
  }
  for (const file of found.segments) {
    const seen = survey(specOf("segment", file), storage.read(file.name));
    const covered = file.sequence <= upTo;
    const content = contentOf(seen.frames);
    files.push(reportSegment(seen, content, covered));
    if (!covered) contents.push(content);
    flaws.push(...seen.flaws);
  }
  const read = tryRecover(storage, clusterId);
  const last = found.segments.at(-1);
  const tornTail = "problem" in read ? undefined : tornTailOf(storage, read.cutTo, last, clusterId);
  return {
    clusterId,
    files,
    partial: found.partial,
    flaws: flaws.filter(({ file, offset }) => file !== tornTail?.file || offset < tornTail.offset),
    problem: "problem" in read ? read.problem : undefined,
    tornTail,
    content: sum(contents),
    state: "problem" in read ? undefined : read.state,
  };
}

const reportSnapshot = (seen: Survey, covered: boolean): FileReport => ({
  name: seen.spec.name,
  kind: "snapshot",
  bytes: seen.bytes.length,
  frames: seen.frames.length,
  first: 1,
  last: seen.spec.sequence,
  holds: itemsIn(seen),
  covered,
});
const reportSegment = (seen: Survey, content: Content, covered: boolean): FileReport => ({
  name: seen.spec.name,
  kind: "segment",
  bytes: seen.bytes.length,
  frames: seen.frames.length,
  first: seen.frames[0]?.sequence ?? null,
  last: seen.frames.at(-1)?.sequence ?? null,
  holds: content.records,
  covered,
});

type Read =
  | { readonly problem: RainError }
  | { readonly cutTo: number | undefined; readonly state: Inspection["state"] };

function tryRecover(storage: StoredFiles, clusterId: string | undefined): Read {
  const state = new DurableState();
  try {
    const { cutTo, nextSequence } = recover(storage, clusterId ?? "", state);
    const sessions = [...state.sessions.values()];
    return {
      cutTo,
      state: {
        nextSequence,
        sessions: sessions.length,
        openSessions: sessions.filter(({ open }) => open.size > 0).length,
        tasks: sessions.reduce((count, { tasks }) => count + tasks.size, 0),
        governors: state.governors.size,
      },
    };
  } catch (error) {
    if (error instanceof RainError) return { problem: error };
    throw error;
  }
}

function tornTailOf(
  storage: StoredFiles,
  cutTo: number | undefined,
  last: FoundFile | undefined,
  clusterId: string | undefined,
): Inspection["tornTail"] {
  if (last === undefined) return undefined;
  const { name: file, sequence } = last;
  const bytes = storage.read(file);
  if (cutTo !== undefined) return { file, offset: cutTo, bytes: bytes.length - cutTo };
  const isTorn = isTornHeader(bytes, { kind: "segment", clusterId: clusterId ?? "", sequence });
  return isTorn ? { file, offset: 0, bytes: bytes.length } : undefined;
}

function sum(all: readonly Content[]): Content {
  const byType = new Map<string, number>();
  for (const each of all)
    for (const [type, count] of Object.entries(each.byType))
      byType.set(type, (byType.get(type) ?? 0) + count);
  return {
    records: all.reduce((total, { records }) => total + records, 0),
    byType: Object.fromEntries([...byType].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    sessions: [...new Set(all.flatMap(({ sessions }) => sessions))].toSorted((a, b) => a - b),
    unreadable: all.reduce((total, { unreadable }) => total + unreadable, 0),
  };
}
