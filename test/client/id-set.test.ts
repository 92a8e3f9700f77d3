import { asTaskId, settledStates } from "@rain/protocol";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { IdSet } from "../../packages/client/src/id-set.ts";
import { TaskStates } from "../../packages/client/src/task-states.ts";

const id = fc.nat(60);
const step = fc.oneof(
  fc.record({ first: id, count: fc.nat(9) }),
  fc.record({ ids: fc.array(id, { maxLength: 9 }) }),
);

test("a set of numbers as ranges is the set of these numbers", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const [set, plain] = [new IdSet(), new Set<number>()];
      for (const one of steps) {
        if ("ids" in one) {
          set.addAll(one.ids);
          for (const number of one.ids) plain.add(number);
        } else {
          set.add(one.first, one.count);
          for (let k = 0; k < one.count; k++) plain.add(one.first + k);
        }
      }
      const sorted = [...plain].toSorted((a, b) => a - b);
      expect([...set]).toEqual(sorted);
      expect([...new IdSet(set)]).toEqual(sorted);
      expect(set.size).toBe(plain.size);
      for (let number = 0; number < 75; number++) expect(set.has(number)).toBe(plain.has(number));
      // Ranges are apart: what touches is one.
      for (let range = 1; range < set.ranges; range++)
        expect(set.start(range)).toBeGreaterThan(set.end(range - 1));
    }),
  );
});

test("what is known of tasks is as in a map of states, with the first ends in order", () => {
  // Numbers of two pages, and one far away.
  const task = fc.oneof(fc.nat(5), fc.integer({ min: 4_090, max: 4_100 }), fc.constant(2_000_000_000));
  const move = fc.oneof(
    fc.record({ expected: task, count: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ settled: task, state: fc.constantFrom(...settledStates) }),
  );
  fc.assert(
    fc.property(fc.array(move, { maxLength: 30 }), (moves) => {
      const states = new TaskStates();
      const [ends, open] = [new Map<number, string>(), new Set<number>()];
      for (const one of moves) {
        if ("settled" in one) {
          expect(states.settle(asTaskId(one.settled), one.state)).toBe(!ends.has(one.settled));
          ends.set(one.settled, one.state);
          open.delete(one.settled);
          continue;
        }
        states.expect(asTaskId(one.expected), one.count);
        for (let k = 0; k < one.count; k++) if (!ends.has(one.expected + k)) open.add(one.expected + k);
      }
      expect([states.settled, states.open]).toEqual([ends.size, open.size]);
      const order = Array.from({ length: ends.size }, (_, place) => states.at(place));
      expect(order).toEqual([...ends.keys()]);
      expect(states.at(ends.size)).toBeUndefined();
      for (const [number, state] of ends) expect(states.get(asTaskId(number))).toBe(state);
      for (const number of open) expect(states.get(asTaskId(number))).toBeUndefined();
      const unfinished = [...ends].filter(([, state]) => state !== "finished").map(([number]) => number);
      expect([...states.unfinished()]).toEqual(unfinished.toSorted((a, b) => a - b));
    }),
  );
});
