import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { failure, Kit, texts, until } from "./executor-kit.ts";

let kit: Kit;
beforeAll(async () => {
  kit = await Kit.start();
});
afterAll(async () => {
  expect(kit.taskFolders).toEqual([]);
  expect(kit.logged).toEqual([]);
  await kit.stop();
});

const output = { path: "all" };

describe("concat", () => {
  const work = { type: "concat" } as const;
  it("joins small pieces", async () => {
    const inputs = [{ bytes: "a" }, { bytes: "" }, { bytes: "bc" }];
    expect(texts(await kit.run({ work, inputs, outputs: [output] }))).toEqual(["abc"]);
    expect(texts(await kit.run({ work, outputs: [output] }))).toEqual([""]);
  });

  it("joins large pieces into a file", async () => {
    const pieces = [Buffer.alloc(3_000_000, "x"), Buffer.from("middle"), Buffer.alloc(1_048_576, "y")];
    const outcome = await kit.run({ work, inputs: pieces.map((bytes) => ({ bytes })), outputs: [output] });
    if (!outcome.ok) throw new Error(outcome.failure.message);
    const [report] = outcome.outputs;
    if (report === undefined) throw new Error("no output");
    expect(report.data).toBeUndefined();
    expect(readFileSync(kit.store.path(report.sha256)).equals(Buffer.concat(pieces))).toBe(true);
  });

  it("names a piece that is not there", async () => {
    const effect = await kit.effect({ work, inputs: [{ bytes: "gone", label: "first" }], outputs: [output] });
    for (const { sha256 } of effect.inputs) await kit.store.remove(sha256);
    const found = failure(await kit.begin(effect));
    expect(found).toMatchObject({ reason: "input-unavailable" });
    expect(found.message).toContain('"first"');
  });
});

describe("sleep", () => {
  it("hands its input on, by digest, after the time", async () => {
    for (const bytes of ["small", Buffer.alloc(200_000)]) {
      const effect = await kit.effect({
        work: { type: "sleep", seconds: 0.05 },
        inputs: [{ bytes }],
        outputs: [output],
      });
      const outcome = await kit.begin(effect);
      const [input] = effect.inputs;
      expect(outcome).toMatchObject({
        ok: true,
        outputs: [{ sha256: input?.sha256, size: bytes.length, contentType: "text" }],
      });
      expect(outcome.ok && outcome.outputs[0]?.data?.length).toBe(bytes.length > 65_536 ? undefined : 5);
      expect(outcome.info.durationS).toBeGreaterThan(0.045);
    }
  });

  it("is ended by terminate, however long", async () => {
    for (const force of [false, true]) {
      const effect = await kit.effect({ work: { type: "sleep", seconds: 1e8 }, inputs: [{ bytes: "x" }] });
      const outcome = kit.begin(effect);
      await until(() => kit.started.includes(effect.ref), "the sleep to begin");
      kit.executor.terminate(effect.ref, force);
      expect(failure(await outcome)).toMatchObject({
        reason: "signal",
        signal: force ? "SIGKILL" : "SIGTERM",
      });
    }
  });

  it("never begins when it is terminated at once", async () => {
    const effect = await kit.effect({ work: { type: "sleep", seconds: 1e8 } });
    const outcome = kit.begin(effect);
    kit.executor.terminate(effect.ref, false);
    expect(failure(await outcome).reason).toBe("signal");
    expect(kit.started).not.toContain(effect.ref);
  });
});
