import { applyFrame, loadFrame } from "./compact.ts";
import { damaged, type JournalNote } from "./failure.ts";
import { isTornHeader } from "./header.ts";
import { segmentName, sortNames, type FoundFile } from "./names.ts";
import { scanFile, SnapshotItems, type FileSpec } from "./scan.ts";
import type { DurableState } from "./state.ts";
import type { StoredFiles } from "./storage.ts";
import type { Segment } from "./writer.ts";

/** What the files on disk say, and what has to be tidied before the journal may be written. */
export interface Recovered {
  readonly snapshot: FoundFile | undefined;
  readonly sealed: readonly Segment[];
  /** The segment to go on with. */
  readonly segment: Segment | undefined;
  readonly nextSequence: number;
  /** Size to which `segment` must be cut. */
  readonly cutTo: number | undefined;
  /** Files without a use: partial ones, and what a snapshot covers. */
  readonly useless: readonly string[];
  readonly notes: readonly JournalNote[];
}

/** Rebuilds `state` from the files. Changes nothing on disk; throws RainError "bad-file" for damage. */
export function recover(storage: StoredFiles, clusterId: string, state: DurableState): Recovered {
  const found = sortNames(storage.list());
  const snapshot = found.snapshots.at(-1);
  if (snapshot !== undefined) loadSnapshot(storage, { kind: "snapshot", ...snapshot, clusterId }, state);
  const start = (snapshot?.sequence ?? 0) + 1;
  const covered = found.segments.filter(({ sequence }) => sequence < start);
  const segments = found.segments.filter(({ sequence }) => sequence >= start);
  checkStart(segments, start, snapshot);
  const useless = [...found.partial, ...found.snapshots.slice(0, -1), ...covered].map(nameOf);
  const files = segments.map((file): FileSpec => ({ kind: "segment", ...file, clusterId }));
  const replay = replaySegments(storage, files, start, state);
  return { ...replay, snapshot, useless: [...useless, ...replay.useless] };
}
const nameOf = (file: string | FoundFile): string => (typeof file === "string" ? file : file.name);

function loadSnapshot(storage: StoredFiles, file: FileSpec, state: DurableState): void {
  const { frames, end } = scanFile(file, storage.read(file.name), false);
  const items = new SnapshotItems(file.name);
  // Judged as a whole before any of it is used.
  const loads = frames.map((frame) => loadFrame(items, file.name, frame, state));
  for (const load of loads) run(load);
  items.finish(end);
}

function checkStart(segments: readonly FoundFile[], start: number, snapshot: FoundFile | undefined): void {
  const [first] = segments;
  // A compaction ends at the beginning of a segment that is on disk already, so after a snapshot there is one.
  if (first === undefined && snapshot === undefined) return;
  if (first?.sequence === start) return;
  const found = first === undefined ? "there is no journal file" : `the next journal file is ${first.name}`;
  throw damaged(segmentName(start), 0, `it is missing, and ${found}`, { sequence: start });
}

interface Replayed extends Omit<Recovered, "snapshot"> {}

function replaySegments(
  storage: StoredFiles,
  files: readonly FileSpec[],
  start: number,
  state: DurableState,
): Replayed {
  const segments: Segment[] = [];
  const notes: JournalNote[] = [];
  let nextSequence = start;
  let cutTo: number | undefined;
  for (const file of files) {
    if (file.sequence !== nextSequence)
      throw damaged(
        segmentName(nextSequence),
        0,
        `it is missing, and the next journal file is ${file.name}`,
        {
          sequence: nextSequence,
        },
      );
    const isLast = file === files.at(-1);
    const bytes = storage.read(file.name);
    if (isLast && isTornHeader(bytes, file)) {
      notes.push({
        level: "warn",
        text: `Journal file ${file.name} was not made to the end; it is made again.`,
      });
      return { sealed: segments, segment: undefined, nextSequence, cutTo, useless: [file.name], notes };
    }
    const { frames, end } = scanFile(file, bytes, isLast);
    for (const frame of frames) run(applyFrame(file.name, frame, state));
    nextSequence += frames.length;
    segments.push({ name: file.name, first: file.sequence, size: end });
    if (end === bytes.length) continue;
    cutTo = end;
    notes.push({ level: "warn", text: tornNote(file.name, end, bytes.length - end) });
  }
  return { sealed: segments.slice(0, -1), segment: segments.at(-1), nextSequence, cutTo, useless: [], notes };
}

const tornNote = (name: string, offset: number, bytes: number): string =>
  `Journal file ${name} ended at byte ${offset} in a write that was cut short: ${bytes} bytes, never acknowledged, ` +
  "were cut off.";

function run(steps: Iterator<unknown>): void {
  while (steps.next().done !== true);
}
