import { RainError } from "@rain/protocol";
import type { ServerRecord } from "../core/types.ts";
import type { Frame } from "./frame.ts";
import { refused } from "./failure.ts";

/** What the journal rebuilds: records applied in order make the state; a snapshot is its items, dumped and loaded. */
export interface DurableState {
  apply(record: ServerRecord): void;
  /** Values that plain msgpack can hold, in an order in which `load` of each on a fresh state makes the same state. */
  dump(): Iterable<unknown>;
  load(item: unknown): void;
}

/**
 * Runs `steps`, that use what stands in `frame`. An error of them says where that is: RainError "bad-file", sound but
 * not understood.
 */
export function* withPlace<T>(name: string, frame: Frame, steps: Iterable<T>): Generator<T, void> {
  try {
    yield* steps;
  } catch (error) {
    throw error instanceof RainError && error.code === "bad-file" ? error : notUnderstood(name, frame, error);
  }
}

function notUnderstood(name: string, frame: Frame, cause: unknown): RainError {
  const text = cause instanceof Error ? cause.message : String(cause);
  const error = refused(
    name,
    `frame ${frame.sequence} at byte ${frame.offset} is whole but cannot be used: ${text}. Nothing was changed. ` +
      "Start the version of the server that wrote it, and report this.",
    { sequence: frame.sequence, offset: frame.offset },
  );
  return Object.assign(error, { cause });
}
