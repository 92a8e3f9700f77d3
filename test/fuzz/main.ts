import { availableParallelism, cpus } from "node:os";
import { again, fuzz, fuzzOne, type Summary } from "./runner.ts";
import type { Target } from "./target.ts";
import { decoder } from "./targets/decoder.ts";
import { http } from "./targets/http.ts";
import { journal } from "./targets/journal.ts";
import { sweep } from "./targets/sweep.ts";
import { tarArchives } from "./targets/tar.ts";

/** What `scripts/fuzz.mjs` runs. */

/** Every target and how many inputs it gets when nobody says. */
const targets: readonly (readonly [Target, number])[] = [
  [decoder, 1_000_000],
  [tarArchives, 5_000],
  [sweep, 50_000],
  [http, 5_000],
  [journal, 20_000],
];

export interface FuzzRequest {
  /** One of them; all when absent. */
  readonly target: string | undefined;
  readonly runs: number | undefined;
  readonly seed: number;
  readonly seconds: number | undefined;
  /** One input alone. */
  readonly only: number | undefined;
}

/**
 * Runs what was asked for. Answers whether nothing failed.
 * @public
 */
export async function runFuzz(request: FuzzRequest, print: (line: string) => void): Promise<boolean> {
  const chosen = targets.filter(([{ name }]) => request.target === undefined || name === request.target);
  if (chosen.length === 0) {
    print(
      `There is no target ${request.target}; there are: ${targets.map(([each]) => each.name).join(", ")}.`,
    );
    return false;
  }
  if (request.only !== undefined) {
    const outcomes: string[] = [];
    for (const [target] of chosen) outcomes.push(await fuzzOne(target, request.seed, request.only));
    for (const outcome of outcomes) print(outcome);
    return !outcomes.some((outcome) => outcome.includes("FAILED"));
  }
  const summaries: Summary[] = [];
  for (const [target, runs] of chosen) {
    let shown = 0;
    summaries.push(
      await fuzz({
        target,
        seed: request.seed,
        runs: request.runs ?? (request.seconds === undefined ? runs : Number.MAX_SAFE_INTEGER),
        seconds: request.seconds,
        onProgress: (done, seconds) => {
          if (seconds - shown < 30) return;
          shown = seconds;
          print(`${target.name}: ${done} inputs in ${seconds.toFixed(0)} s`);
        },
      }),
    );
  }
  print(
    `${cpus()[0]?.model ?? "unknown processor"}, ${availableParallelism()} cores, Node ${process.version}`,
  );
  for (const line of table(summaries)) print(line);
  for (const line of summaries.flatMap(failureLines)) print(line);
  return summaries.every(({ failures }) => failures.length === 0);
}

function table(summaries: readonly Summary[]): string[] {
  const titles = [
    "TARGET",
    "SEED",
    "INPUTS",
    "PER SECOND",
    "ACCEPTED",
    "REFUSED",
    "FAILED",
    "SLOWEST",
    "GREW",
  ];
  const rows = summaries.map((each) => [
    each.target,
    String(each.seed),
    String(each.runs),
    (each.runs / each.seconds).toFixed(0),
    String(each.accepted),
    String(each.refused),
    String(each.failures.length),
    `${each.slowest.ms.toFixed(1)} ms (input ${each.slowest.index})`,
    `${(each.grownBytes / 2 ** 20).toFixed(0)} MiB`,
  ]);
  const all = [titles, ...rows];
  const widths = titles.map((_, at) => Math.max(...all.map((row) => row[at]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

const failureLines = ({ target, seed, failures }: Summary): string[] =>
  failures.flatMap(({ index, what, input }) => [
    "",
    `${target}, input ${index}: ${what}`,
    input,
    `Again: ${again(target, seed, index)}`,
  ]);
