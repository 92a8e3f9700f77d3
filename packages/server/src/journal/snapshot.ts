import { encodeFrame } from "./frame.ts";
import { encodeHeader } from "./header.ts";
import { partialName, snapshotName } from "./names.ts";
import { arrayHead, pack } from "./records.ts";
import type { DurableState } from "./state.ts";
import { inOrder, type Done, type JournalStorage } from "./storage.ts";
import { Cancelled } from "./stream.ts";

export interface SnapshotOptions {
  readonly storage: JournalStorage;
  readonly clusterId: string;
  readonly state: DurableState;
  /** Last sequence that the state has seen. */
  readonly upTo: number;
  /** About how many bytes, and at most how many items, one frame holds. */
  readonly frameBytes: number;
  readonly frameItems: number;
  readonly isCancelled: () => boolean;
}

/**
 * Writes the state as a snapshot under its partial name, syncs it, and only then gives it its name; the older files
 * are needed until `done` came without an error. After an error the partial file may be left.
 */
export function writeSnapshot(options: SnapshotOptions, done: Done): void {
  const { storage, clusterId, upTo } = options;
  const name = snapshotName(upTo);
  const partial = partialName(name);
  const header = encodeHeader({ kind: "snapshot", clusterId, sequence: upTo });
  inOrder(
    [
      (next) => storage.create(partial, next),
      (next) => storage.append(partial, header, next),
      (next) => appendFrames(options, partial, next),
      (next) => storage.sync(partial, next),
      (next) => storage.rename(partial, name, next),
      (next) => storage.syncFolder(next),
    ],
    done,
  );
}

function appendFrames(options: SnapshotOptions, file: string, done: Done): void {
  const frames = framesOf(options);
  const step = (): void => {
    if (options.isCancelled()) return done(new Cancelled());
    let result: IteratorResult<Uint8Array>;
    try {
      result = frames.next();
    } catch (error) {
      return done(error instanceof Error ? error : new Error(String(error)));
    }
    if (result.done === true) return done();
    options.storage.append(file, result.value, (error) => (error === undefined ? step() : done(error)));
  };
  step();
}

function* framesOf(options: SnapshotOptions): Generator<Uint8Array, void> {
  let sequence = 1;
  let total = 0;
  let items: Uint8Array[] = [];
  let bytes = 0;
  for (const item of options.state.dump()) {
    const packed = pack(item);
    items.push(packed);
    bytes += packed.length;
    total += 1;
    if (bytes < options.frameBytes && items.length < options.frameItems) continue;
    yield encodeFrame(sequence, [arrayHead(items.length), ...items]);
    sequence += 1;
    items = [];
    bytes = 0;
  }
  if (items.length > 0) {
    yield encodeFrame(sequence, [arrayHead(items.length), ...items]);
    sequence += 1;
  }
  yield encodeFrame(sequence, [pack({ items: total })]);
}
