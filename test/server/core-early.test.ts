import { asDigest, asObjectId, limits, type ConstantSpec, type Digest } from "@rain/protocol";
import type { ServerEffect } from "@rain/server/core";
import { describe, expect, it } from "vitest";
import { CoreKit, digestOf, taskSpec } from "./core-kit.ts";

/** Bytes of small inputs that go before the assignment that has no room for them. */

const constants = (from: number, count: number, size: number): ConstantSpec[] =>
  Array.from({ length: count }, (_, index) => ({
    id: asObjectId(from + index),
    label: "",
    kind: "blob",
    contentType: "",
    size,
    sha256: digestOf(from + index),
    keep: false,
    data: new Uint8Array(size),
  }));

interface Told {
  /** Messages of bytes, and then the assignment. */
  readonly early: readonly (readonly Digest[])[];
  readonly inputs: Extract<ServerEffect, { type: "assign" }>["inputs"];
}
function told(effects: readonly ServerEffect[]): Told {
  const place = effects.findIndex(({ type }) => type === "assign");
  const assign = effects[place];
  if (assign?.type !== "assign") return expect.fail("nothing was assigned");
  const early = effects.flatMap((effect, at) => {
    if (effect.type !== "send" || effect.message.type !== "bytes") return [];
    expect(at).toBeLessThan(place);
    const { objects } = effect.message;
    const bytes = objects.reduce((sum, { data }) => sum + data.length, 0);
    expect(bytes).toBeLessThanOrEqual(limits.inlineBytesPerMessage);
    return [objects.map(({ sha256 }) => asDigest(sha256))];
  });
  return { early, inputs: assign.inputs };
}

function assignOver(bench: CoreKit, inputs: readonly ConstantSpec[], id = 0): Told {
  const session = bench.open();
  const made = bench.submit(
    session,
    [taskSpec(id, { inputs: inputs.map((each) => ({ object: each.id })) })],
    inputs,
  );
  return told(made);
}

describe("small inputs without room in their assignment", () => {
  it("go before it, many in a message, and are named in it without data and sources", () => {
    const bench = new CoreKit();
    bench.register(100, { knows: ["bytes"] });
    const all = constants(0, 10_000, 1_024);
    const { early, inputs } = assignOver(bench, all);
    const inline = inputs.filter(({ data }) => data !== undefined).map(({ sha256 }) => sha256);
    expect(inline.length).toBe(1_024);
    expect([...inline, ...early.flat()].toSorted()).toEqual(all.map(({ sha256 }) => sha256).toSorted());
    expect(early.length).toBeLessThan(12);
    for (const { data, holders, onServer } of inputs)
      if (data === undefined) expect([holders, onServer]).toEqual([[], false]);
  });

  it("are read from the server by a governor that does not know the message", () => {
    const bench = new CoreKit();
    bench.register(100);
    const { early, inputs } = assignOver(bench, constants(0, 2_000, 1_024));
    expect(early).toEqual([]);
    expect(inputs.filter(({ data, onServer }) => data === undefined && onServer).length).toBe(976);
  });

  it("go only as far as a link takes at once: the others are read from where they are", () => {
    const bench = new CoreKit();
    bench.register(100, { knows: ["bytes"] });
    const large = (from: number): ConstantSpec[] => constants(from, 300, 65_536);
    const first = assignOver(bench, large(0));
    expect(first.early.flat().length).toBe(256);
    expect(first.inputs.filter(({ onServer, data }) => onServer && data === undefined).length).toBe(28);
    expect(assignOver(bench, large(1_000)).early).toEqual([]);
    bench.now += 1_000;
    expect(assignOver(bench, large(2_000)).early.flat().length).toBe(128);
    bench.now += 9_000;
    expect(assignOver(bench, large(3_000)).early.flat().length).toBe(256);
  });
});
