import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "../cluster.ts";

const root = resolve(import.meta.dirname, "../../..");
const text = await readFile(join(root, "examples/sweeps/README.md"), "utf8");

interface Example {
  readonly command: string;
  /** Experiments that the README promises. */
  readonly count: number | undefined;
}
/** The commands of each section, in their order: a later one may be about a run of an earlier one. */
const sections = text
  .split(/^## /m)
  .slice(1)
  .map((section) =>
    [...section.matchAll(/```sh\n([^]*?)```/g)]
      .flatMap(([, block = ""]) => block.trim().split("\n"))
      .map((line): Example => {
        const [, command = line, count] = /^(.*?)\s+# (\d+)$/.exec(line) ?? [];
        return { command, count: count === undefined ? undefined : Number(count) };
      }),
  );

let cluster: Cluster;
let bin: string;
beforeAll(async () => {
  cluster = await Cluster.start([3]);
  bin = join(cluster.home, "bin");
  await mkdir(bin);
  const script = join(bin, "rain");
  await writeFile(script, `#!/bin/sh\nexec node '${join(root, "packages/cli/bin/rain.mjs")}' "$@"\n`);
  await chmod(script, 0o755);
}, 60_000);
afterAll(() => cluster.stop(), 60_000);

async function run(command: string, cwd: string): Promise<string> {
  const { exitCode, stdout, all } = await execa("sh", ["-c", command], {
    cwd: join(root, cwd),
    env: { RAIN_HOME: cluster.home, PATH: `${bin}${delimiter}${process.env["PATH"] ?? ""}` },
    all: true,
    reject: false,
  });
  expect(exitCode, `${command}\n${all}`).toBe(0);
  return stdout;
}

interface Results {
  readonly experiments: readonly { readonly state: string; readonly params: Record<string, unknown> }[];
}
/** Runs one example; the combinations of its results, if it has any. */
async function check({ command, count }: Example, cwd: string): Promise<string[]> {
  if (count === undefined) {
    await run(command, cwd);
    return [];
  }
  const out = await run(command.replace(/^rain/, "rain -o json"), cwd);
  const { experiments } = JSON.parse(out) as Results;
  expect(
    experiments.map(({ state }) => state),
    command,
  ).toEqual(Array.from({ length: count }, () => "finished"));
  return experiments.map(({ params }) => JSON.stringify(params));
}

describe("the commands of examples/sweeps/README.md", () => {
  const [flags = [], numbers = []] = sections;

  it("are those with flags and those with numbers", () => {
    expect(sections).toHaveLength(2);
    expect(flags.length).toBeGreaterThan(25);
    expect(numbers.length).toBeGreaterThan(5);
  });

  it("with flags give the experiments that they promise", async () => {
    for (const example of flags) await check(example, "examples/digits");
  }, 600_000);

  it("with numbers give each completion a combination of its own", async () => {
    for (const example of numbers) {
      const picked = await check(example, ".");
      if (example.count !== undefined) expect(new Set(picked).size).toBe(6);
    }
  }, 300_000);
});
