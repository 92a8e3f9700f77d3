import type { RainError } from "@rain/protocol";
import type { ServerRecord } from "../core/types.ts";
import { Compaction } from "./compact.ts";
import type { JournalNote } from "./failure.ts";
import type { FoundFile } from "./names.ts";
import type { DurableState } from "./state.ts";
import type { JournalStorage } from "./storage.ts";
import { Cancelled } from "./stream.ts";
import { JournalWriter, type Segment } from "./writer.ts";

export interface JournalParts {
  readonly storage: JournalStorage;
  readonly clusterId: string;
  readonly newState: () => DurableState;
  readonly segmentBytes: number;
  readonly compactAfterBytes: number;
  readonly batchBytes: number;
  readonly onNote: (note: JournalNote) => void;
  readonly onFatal: (error: RainError) => void;
  /** What was found on disk. */
  readonly snapshot: FoundFile | undefined;
  readonly sealed: readonly Segment[];
  readonly segment: Segment | undefined;
  readonly nextSequence: number;
}

/** An open journal: its writer, and the compaction of what the writer has sealed. */
export class Journal {
  readonly #parts: JournalParts;
  readonly #writer: JournalWriter;
  #snapshot: FoundFile | undefined;
  /** Sealed segments after the snapshot. */
  #sealed: readonly Segment[];
  #compaction: Compaction | undefined;
  #closing: (() => void) | undefined;

  constructor(parts: JournalParts) {
    this.#parts = parts;
    this.#snapshot = parts.snapshot;
    this.#sealed = parts.sealed;
    this.#writer = new JournalWriter({
      ...parts,
      onSealed: (segment, nextSequence) => {
        this.#sealed = [...this.#sealed, segment];
        this.#compactIfLarge(nextSequence - 1);
      },
      onFatal: (error) => {
        this.#compaction?.cancel();
        parts.onFatal(error);
      },
    });
  }

  /** Sequence of the next frame. */
  get nextSequence(): number {
    return this.#writer.nextSequence;
  }
  /** Bytes in sealed segments, that the next compaction will drop. */
  get sealedBytes(): number {
    return this.#sealed.reduce((sum, segment) => sum + segment.size, 0);
  }
  get isCompacting(): boolean {
    return this.#compaction !== undefined;
  }

  /** As `JournalWriter.commit`. */
  commit(records: readonly ServerRecord[], release: () => void): void {
    this.#writer.commit(records, release);
  }

  /** Makes the first segment where there is none; used by `openJournal`. */
  begin(done: () => void): void {
    const begun = (): void => {
      if (this.#sealed.length > 0)
        this.#compactIfLarge((this.#parts.segment?.first ?? this.nextSequence) - 1);
      done();
    };
    if (this.#parts.segment === undefined) this.#writer.begin(begun);
    else begun();
  }

  /** Releases and syncs all that was committed and gives up a compaction. `done` gets the failure, if one came. */
  close(done: (error?: RainError) => void): void {
    this.#compaction?.cancel();
    this.#writer.close((error) => {
      this.#onQuiet(() => {
        this.#parts.storage.close();
        done(error);
      });
    });
  }

  /** Stops at once, as after a failure: nothing more is written or released. */
  abandon(): void {
    this.#writer.abandon();
    this.#compaction?.cancel();
  }

  #onQuiet(then: () => void): void {
    if (this.#compaction === undefined) then();
    else this.#closing = then;
  }

  #compactIfLarge(upTo: number): void {
    if (this.#compaction !== undefined || this.sealedBytes < this.#parts.compactAfterBytes) return;
    const segments = this.#sealed;
    const compaction = new Compaction({ ...this.#parts, snapshot: this.#snapshot, segments, upTo });
    this.#compaction = compaction;
    compaction.start((error, snapshot) => {
      this.#compaction = undefined;
      if (snapshot !== undefined) {
        this.#snapshot = snapshot;
        this.#sealed = this.#sealed.slice(segments.length);
      }
      this.#tell(error, segments, upTo);
      this.#closing?.();
    });
  }

  #tell(error: Error | undefined, segments: readonly Segment[], upTo: number): void {
    if (error instanceof Cancelled) return;
    const bytes = segments.reduce((sum, segment) => sum + segment.size, 0);
    const what = `Journal: compaction of ${segments.length} segments (${bytes} bytes) up to ${upTo}`;
    if (error === undefined) return this.#parts.onNote({ level: "info", text: `${what} is done.` });
    this.#parts.onNote({
      level: "error",
      text: `${what} failed: ${error.message}. The journal goes on without it; the next segment tries again.`,
    });
  }
}
