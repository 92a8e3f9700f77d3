import { asDigest, asGovernorId, asObjectId, asSessionId, asTaskId, type TaskInfo } from "@rain/protocol";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ServerRecord } from "../../packages/server/src/core/types.ts";
import { joinRecords } from "../../packages/server/src/journal/join.ts";
import { pack, parseRecords } from "../../packages/server/src/journal/records.ts";

const place = fc.record({
  session: fc.integer({ min: 1, max: 2 }).map(asSessionId),
  task: fc.nat(100_000).map(asTaskId),
  attempt: fc.integer({ min: 1, max: 2 }),
  governor: fc.integer({ min: 1, max: 2 }).map(asGovernorId),
});
const output = {
  object: asObjectId(1),
  size: 1,
  sha256: asDigest("ab".repeat(32)),
  contentType: "",
  data: Uint8Array.of(1),
};
const assigned = (rest: { readonly ahead?: true; readonly adopted?: boolean }) =>
  place.map((at): ServerRecord => ({ type: "assigned", ...at, ...rest }));
const finished = place.chain((at) =>
  fc
    .record({
      outputs: fc.constantFrom([], [output]),
      info: fc.constantFrom<TaskInfo>(
        {},
        { durationS: 0.5, exitCode: 0 },
        { durationS: 0.5, user: { a: 1 } },
      ),
      metrics: fc.constantFrom(undefined, undefined, { from: 0, points: [] }),
    })
    .map(({ metrics, ...rest }): ServerRecord => ({
      type: "finished",
      ...at,
      ...rest,
      ...(metrics === undefined ? {} : { metrics }),
    })),
);
const record = fc.oneof(
  { arbitrary: assigned({}), weight: 5 },
  { arbitrary: assigned({ ahead: true }), weight: 2 },
  assigned({ adopted: true }),
  { arbitrary: finished, weight: 5 },
  place.map(({ session, task }): ServerRecord => ({ type: "cancelled", session, tasks: [task] })),
);

describe("joined records", () => {
  test("are read as the records that they were made of, in order", () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 40 }), (records) => {
        const joined = joinRecords(records);
        expect([...parseRecords(pack(joined))]).toEqual(records);
      }),
      { numRuns: 300 },
    );
  });

  test("are one where all are alike, up to a limit", () => {
    const many = fc
      .sample(assigned({}), 2_500)
      .map((each) => ({ ...each, session: asSessionId(1) }) as ServerRecord);
    expect(joinRecords(many).map(({ type }) => type)).toEqual([
      "assigned.batch",
      "assigned.batch",
      "assigned.batch",
    ]);
  });

  test("that do not fit together are refused when they are read", () => {
    const bad = { type: "assigned.batch", session: 1, tasks: [1, 2], attempts: 1, governors: [1] };
    expect(() => [...parseRecords(pack([bad]))]).toThrow("record 0 (assigned.batch)");
  });
});
