import { RainError } from "@rain/protocol";
import { JournalDamage } from "../failure.ts";
import { asBuffer, decodeFrame, findLaterFrame, type Frame } from "../frame.ts";
import { checkHeader, encodeHeader } from "../header.ts";
import { parseRecords } from "../records.ts";
import { firstFrame, SnapshotItems, type FileSpec } from "../scan.ts";

/** A place of a file that is not what it must be. */
export interface Flaw {
  readonly file: string;
  readonly offset: number;
  /** Offset of the first byte after it that can be used again. */
  readonly end: number;
  readonly why: string;
}

/** Everything in one file, sound or not. */
export interface Survey {
  readonly spec: FileSpec;
  readonly bytes: Uint8Array;
  /** Where its frames begin. */
  readonly start: number;
  /** Frames whose checksum is right, also behind flaws. */
  readonly frames: readonly Frame[];
  readonly flaws: readonly Flaw[];
  /** Why its header cannot be used: damage, a newer format, another cluster. */
  readonly header: RainError | undefined;
}

/** Reads a file to its end, whatever is wrong with it. */
export function survey(spec: FileSpec, bytes: Uint8Array): Survey {
  const { name } = spec;
  const start = encodeHeader(spec).length;
  const header = headerError(spec, bytes);
  const flaws: Flaw[] = [];
  if (header instanceof JournalDamage)
    flaws.push({ file: name, offset: header.offset, end: Math.min(start, bytes.length), why: header.why });
  const frames = [...framesOf(spec, bytes, start, flaws)];
  return { spec, bytes, start, frames, flaws, header };
}

function headerError(spec: FileSpec, bytes: Uint8Array): RainError | undefined {
  try {
    checkHeader(spec.name, bytes, spec);
    return undefined;
  } catch (error) {
    if (error instanceof RainError) return error;
    throw error;
  }
}

/** Goes on behind each flaw at the next frame that is sound and has a number that may stand there. */
function* framesOf(
  spec: FileSpec,
  content: Uint8Array,
  start: number,
  flaws: Flaw[],
): Generator<Frame, void> {
  const bytes = asBuffer(content);
  const { name: file } = spec;
  let expected = firstFrame(spec);
  let isBehindFlaw = false;
  for (let offset = start; offset < bytes.length;) {
    const decoded = decodeFrame(bytes, offset);
    if (decoded.kind === "frame" && decoded.frame.sequence >= expected) {
      const { frame } = decoded;
      if (frame.sequence > expected && !isBehindFlaw)
        flaws.push({
          file,
          offset,
          end: offset,
          why: `frame ${frame.sequence} stands where frame ${expected} must be`,
        });
      yield frame;
      isBehindFlaw = false;
      expected = frame.sequence + 1;
      offset = frame.end;
      continue;
    }
    const later = findLaterFrame(bytes, offset, expected) ?? bytes.length;
    flaws.push({ file, offset, end: later, why: whyNot(decoded, expected) });
    offset = later;
    isBehindFlaw = true;
  }
}

function whyNot(decoded: ReturnType<typeof decodeFrame>, expected: number): string {
  if (decoded.kind === "bad") return decoded.why;
  if (decoded.kind === "incomplete") return "a frame goes on past the end of the file";
  return `frame ${decoded.frame.sequence} stands where frame ${expected} must be`;
}

/** What frames hold: how many records by their type, and the sessions that they name. */
export interface Content {
  readonly records: number;
  readonly byType: Readonly<Record<string, number>>;
  readonly sessions: readonly number[];
  /** Frames that are sound and cannot be read all the same. */
  readonly unreadable: number;
}

export function contentOf(frames: Iterable<Frame>): Content {
  const byType = new Map<string, number>();
  const sessions = new Set<number>();
  let [records, unreadable] = [0, 0];
  for (const { payload } of frames) {
    try {
      for (const record of parseRecords(payload)) {
        records++;
        byType.set(record.type, (byType.get(record.type) ?? 0) + 1);
        if ("session" in record) sessions.add(record.session);
      }
    } catch {
      unreadable++;
    }
  }
  return {
    records,
    byType: Object.fromEntries([...byType].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    sessions: [...sessions].toSorted((a, b) => a - b),
    unreadable,
  };
}

/** How many items a snapshot's sound frames hold; they may be of a broken snapshot. */
export function itemsIn({ spec, frames }: Survey): number {
  const items = new SnapshotItems(spec.name);
  let count = 0;
  try {
    for (const frame of frames) count += items.read(frame).length;
  } catch {
    // A frame is missing, or the end is: what was read so far is what there is.
  }
  return count;
}
