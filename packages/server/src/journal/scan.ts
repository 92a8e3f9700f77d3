import { damaged } from "./failure.ts";
import { asBuffer, decodeFrame, findLaterFrame, type Frame } from "./frame.ts";
import { findFlippedBit } from "./flipped.ts";
import { checkHeader, type FileKind } from "./header.ts";
import { unpack } from "./records.ts";

/** What a file is expected to be. */
export interface FileSpec {
  readonly kind: FileKind;
  readonly name: string;
  /** As in its header. */
  readonly sequence: number;
  readonly clusterId: string;
}
/** Sequence of the first frame: segments number on, the frames of a snapshot are numbered from 1. */
export const firstFrame = (file: FileSpec): number => (file.kind === "segment" ? file.sequence : 1);

export interface Scan {
  /** Every frame, checksum and sequence verified. */
  readonly frames: readonly Frame[];
  /** Size of the sound part, bytes. */
  readonly end: number;
}

/**
 * Reads a whole file of the journal. With `tornTail` (the last segment) it may end in an append that was cut short:
 * a frame that goes on past the end, or a broken one with no sound frame anywhere after it, and more wrong than one bit. `end` is then less than
 * the file's size. Anything else that is not a frame with the next sequence throws RainError "bad-file".
 */
export function scanFile(file: FileSpec, content: Uint8Array, tornTail: boolean): Scan {
  const bytes = asBuffer(content);
  let offset = checkHeader(file.name, bytes, file);
  const frames: Frame[] = [];
  while (offset < bytes.length) {
    const expected = firstFrame(file) + frames.length;
    const decoded = decodeFrame(bytes, offset);
    if (decoded.kind === "frame") {
      checkSequence(file.name, decoded.frame, expected);
      frames.push(decoded.frame);
      offset = decoded.frame.end;
      continue;
    }
    const why = decoded.kind === "bad" ? decoded.why : "a frame goes on past the end of the file";
    if (!tornTail) throw damaged(file.name, offset, why, { sequence: expected });
    const later = findLaterFrame(bytes, offset, expected);
    if (later === undefined) {
      refuseFlippedBit(file.name, bytes, offset, expected);
      break;
    }
    throw damaged(file.name, offset, `${why}, and sound records follow at byte ${later}`, {
      sequence: expected,
    });
  }
  return { frames, end: offset };
}

/**
 * The last frame may be an acknowledged one, so it is cut only when it looks like a write that was cut short. All of it
 * there but for one bit does not; unless that bit is in a byte of zeros, with nothing but zeros after it: a file may
 * grow before it has its bytes.
 */
function refuseFlippedBit(file: string, bytes: Buffer, offset: number, sequence: number): void {
  const flipped = findFlippedBit(bytes, offset, bytes.length);
  if (flipped === undefined || bytes.subarray(flipped.at).every((byte) => byte === 0)) return;
  throw damaged(
    file,
    offset,
    `one bit of its last frame, in byte ${flipped.at}, is not as it was written, and a write that was cut short does not look like that`,
    { sequence },
  );
}

export function checkSequence(name: string, frame: Frame, expected: number): void {
  if (frame.sequence === expected) return;
  throw damaged(name, frame.offset, `frame ${frame.sequence} stands where frame ${expected} must be`, {
    sequence: expected,
  });
}

/**
 * Items of a snapshot in their frames: arrays of items, then one map `{ items }` with their number, which says that
 * the snapshot is whole. Call it for each frame in order.
 */
export class SnapshotItems {
  readonly #name: string;
  #count = 0;
  #ended = false;
  constructor(name: string) {
    this.#name = name;
  }
  /** The items of this frame; none for the end frame. */
  read(frame: Frame): readonly unknown[] {
    if (this.#ended) throw damaged(this.#name, frame.offset, "a frame follows the end of the snapshot");
    const value = unpack(frame.payload);
    if (Array.isArray(value)) {
      this.#count += value.length;
      return value;
    }
    const items: unknown =
      typeof value === "object" && value !== null ? Reflect.get(value, "items") : undefined;
    if (items !== this.#count)
      throw damaged(
        this.#name,
        frame.offset,
        `its end says ${String(items)} items, and it holds ${this.#count}`,
      );
    this.#ended = true;
    return [];
  }
  /** Call it at the end of the file, at this offset. */
  finish(offset: number): void {
    if (!this.#ended) throw damaged(this.#name, offset, "the snapshot ends before its last item");
  }
}
