import {
  asGovernorId,
  at,
  finishBatch,
  FinishList,
  isAsLong,
  isWhole,
  limits,
  ordinalColumn,
  packRefs,
  refBatch,
  toColumn,
  unpackFinishes,
  unpackRefs,
  type FinishBatch,
  type Numbers,
  type RefBatch,
} from "@rain/protocol";
import { z } from "zod";
import type { AssignedRecord, ServerRecord } from "../core/types.ts";

/**
 * Records in a row that are alike are one record in the journal, as columns: thousands of assignments and finishes a
 * second are what it holds most. Reading gives the records that were joined.
 */
export type JoinedRecord =
  | (RefBatch & {
      readonly type: "assigned.batch";
      readonly governors: Numbers;
      readonly ahead?: true | undefined;
    })
  | (FinishBatch & { readonly type: "finished.batch"; readonly governors: Numbers });

const isComplete = (record: { readonly governors: Numbers; readonly tasks: readonly number[] }): boolean =>
  isAsLong(record.governors, record.tasks.length);
export const joinedSchemas: {
  readonly [T in JoinedRecord["type"]]: z.ZodType<Extract<JoinedRecord, { readonly type: T }>>;
} = {
  "assigned.batch": z
    .strictObject({
      type: z.literal("assigned.batch"),
      ...refBatch,
      governors: ordinalColumn,
      ahead: z.literal(true).optional(),
    })
    .refine(...isWhole)
    .refine(isComplete),
  "finished.batch": z
    .strictObject({ type: z.literal("finished.batch"), ...finishBatch, governors: ordinalColumn })
    .refine(...isWhole)
    .refine(isComplete),
};

/** Records that wait to be joined with those that follow. */
type Run =
  | { readonly type: "assigned"; readonly first: AssignedRecord; readonly records: AssignedRecord[] }
  | {
      readonly type: "finished";
      readonly first: FinishedRecord;
      readonly records: FinishedRecord[];
      readonly list: FinishList;
    };
type FinishedRecord = Extract<ServerRecord, { readonly type: "finished" }>;

/** The same records, fewer where they can be joined. */
export function joinRecords(records: readonly ServerRecord[]): (ServerRecord | JoinedRecord)[] {
  const joined: (ServerRecord | JoinedRecord)[] = [];
  let run: Run | undefined;
  const end = (): void => {
    if (run !== undefined) joined.push(joinRun(run));
    run = undefined;
  };
  for (const record of records) {
    if (run !== undefined && goesOn(run, record)) continue;
    end();
    run = beginRun(record);
    if (run === undefined) joined.push(record);
  }
  end();
  return joined;
}

function beginRun(record: ServerRecord): Run | undefined {
  if (record.type === "assigned" && record.adopted === undefined)
    return { type: "assigned", first: record, records: [record] };
  if (record.type !== "finished" || record.metrics !== undefined) return undefined;
  const list = new FinishList(record.session, record);
  return { type: "finished", first: record, records: [record], list };
}

/** Takes the record into the run, if it belongs there. */
function goesOn(run: Run, record: ServerRecord): boolean {
  if (run.type === "finished") {
    if (record.type !== "finished" || record.metrics !== undefined) return false;
    if (!run.list.add(record.session, record)) return false;
    run.records.push(record);
    return true;
  }
  const { first, records } = run;
  if (record.type !== "assigned" || record.adopted !== undefined) return false;
  if (record.session !== first.session || record.ahead !== first.ahead) return false;
  if (records.length >= limits.batchItems) return false;
  records.push(record);
  return true;
}

function joinRun(run: Run): ServerRecord | JoinedRecord {
  if (run.records.length === 1) return run.first;
  const governors = toColumn(run.records.map(({ governor }) => governor));
  if (run.type === "finished") return { type: "finished.batch", ...run.list.pack(), governors };
  const { session, ahead } = run.first;
  const refs = packRefs(run.records);
  return { type: "assigned.batch", session, ...refs, governors, ...(ahead === undefined ? {} : { ahead }) };
}

/** The records that were joined. */
export function* splitRecord(joined: JoinedRecord): Generator<ServerRecord, void> {
  let place = 0;
  if (joined.type === "finished.batch") {
    const { session, governors } = joined;
    for (const finish of unpackFinishes(joined))
      yield { type: "finished", session, ...finish, governor: asGovernorId(at(governors, place++)) };
    return;
  }
  const { governors, ahead } = joined;
  for (const ref of unpackRefs(joined)) {
    const governor = asGovernorId(at(governors, place++));
    yield { type: "assigned", ...ref, governor, ...(ahead === undefined ? {} : { ahead }) };
  }
}
