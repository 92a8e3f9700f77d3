import type { RainError } from "@rain/protocol";
import { failedOperation, type JournalNote } from "./failure.ts";
import { Journal } from "./journal.ts";
import { recover, type Recovered } from "./recover.ts";
import type { DurableState } from "./state.ts";
import { inOrder, type JournalStorage, type Operation } from "./storage.ts";

export interface JournalOptions<State extends DurableState> {
  readonly storage: JournalStorage;
  /** A journal of another cluster is refused. */
  readonly clusterId: string;
  /** Makes an empty state: one for the server, and one for each compaction. */
  readonly newState: () => State;
  /** Called once when the journal cannot be written: nothing is released from then on and the server must stop. */
  readonly onFatal: (error: RainError) => void;
  /** What the operator should know: a torn tail that was cut, a compaction that is done or failed. */
  readonly onNote?: ((note: JournalNote) => void) | undefined;
  /** A segment at least this large is sealed, bytes; default 64 MiB. */
  readonly segmentBytes?: number | undefined;
  /** Sealed segments together at least this large are compacted, bytes; default 256 MiB. */
  readonly compactAfterBytes?: number | undefined;
  /** Commits are put together into one append up to about this size, bytes; default 256 KiB. */
  readonly batchBytes?: number | undefined;
}

export interface OpenedJournal<State extends DurableState> {
  readonly journal: Journal;
  /** Rebuilt from the files: every commit that was ever released, in order. */
  readonly state: State;
  readonly nextSequence: number;
}
const MiB = 1_048_576;

/**
 * Reads the journal in the folder, or begins one in an empty folder. Throws RainError "bad-file" at once when a file
 * is damaged, newer, or of another cluster; nothing is changed on disk then. Otherwise `done` comes later, when the
 * folder is tidy and everything in `state` is synced, or with the operation that failed.
 */
export function openJournal<State extends DurableState>(
  options: JournalOptions<State>,
  done: (error: RainError | undefined, opened?: OpenedJournal<State>) => void,
): void {
  const { storage, clusterId, newState } = options;
  const onNote = options.onNote ?? (() => undefined);
  const state = newState();
  const recovered = recover(storage, clusterId, state);
  for (const note of recovered.notes) onNote(note);
  let isOpen = false;
  const journal = new Journal({
    storage,
    clusterId,
    newState,
    segmentBytes: options.segmentBytes ?? 64 * MiB,
    compactAfterBytes: options.compactAfterBytes ?? 256 * MiB,
    batchBytes: options.batchBytes ?? MiB / 4,
    ...recovered,
    onNote,
    onFatal: (error) => (isOpen ? options.onFatal(error) : done(error)),
  });
  inOrder(tidy(storage, recovered), (error) => {
    if (error !== undefined) return done(failedOperation("opening", "the journal's folder", error));
    journal.begin(() => {
      isOpen = true;
      done(undefined, { journal, state, nextSequence: recovered.nextSequence });
    });
  });
}

/**
 * The last segment is synced even when nothing was cut: a server killed between write and sync leaves records that are
 * read back now and acted upon, so they must not vanish with the power after that. For the same reason the folder is
 * synced before anything is removed: the name of the snapshot that makes it useless may not be on disk yet.
 */
function tidy(storage: JournalStorage, recovered: Recovered): Operation[] {
  const { segment, cutTo, useless } = recovered;
  const operations: Operation[] = [];
  if (segment !== undefined) {
    if (cutTo !== undefined) operations.push((next) => storage.truncate(segment.name, cutTo, next));
    operations.push((next) => storage.sync(segment.name, next));
  }
  if (useless.length > 0) operations.push((next) => storage.syncFolder(next));
  for (const name of useless) operations.push((next) => storage.remove(name, next));
  if (operations.length > 0) operations.push((next) => storage.syncFolder(next));
  return operations;
}
