import { asObjectId, asTaskId, taskSpec, type InputSpec, type OutputSpec, type Work } from "@rain/protocol";
import { describe, expect, it } from "vitest";
import { checkCustom } from "../../packages/server/src/core/check-custom.ts";

/** What a submit may ask of own executors. */

const spec = (work: unknown, input: Partial<InputSpec> = {}, output: Partial<OutputSpec> = {}) => ({
  id: asTaskId(0),
  work: work as Work,
  inputs: [{ object: asObjectId(0), ...input }],
  outputs: [
    {
      object: asObjectId(1),
      label: "a/../b",
      kind: "blob" as const,
      contentType: "",
      keep: false,
      ...output,
    },
  ],
  request: { cpus: 1, gpus: 0, memory: 0, named: {} },
});
const work = { type: "custom", method: "py/run", config: "[1]" };

describe("a task of an own executor", () => {
  it("has inputs and outputs with any label and no place", () => {
    expect(taskSpec.safeParse(spec(work)).success).toBe(true);
    expect(checkCustom(spec(work))).toBeUndefined();
    expect(checkCustom(spec(work, { path: "x" }))).toMatch(/input 0 .* has no path, but x is given/);
    expect(checkCustom(spec(work, {}, { path: "x" }))).toMatch(/neither a path nor a capture/);
    expect(checkCustom(spec(work, {}, { capture: "stdout" }))).toMatch(/neither a path nor a capture/);
    expect(checkCustom(spec(work, {}, { kind: "directory" }))).toMatch(/is a blob, not a directory/);
  });

  it.each(["py", "py/", "/run", "py/run/x", "../run", "py/..", "p y/run", `${"x".repeat(65)}/run`])(
    "is not named %j",
    (method) => expect(taskSpec.safeParse(spec({ type: "custom", method })).success).toBe(false),
  );

  it.each(["", "{", "undefined", "{}x"])("has no config %j", (config) => {
    expect(taskSpec.safeParse(spec({ ...work, config })).success).toBe(false);
  });
});
