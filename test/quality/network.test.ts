import { expect, test } from "vitest";
import { Network } from "./network.ts";

/** When each transfer ends, in order: [from, to, bytes] at 100 bytes a second. */
function ends(transfers: readonly (readonly [number, number, number])[]): [number, number][] {
  const network = new Network(4, 100);
  const made: [number, number][] = [];
  let now = 0;
  for (const [at, [from, to, size]] of transfers.entries())
    network.start(from, to, size, () => made.push([at, Math.round(now * 1_000) / 1_000]));
  for (let { next } = network; next < Infinity; next = network.next) {
    now += next;
    network.pass(next);
  }
  return made;
}

test("transfers share the ports that they use, and nothing else", () => {
  expect(ends([[0, 1, 100]])).toEqual([[0, 1]]);
  // Two from one sender; another pair is not slowed down.
  expect(
    ends([
      [0, 1, 100],
      [0, 2, 100],
      [2, 3, 100],
    ]),
  ).toEqual([
    [2, 1],
    [0, 2],
    [1, 2],
  ]);
});

test("what a narrow port leaves over goes to others", () => {
  // Three share receiver 3; the sender of the first has two thirds left for its other transfer.
  expect(
    ends([
      [0, 3, 100],
      [1, 3, 100],
      [2, 3, 100],
      [0, 1, 100],
    ]),
  ).toEqual([
    [3, 1.5],
    [0, 3],
    [1, 3],
    [2, 3],
  ]);
});

test("a transfer that ends makes room for others", () => {
  expect(
    ends([
      [0, 1, 50],
      [0, 2, 100],
    ]),
  ).toEqual([
    [0, 1],
    [1, 1.5],
  ]);
});
