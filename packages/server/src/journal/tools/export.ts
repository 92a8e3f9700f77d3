import { DurableState } from "../../core/index.ts";
import { damaged, JournalDamage } from "../failure.ts";
import type { Frame } from "../frame.ts";
import { isTornHeader } from "../header.ts";
import { segmentName, sortNames } from "../names.ts";
import { parseRecords } from "../records.ts";
import { recover } from "../recover.ts";
import { scanFile, SnapshotItems, type FileSpec } from "../scan.ts";
import { withPlace } from "../state.ts";
import type { StoredFiles } from "../storage.ts";
import { survey } from "./survey.ts";

/** One line of an export. */
export type ExportLine =
  | { readonly snapshot: number; readonly item: unknown }
  | { readonly sequence: number; readonly record: unknown }
  | { readonly item: unknown };

/** Bytes beyond these are left out of an export. */
const SHOWN_BYTES = 48;
/** What users put into environments, and the keys by which a request is known again. */
const HIDDEN = new Set(["env", "key", "submitKeys"]);

/**
 * What the journal holds, in order: items of the snapshot, then records. Bytes are shortened, values of environments and
 * request keys are left out. Throws RainError "bad-file" where the journal is damaged, after what comes before that.
 */
export function* exportRecords(storage: StoredFiles, clusterId: string): Generator<ExportLine, void> {
  const { segments, snapshots } = sortNames(storage.list());
  const snapshot = snapshots.at(-1);
  const upTo = snapshot?.sequence ?? 0;
  if (snapshot !== undefined) {
    const items = new SnapshotItems(snapshot.name);
    for (const frame of framesOf({ kind: "snapshot", ...snapshot, clusterId }, storage, false))
      for (const item of withPlace(snapshot.name, frame, itemsOf(items, frame)))
        yield { snapshot: upTo, item: forPeople(item) };
    items.finish(storage.read(snapshot.name).length);
  }
  let next = upTo + 1;
  for (const file of segments.filter(({ sequence }) => sequence > upTo)) {
    if (file.sequence !== next) throw damaged(segmentName(next), 0, `it is missing, before ${file.name}`);
    for (const frame of framesOf(
      { kind: "segment", ...file, clusterId },
      storage,
      file === segments.at(-1),
    )) {
      for (const record of withPlace(file.name, frame, parseRecords(frame.payload)))
        yield { sequence: frame.sequence, record: forPeople(record) };
      next = frame.sequence + 1;
    }
  }
}

function* itemsOf(items: SnapshotItems, frame: Frame): Generator<unknown, void> {
  yield* items.read(frame);
}

/** The sound frames at the beginning of a file; then the error, when there is one. */
function* framesOf(spec: FileSpec, storage: StoredFiles, isLast: boolean): Generator<Frame, void> {
  const bytes = storage.read(spec.name);
  if (isLast && isTornHeader(bytes, spec)) return;
  try {
    yield* scanFile(spec, bytes, isLast).frames;
  } catch (error) {
    if (error instanceof JournalDamage)
      yield* survey(spec, bytes).frames.filter(({ offset }) => offset < error.offset);
    throw error;
  }
}

/** The state after every record, as the items of a snapshot. Throws RainError "bad-file" for damage. */
export function* exportState(storage: StoredFiles, clusterId: string): Generator<ExportLine, void> {
  const state = new DurableState();
  recover(storage, clusterId, state);
  for (const item of state.dump()) yield { item: forPeople(item) };
}

function forPeople(value: unknown): unknown {
  if (value instanceof Uint8Array) {
    const base64 = Buffer.from(value.subarray(0, SHOWN_BYTES)).toString("base64");
    return { bytes: value.length, base64, ...(value.length > SHOWN_BYTES ? { cut: true } : {}) };
  }
  if (Array.isArray(value)) return value.map(forPeople);
  if (typeof value !== "object" || value === null) return value;
  if (isOfEnvironment(value)) return { ...(hidden(value) as object), at: value.at };
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => {
      // `user` is the users' own, with whatever names they like.
      if (key === "user") return [key, each as unknown];
      return [key, HIDDEN.has(key) ? hidden(each) : forPeople(each)];
    }),
  );
}

/** The values of a variable in the tasks of an array. */
const isOfEnvironment = (value: object): value is { readonly at: readonly unknown[] } =>
  "at" in value && Array.isArray(value.at) && value.at[0] === "env";

/** Says that there is a value, and how long it is. */
function hidden(value: unknown): unknown {
  if (typeof value === "string") return `(${value.length} characters)`;
  if (Array.isArray(value)) return value.map(hidden);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, hidden(each)]));
}
