import { join, resolve } from "node:path";
import { execa } from "execa";
import { afterAll, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";

const root = resolve(import.meta.dirname, "../..");
const cluster = await Cluster.start([2]);
afterAll(() => cluster.stop());

it("cross-validation: split, fit on the other folds, predict, gather", async () => {
  const script = join(root, "examples/crossval/crossval.mjs");
  const { stdout } = await execa("node", [script, "--folds", "3", "--rates", "0.1,0.5"], {
    env: { RAIN_HOME: cluster.home },
  });
  const lines = stdout.split("\n");
  expect(lines.map((line) => line.split("  ")[0])).toEqual(["rate=0.1", "rate=0.5"]);
  for (const line of lines) {
    expect(line.match(/0\.\d{4}/g)).toHaveLength(4);
    expect(Number(/mean (\S+)/.exec(line)?.[1])).toBeGreaterThan(0.9);
  }
}, 120_000);
