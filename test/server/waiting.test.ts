import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Waiting, type Waits } from "../../packages/server/src/core/waiting.ts";

interface Item extends Waits<Item> {
  readonly name: number;
}

test("attempts that wait keep the order of their coming, from wherever others are taken", () => {
  const step = fc.record({
    what: fc.constantFrom("add", "delete", "first", "clear"),
    at: fc.nat({ max: 7 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const items = Array.from({ length: 8 }, (_, name): Item => ({
        name,
        isAhead: false,
        before: undefined,
        behind: undefined,
      }));
      const list = new Waiting<Item>();
      let model: Item[] = [];
      for (const { what, at } of steps) {
        const item = what === "first" ? list.first : items[at];
        if (what === "clear") {
          list.clear();
          model = [];
        } else if (item && what === "add") {
          list.add(item);
          if (!model.includes(item)) model.push(item);
        } else if (item) {
          expect(list.delete(item)).toBe(model.includes(item));
          model = model.filter((each) => each !== item);
        }
        expect([...list].map(({ name }) => name)).toEqual(model.map(({ name }) => name));
        expect([list.size, list.first]).toEqual([model.length, model[0]]);
        for (const each of items) expect(each.isAhead).toBe(model.includes(each));
      }
    }),
  );
});
