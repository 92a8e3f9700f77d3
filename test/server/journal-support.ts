import { asGovernorId, asSessionId, asTaskId, RainError } from "@rain/protocol";
import type { ServerRecord } from "../../packages/server/src/core/types.ts";
import {
  openJournal,
  type DurableState,
  type Journal,
  type JournalNote,
  type JournalOptions,
} from "../../packages/server/src/journal/index.ts";
import { pack, parseRecords } from "../../packages/server/src/journal/records.ts";
import { CallbackQueue, MemoryStorage } from "../support/memory-storage.ts";

export const CLUSTER = "test-cluster";

/** The simplest durable state: the records themselves. */
export class ListState implements DurableState {
  readonly records: ServerRecord[] = [];
  apply(record: ServerRecord): void {
    this.records.push(record);
  }
  *dump(): Generator<unknown, void> {
    yield* this.records;
  }
  load(item: unknown): void {
    this.records.push(...parseRecords(pack([item])));
  }
}

const session = asSessionId(1);
/** A promise, recognisable by its number; `padding` makes it longer. */
export const promise = (n: number, padding = ""): ServerRecord => ({
  type: "released",
  session,
  task: asTaskId(n),
  attempt: 1,
  counts: "nothing",
  why: padding,
});
export const hint = (n: number): ServerRecord => ({
  type: "assigned",
  session,
  task: asTaskId(n),
  attempt: 1,
  governor: asGovernorId(1),
});
/** Text of about `size` bytes that differs with `n`. */
export const padding = (n: number, size: number): string =>
  `${n}-`.repeat(Math.ceil(size / 2)).slice(0, size);

/** An open journal on a disk in memory, with all that it has said. */
export interface Bench {
  readonly queue: CallbackQueue;
  readonly storage: MemoryStorage;
  readonly journal: Journal;
  readonly state: ListState;
  readonly notes: JournalNote[];
  readonly fatal: RainError[];
  /** Commits released, in order, by the index of their commit. */
  readonly released: number[];
  /** Records of every commit made. */
  readonly commits: (readonly ServerRecord[])[];
  /** Makes a commit and follows it. */
  commit(...records: ServerRecord[]): void;
}
type Settings = Partial<Omit<JournalOptions<ListState>, "storage">>;

export const newDisk = (
  files?: ReadonlyMap<string, Uint8Array>,
): { queue: CallbackQueue; storage: MemoryStorage } => {
  const queue = new CallbackQueue();
  return { queue, storage: new MemoryStorage(queue.schedule, files) };
};

/** Begins to open a journal; what comes of it is in the result once the queue has run. */
export function beginOpen(
  disk: { queue: CallbackQueue; storage: MemoryStorage },
  settings: Settings = {},
): { error?: RainError; bench?: Bench } {
  const result: { error?: RainError; bench?: Bench } = {};
  const notes: JournalNote[] = [];
  const fatal: RainError[] = [];
  const released: number[] = [];
  const commits: (readonly ServerRecord[])[] = [];
  openJournal<ListState>(
    {
      storage: disk.storage,
      clusterId: CLUSTER,
      newState: () => new ListState(),
      onNote: (note) => notes.push(note),
      onFatal: (error) => fatal.push(error),
      ...settings,
    },
    (error, opened) => {
      if (error !== undefined) result.error = error;
      if (opened === undefined) return;
      const { journal, state } = opened;
      const commit = (...records: ServerRecord[]): void => {
        const index = commits.push(records) - 1;
        journal.commit(records, () => released.push(index));
      };
      result.bench = { ...disk, journal, state, notes, fatal, released, commits, commit };
    },
  );
  return result;
}

export function open(
  files?: ReadonlyMap<string, Uint8Array> | { queue: CallbackQueue; storage: MemoryStorage },
  settings: Settings = {},
): Bench {
  const disk = files !== undefined && "storage" in files ? files : newDisk(files);
  const result = beginOpen(disk, settings);
  disk.queue.drain();
  if (result.bench === undefined) throw result.error ?? new Error("the journal did not open");
  return result.bench;
}

/** Records that a journal of these files holds. */
export const recordsIn = (files: ReadonlyMap<string, Uint8Array>): ServerRecord[] =>
  open(files).state.records;

/** What a call throws; fails when it does not. */
export function thrownBy(action: () => unknown): RainError {
  try {
    action();
  } catch (error) {
    if (error instanceof RainError) return error;
    throw error;
  }
  throw new Error("it was expected to throw");
}
