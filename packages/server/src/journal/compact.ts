import { snapshotName, partialName, type FoundFile } from "./names.ts";
import { SnapshotItems, type FileSpec } from "./scan.ts";
import { writeSnapshot } from "./snapshot.ts";
import { withPlace, type DurableState } from "./state.ts";
import { inOrder, type Done, type JournalStorage, type Operation } from "./storage.ts";
import { Cancelled, inSlices, streamFrames } from "./stream.ts";
import type { Frame } from "./frame.ts";
import { parseRecords } from "./records.ts";
import type { Segment } from "./writer.ts";

export interface CompactionOptions {
  readonly storage: JournalStorage;
  readonly clusterId: string;
  readonly newState: () => DurableState;
  /** Where to start from; undefined: from nothing. */
  readonly snapshot: FoundFile | undefined;
  /** Sealed segments after the snapshot, in order and without a gap. */
  readonly segments: readonly Segment[];
  /** Last sequence in them. */
  readonly upTo: number;
}
const PIECE_BYTES = 262_144;
/** Records applied, or items written, before the rest of the process gets its turn. */
const SLICE = 500;

/**
 * Makes one snapshot of an older one and the sealed segments after it, then removes those. It works on files and on a
 * state of its own: the live server never stops for it. Interrupted at any point it leaves either the old files or the
 * new snapshot in force.
 */
export class Compaction {
  readonly #options: CompactionOptions;
  #cancelled = false;
  constructor(options: CompactionOptions) {
    this.#options = options;
  }

  /** Gives up soon; `done` comes with a Cancelled error, unless it was about to end. */
  cancel(): void {
    this.#cancelled = true;
  }

  /** `done` gets the new snapshot; with an error the old files are in force. Called once. */
  start(done: (error: Error | undefined, snapshot?: FoundFile) => void): void {
    const { storage, clusterId, newState, upTo } = this.#options;
    const state = newState();
    const name = snapshotName(upTo);
    const snapshot = {
      storage,
      clusterId,
      state,
      upTo,
      frameBytes: PIECE_BYTES,
      frameItems: SLICE,
      isCancelled: () => this.#cancelled,
    };
    let writing = false;
    const write: Operation = (next) => {
      writing = true;
      writeSnapshot(snapshot, next);
    };
    const steps = [...this.#files().map((file) => this.#load(file, state)), write];
    inOrder(steps, (error) => {
      if (error === undefined) return this.#removeOld((failed) => done(failed, { name, sequence: upTo }));
      if (!writing) return done(error);
      // The first error is the one to tell; the partial file goes at the next opening if it does not go now.
      storage.remove(partialName(name), () => done(error));
    });
  }

  #files(): FileSpec[] {
    const { clusterId, snapshot, segments } = this.#options;
    const files: FileSpec[] = segments.map(({ name, first }) => ({
      kind: "segment",
      name,
      sequence: first,
      clusterId,
    }));
    if (snapshot !== undefined) files.unshift({ kind: "snapshot", ...snapshot, clusterId });
    return files;
  }

  #load(file: FileSpec, state: DurableState): Operation {
    const { storage } = this.#options;
    const items = new SnapshotItems(file.name);
    const stepsOf = (frame: Frame): Iterable<unknown> =>
      file.kind === "segment"
        ? applyFrame(file.name, frame, state)
        : loadFrame(items, file.name, frame, state);
    return (done) => {
      if (this.#cancelled) return done(new Cancelled());
      const use = (frames: readonly Frame[], next: () => void): void => {
        const steps = (function* () {
          for (const frame of frames) yield* stepsOf(frame);
        })();
        inSlices(
          storage,
          steps,
          SLICE,
          () => this.#cancelled,
          (error) => (error === undefined ? next() : done(error)),
        );
      };
      streamFrames(storage, file, PIECE_BYTES, use, (error, size) => {
        if (error === undefined && file.kind === "snapshot") return done(problemAtEnd(items, size ?? 0));
        done(error);
      });
    };
  }

  /** In any order: what is left by an interruption is before the snapshot, and goes at the next opening. */
  #removeOld(done: Done): void {
    const { storage, snapshot, segments } = this.#options;
    const names = [...segments.map(({ name }) => name), ...(snapshot === undefined ? [] : [snapshot.name])];
    const removals = names.map((name): Operation => {
      return (next) => storage.remove(name, next);
    });
    inOrder(removals, done);
  }
}

/** Applies the records of a frame, one a step. */
export const applyFrame = (name: string, frame: Frame, state: DurableState): Generator<undefined, void> =>
  withPlace(name, frame, applied(frame, state));

function* applied(frame: Frame, state: DurableState): Generator<undefined, void> {
  for (const record of parseRecords(frame.payload)) {
    state.apply(record);
    yield;
  }
}

/** Loads the items of a snapshot's frame, one a step. */
export const loadFrame = (
  items: SnapshotItems,
  name: string,
  frame: Frame,
  state: DurableState,
): Generator<undefined, void> => withPlace(name, frame, loaded(items, frame, state));

function* loaded(items: SnapshotItems, frame: Frame, state: DurableState): Generator<undefined, void> {
  for (const item of items.read(frame)) {
    state.load(item);
    yield;
  }
}

function problemAtEnd(items: SnapshotItems, size: number): Error | undefined {
  try {
    items.finish(size);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
