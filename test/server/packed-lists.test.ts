import { asObjectId, asSessionId, asTaskId, type TaskArray, type TaskSpec } from "@rain/protocol";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { addPacked, packRecord } from "../../packages/server/src/journal/packed-lists.ts";
import { arrayHead, pack, parseRecords } from "../../packages/server/src/journal/records.ts";

const request = { cpus: 1, gpus: 0, memory: 0, named: {} };
const taskOf = (id: number): TaskSpec => ({
  id: asTaskId(id),
  work: { type: "execute", args: ["echo", `größe ${id}`] },
  inputs: [],
  outputs: [],
  request,
});
const arrayOf = (first: number): TaskArray => ({
  first: asTaskId(first),
  count: 3,
  objects: asObjectId(0),
  task: { work: { type: "execute", args: ["echo", "a"] }, inputs: [], outputs: [], request },
  vary: [{ at: ["args", 1], values: ["a", "b", `${first}`] }],
});

test("a submit whose lists were packed part by part is the same in the journal", () => {
  // Lists of which the head has one byte, three, and five.
  const sizes = fc.array(fc.oneof(fc.nat(3), fc.constant(20), fc.constant(70_000)), { maxLength: 4 });
  fc.assert(
    fc.property(sizes, sizes, fc.boolean(), (tasks, arrays, resumes) => {
      let id = 0;
      const record = {
        type: "submitted" as const,
        session: asSessionId(1),
        key: "submit-key",
        tasks: [] as TaskSpec[],
        constants: [],
        arrays: [] as TaskArray[],
        ...(resumes && { resumes }),
      };
      for (const size of tasks)
        addPacked(
          record.tasks,
          Array.from({ length: size }, () => taskOf(id++)),
        );
      for (const size of arrays)
        addPacked(
          record.arrays,
          Array.from({ length: Math.min(size, 20) }, () => arrayOf(3 * id++)),
        );
      const bytes = packRecord(record);
      expect(Buffer.compare(bytes, pack(record))).toBe(0);
      if (record.tasks.length > 1_000) return;
      expect([...parseRecords(Buffer.concat([arrayHead(1), bytes]))]).toEqual([record]);
    }),
    { numRuns: 30 },
  );
});

test("a list that was filled otherwise is not taken for a packed one", () => {
  expect(() => addPacked([taskOf(1)], [taskOf(2)])).toThrow(/values that are not packed/);
});
