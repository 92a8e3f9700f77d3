import { damaged } from "./failure.ts";
import { asBuffer, decodeFrame, FRAME_HEAD, type Frame } from "./frame.ts";
import { checkHeader, MAX_HEADER } from "./header.ts";
import { checkSequence, firstFrame, type FileSpec } from "./scan.ts";
import type { Done, JournalStorage } from "./storage.ts";

/**
 * Reads the frames of a whole, sound file piece by piece. `use` gets the frames of each piece and calls `next` (later,
 * or at once) for more. `done` comes at the end of the file or with the first error; RainError "bad-file" for damage.
 */
export function streamFrames(
  storage: JournalStorage,
  file: FileSpec,
  pieceBytes: number,
  use: (frames: readonly Frame[], next: () => void) => void,
  done: (error?: Error, size?: number) => void,
): void {
  const parser = new PieceParser(file);
  const more = (): void => {
    const length = Math.max(pieceBytes, parser.missing, MAX_HEADER);
    storage.readAt(file.name, parser.received, length, (error, bytes) => {
      if (error !== undefined || bytes === undefined) return done(error ?? new Error("no bytes were read"));
      let frames: readonly Frame[] = [];
      const problem = attempt(() => {
        if (bytes.length > 0) frames = parser.add(bytes);
        else parser.finish();
      });
      if (problem !== undefined) return done(problem);
      if (bytes.length === 0) return done(undefined, parser.received);
      use(frames, more);
    });
  };
  more();
}

/** Puts pieces of a file together into frames. */
class PieceParser {
  readonly #file: FileSpec;
  /** Bytes of the file so far. */
  received = 0;
  #rest: Buffer = Buffer.alloc(0);
  #headerRead = false;
  #expected: number;

  constructor(file: FileSpec) {
    this.#file = file;
    this.#expected = firstFrame(file);
  }

  /** Bytes that the begun frame still lacks, as far as known. */
  get missing(): number {
    if (!this.#headerRead || this.#rest.length < FRAME_HEAD) return 0;
    return FRAME_HEAD + this.#rest.readUInt32BE(0) - this.#rest.length;
  }

  add(piece: Uint8Array): Frame[] {
    this.received += piece.length;
    const bytes = this.#rest.length === 0 ? asBuffer(piece) : Buffer.concat([this.#rest, piece]);
    const base = this.received - bytes.length;
    let at = this.#headerRead ? 0 : checkHeader(this.#file.name, bytes, this.#file);
    this.#headerRead = true;
    const frames: Frame[] = [];
    for (;;) {
      const decoded = decodeFrame(bytes, at);
      if (decoded.kind === "bad") throw damaged(this.#file.name, base + at, decoded.why);
      if (decoded.kind === "incomplete") break;
      const frame = { ...decoded.frame, offset: base + at };
      checkSequence(this.#file.name, frame, this.#expected);
      this.#expected += 1;
      frames.push(frame);
      at = decoded.frame.end;
    }
    this.#rest = bytes.subarray(at);
    return frames;
  }

  finish(): void {
    if (!this.#headerRead) throw damaged(this.#file.name, 0, "it is empty");
    if (this.#rest.length === 0) return;
    const offset = this.received - this.#rest.length;
    throw damaged(this.#file.name, offset, "a frame goes on past the end of the file");
  }
}

/**
 * Takes steps of an iterator, at most `slice` at a time, so that the rest of the process gets its turn in between.
 * An error of a step ends it.
 */
export function inSlices(
  storage: JournalStorage,
  steps: Iterator<unknown>,
  slice: number,
  isCancelled: () => boolean,
  done: Done,
): void {
  const run = (): void => {
    if (isCancelled()) return done(new Cancelled());
    let ended = false;
    const problem = attempt(() => {
      for (let taken = 0; taken < slice && !ended; taken += 1) ended = steps.next().done === true;
    });
    if (problem !== undefined || ended) return done(problem);
    storage.later(run);
  };
  run();
}

/** The work was given up because the journal closes or has failed. */
export class Cancelled extends Error {
  constructor() {
    super("cancelled");
    this.name = "Cancelled";
  }
}

/** The error that `action` throws, if it does. */
function attempt(action: () => void): Error | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
