import { describe, expect, test } from "vitest";
import { again, fuzz, fuzzOne, type Summary } from "./runner.ts";
import type { OpenTarget, Target } from "./target.ts";
import { decoder } from "./targets/decoder.ts";
import { http } from "./targets/http.ts";
import { journal } from "./targets/journal.ts";
import { sweep } from "./targets/sweep.ts";
import { tarArchives } from "./targets/tar.ts";

// Long on a busy machine; what is asserted is what happened, not how fast.
const LONG = 600_000;
const SEED = 1;

function expectClean(summary: Summary, runs: number): void {
  const text = summary.failures.map(
    ({ index, what, input }) => `${again(summary.target, SEED, index)}\n${what}\n${input}`,
  );
  expect(text).toEqual([]);
  expect(summary.runs).toBe(runs);
  // A target that takes nothing, or everything, tests nothing.
  expect(summary.accepted).toBeGreaterThan(runs / 200);
  expect(summary.refused).toBeGreaterThan(runs / 10);
}

test("R7: a million mutants of messages are decoded or refused", { timeout: LONG }, async () => {
  expectClean(await fuzz({ target: decoder, seed: SEED, runs: 1_000_000 }), 1_000_000);
});

test.each([
  ["tar", tarArchives, 2_000],
  ["sweep", sweep, 30_000],
  ["http", http, 2_000],
  ["journal", journal, 1_000],
] as const)("mutants of %s", { timeout: LONG }, async (_, target, runs) => {
  expectClean(await fuzz({ target, seed: SEED, runs }), runs);
});

/** A target that does this with input 37 of 100, and refuses the others. */
function planted(what: () => "accepted" | Promise<"accepted">): Target {
  const thirtySeventh = 37;
  const target: OpenTarget = {
    run: (random) => {
      const isIt = random.next() === marks[thirtySeventh];
      return isIt ? what() : "refused";
    },
    show: () => "the input",
  };
  return { name: "planted", slowMs: 20, open: () => Promise.resolve(target) };
}
/** The first number of each input. */
const marks: number[] = [];
const recorder: Target = {
  name: "recorder",
  open: () =>
    Promise.resolve({
      run: (random) => {
        marks.push(random.next());
        return "refused" as const;
      },
      show: () => "",
    }),
};

describe("the runner", () => {
  test("gives each input numbers of its own, the same each time", async () => {
    await fuzz({ target: recorder, seed: 5, runs: 100 });
    expect(new Set(marks).size).toBe(100);
    const first = [...marks];
    await fuzz({ target: recorder, seed: 5, runs: 100 });
    expect(marks.splice(100)).toEqual(first);
  });

  test.each<[string, () => "accepted" | Promise<"accepted">, RegExp]>([
    [
      "is thrown",
      () => {
        throw new TypeError("a crash");
      },
      /TypeError: a crash\n\s+at /,
    ],
    ["fails later", () => Promise.reject(new RangeError("a late crash")), /RangeError: a late crash/],
    [
      "takes long, each time",
      () => {
        const before = process.cpuUsage();
        while (process.cpuUsage(before).user < 40_000);
        return "accepted";
      },
      /it took \d+, \d+, \d+ ms; 20 are allowed/,
    ],
  ])("finds what %s, names the input and stops there", async (_, what, text) => {
    const target = planted(what);
    const { failures, runs } = await fuzz({ target, seed: 5, runs: 100 });
    expect(failures.map(({ index }) => index)).toEqual([37]);
    expect(failures[0]?.what).toMatch(text);
    expect(runs).toBeLessThan(40);
    expect(await fuzzOne(target, 5, 36)).toContain("refused in");
  });

  test("finds memory that is kept", { timeout: LONG }, async () => {
    const kept: Buffer[] = [];
    const target = planted(() => "accepted");
    const hoarder: Target = {
      ...target,
      slowMs: 60_000,
      open: () =>
        Promise.resolve({
          run: () => {
            if (kept.length < 300) kept.push(Buffer.alloc(2 ** 20, 1));
            return "refused" as const;
          },
          show: () => "the input",
        }),
    };
    const { failures } = await fuzz({ target: hoarder, seed: 5, runs: 5_000, balloonBytes: 60 * 2 ** 20 });
    expect(failures[0]?.what).toMatch(/the process grew by \d+ bytes/);
    kept.length = 0;
  });

  test("finds harm that shows afterwards", async () => {
    const target: Target = {
      name: "harm",
      open: () =>
        Promise.resolve({
          run: () => "refused" as const,
          show: () => "",
          check: () => Promise.reject(new Error("the canary is gone")),
        }),
    };
    const { failures } = await fuzz({ target, seed: 5, runs: 10 });
    expect(failures[0]?.what).toContain("the canary is gone");
  });
});
