import type { RainError } from "@rain/protocol";
import { isHint, type ServerRecord } from "../core/types.ts";
import { failedOperation } from "./failure.ts";
import { encodeFrame } from "./frame.ts";
import { encodeHeader } from "./header.ts";
import { segmentName } from "./names.ts";
import { joinRecords } from "./join.ts";
import { packRecord } from "./packed-lists.ts";
import { arrayHead } from "./records.ts";
import { inOrder, type Done, type JournalStorage, type Operation } from "./storage.ts";

/** A segment, by the sequence of its first frame. `size` is in bytes. */
export interface Segment {
  readonly name: string;
  readonly first: number;
  readonly size: number;
}

export interface WriterOptions {
  readonly storage: JournalStorage;
  readonly clusterId: string;
  /** The segment to go on with; undefined for a new one. */
  readonly segment: Segment | undefined;
  readonly nextSequence: number;
  /** A segment at least this large is sealed and the next one begun, bytes. */
  readonly segmentBytes: number;
  /** Commits are put together into one append up to about this size, bytes. */
  readonly batchBytes: number;
  readonly onSealed: (segment: Segment, nextSequence: number) => void;
  /** Called once. Nothing is written or released after it. */
  readonly onFatal: (error: RainError) => void;
}

interface Commit {
  readonly packed: readonly Uint8Array[];
  readonly bytes: number;
  readonly isPromise: boolean;
  readonly release: () => void;
}

/**
 * Appends commits and releases them in order. What comes in one turn of the event loop makes a batch: one frame, one
 * append, one sync (none when it holds hints only). At most one is under way; what comes meanwhile makes the next. So a
 * frame is never acknowledged in part, and an unsynced frame is never followed by a promise that is released.
 */
export class JournalWriter {
  readonly #options: WriterOptions;
  #segment: Segment | undefined;
  #nextSequence: number;
  #queue: Commit[] = [];
  #busy = false;
  /** The next batch begins at the end of this turn. */
  #isGathering = false;
  #failure: RainError | undefined;
  #dead = false;
  /** Hints were written to the segment that are not synced. */
  #unsynced = false;
  #onClosed: ((error?: RainError) => void) | undefined;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#segment = options.segment;
    this.#nextSequence = options.nextSequence;
  }

  /** Sequence of the next frame. */
  get nextSequence(): number {
    return this.#nextSequence;
  }

  /**
   * Writes the records of one step, all or none. `release` is called once they are durable (promises synced, hints
   * written) and every earlier commit was released; inside this call when there is nothing to wait for. It is never
   * called after a failure.
   */
  commit(records: readonly ServerRecord[], release: () => void): void {
    if (this.#dead) return;
    const packed = joinRecords(records).map(packRecord);
    const bytes = packed.reduce((sum, part) => sum + part.length, 0);
    this.#queue.push({ packed, bytes, isPromise: records.some((record) => !isHint(record)), release });
    if (packed.length === 0 && this.#queue.length === 1) this.#pump();
    else this.#gather();
  }

  /** Waits for what was committed and syncs the hints too. No commit may follow. `done` gets the failure, if one came. */
  close(done: (error?: RainError) => void): void {
    this.#onClosed = done;
    if (this.#dead) return this.#options.storage.later(() => this.#closed());
    this.#pump();
  }

  /** Stops at once: nothing more is written or released. */
  abandon(): void {
    this.#dead = true;
    this.#queue = [];
  }

  /** Makes and enters a new segment; used at opening when there is none to go on with. */
  begin(done: () => void): void {
    this.#busy = true;
    this.#rotate(() => {
      this.#busy = false;
      done();
      this.#pump();
    });
  }

  /** A submit and what is assigned because of it, a few turns of the core, are one append and one sync. */
  #gather(): void {
    if (this.#busy || this.#isGathering) return;
    this.#isGathering = true;
    this.#options.storage.later(() => {
      this.#isGathering = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (!this.#busy && !this.#dead) {
      const batch = this.#takeBatch();
      if (batch.length === 0 && this.#onClosed === undefined) return;
      this.#busy = true;
      if (batch.length === 0) return this.#run("sync", this.#syncSegment(), () => this.#closed());
      if (batch.some((commit) => commit.packed.length > 0)) this.#write(batch);
      else this.#release(batch);
    }
  }

  /** The first commits of the queue: about `batchBytes`, at least one, and no empty ones before the first with records. */
  #takeBatch(): Commit[] {
    let bytes = 0;
    let count = 0;
    for (const commit of this.#queue) {
      const startsWriting = commit.packed.length > 0 && bytes === 0;
      if (count > 0 && (bytes + commit.bytes > this.#options.batchBytes || startsWriting)) break;
      bytes += commit.bytes;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  #write(batch: readonly Commit[]): void {
    const segment = this.#segment;
    if (segment === undefined || segment.size >= this.#options.segmentBytes)
      return this.#rotate(() => this.#append(batch));
    this.#append(batch);
  }

  #append(batch: readonly Commit[]): void {
    const segment = this.#segment;
    if (segment === undefined) throw new Error("The journal's writer has no segment.");
    const records = batch.flatMap((commit) => commit.packed);
    const frame = encodeFrame(this.#nextSequence, [arrayHead(records.length), ...records]);
    const { storage } = this.#options;
    const isPromise = batch.some((commit) => commit.isPromise);
    const finish = (): void => this.#release(batch);
    const written = (): void => {
      this.#segment = { ...segment, size: segment.size + frame.length };
      this.#nextSequence += 1;
    };
    const inOne = storage.appendSynced?.bind(storage);
    // What came before and is not synced would be missed by a sync of these bytes alone.
    const isLone = batch.length <= LONE_COMMITS;
    if (inOne !== undefined && isPromise && !this.#unsynced)
      return this.#run("append", [[segment.name, (done) => inOne(segment.name, frame, isLone, done)]], () => {
        written();
        finish();
      });
    this.#run("append", [[segment.name, (done) => storage.append(segment.name, frame, done)]], () => {
      written();
      this.#unsynced = true;
      if (isPromise) this.#run("sync", this.#syncSegment(), finish);
      else finish();
    });
  }

  #release(batch: readonly Commit[]): void {
    // Still busy: a commit made inside a release must not overtake the rest of this batch.
    for (const commit of batch) {
      if (this.#dead) return;
      commit.release();
    }
    this.#busy = false;
    if (this.#queue.length > 0) this.#gather();
    else this.#pump();
  }

  /** Seals the segment (wholly synced: only the last one may have a torn tail), makes the next and enters it. */
  #rotate(done: () => void): void {
    const { storage, clusterId } = this.#options;
    const sealed = this.#segment;
    const first = this.#nextSequence;
    const name = segmentName(first);
    const header = encodeHeader({ kind: "segment", clusterId, sequence: first });
    const steps: NamedOperation[] = [
      ...this.#syncSegment(),
      [name, (next) => storage.create(name, next)],
      [name, (next) => storage.append(name, header, next)],
      [name, (next) => storage.sync(name, next)],
      ["the folder", (next) => storage.syncFolder(next)],
    ];
    this.#run("beginning a segment", steps, () => {
      this.#segment = { name, first, size: header.length };
      if (sealed !== undefined) this.#options.onSealed(sealed, first);
      done();
    });
  }

  #syncSegment(): NamedOperation[] {
    const name = this.#segment?.name;
    if (name === undefined || !this.#unsynced) return [];
    const sync = (done: Done): void =>
      this.#options.storage.sync(name, (error) => {
        if (error === undefined) this.#unsynced = false;
        done(error);
      });
    return [[name, sync]];
  }

  #run(what: string, steps: readonly NamedOperation[], done: () => void): void {
    let file = "";
    const named = steps.map(([name, operation]): Operation => {
      return (next) => {
        if (this.#dead) return;
        file = name;
        operation(next);
      };
    });
    inOrder(named, (error) => {
      if (this.#dead) return;
      if (error === undefined) return done();
      this.#failure = failedOperation(what, file, error);
      this.abandon();
      this.#options.onFatal(this.#failure);
      this.#closed();
    });
  }

  #closed(): void {
    const done = this.#onClosed;
    this.#onClosed = undefined;
    done?.(this.#failure);
  }
}
/** A request with what is decided because of it; more come in one turn only when much is going on. */
const LONE_COMMITS = 4;
type NamedOperation = readonly [file: string, operation: Operation];
