import { existsSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const readme = await readFile(join(root, "README.md"), "utf8");
const blocks = (language: string): string[] =>
  [...readme.matchAll(new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``, "g"))].map((match) => match[1] ?? "");
/** Commands of the shell blocks, without their comments. */
const commands = blocks("sh")
  .flatMap((block) => block.split("\n"))
  .map((line) => line.replace(/\s+#.*$/, "").trim())
  .filter(Boolean);

let home = "";
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "rain-readme-"));
});
afterEach(async () => {
  await sh("npx rain stop");
  await rm(home, { recursive: true, force: true });
});
const sh = (command: string): Promise<{ exitCode?: number; stdout: string; all: string }> =>
  execa("sh", ["-c", command], { cwd: root, env: { RAIN_HOME: home }, all: true, reject: false });

/** Only the port and the folder of results differ from what is written: a test takes what is free. */
const adapt = (command: string): string =>
  command
    .replace("rain start --simple", "rain start --simple --listen 127.0.0.1:0")
    .replace("sweep.mjs", `sweep.mjs --epochs 2 --out ${join(home, "results")}`);

/** Experiment, size, dropout, value and state of the trials in a table: all but how long they took. */
const trialsIn = (text: string): string[][] =>
  text
    .split("\n")
    .filter((line) => / finished +\d/.test(line) && !line.startsWith("experiment"))
    .map((line) => line.trim().split(/ +/).slice(0, -1));

describe("README", () => {
  it("names exactly the commands that these tests run", () => {
    expect(commands).toEqual([
      "npm ci && npm run demo",
      "npm ci && npm test",
      "npx rain start --simple",
      "node examples/digits/sweep.mjs",
      "npx rain status",
      'npx rain run --seed 7 --localdir examples/digits train.mjs --data digits.csv.gz --epochs 20 --size "[16, 64]" --dropout "[0, 0.2, 0.4]"',
      "npx rain stop",
    ]);
  });

  it("commands by hand work in their order", async () => {
    for (const command of commands.slice(2)) {
      const { exitCode, all } = await sh(adapt(command));
      expect(exitCode, `${command}\n${all}`).toBe(0);
      if (command.includes("rain run")) expect(trialsIn(all)).toEqual(trialsIn(readme));
    }
    expect((await readFile(join(home, "results", "results.csv"), "utf8")).trim().split("\n")).toHaveLength(
      21,
    );
  }, 120_000);

  it("the script runs as it is written", async () => {
    await sh(adapt("npx rain start --simple"));
    const script = join(root, "examples", `.readme-${process.pid}.mjs`);
    await writeFile(script, blocks("js")[0] ?? "");
    try {
      const { stdout } = await execa("node", [script], { env: { RAIN_HOME: home } });
      expect(stdout.trim().split(/\s+/)).toEqual(["1", "4", "9", "16"]);
    } finally {
      await rm(script);
    }
  }, 60_000);

  it("the demo ends well and leaves nothing but its folder", async () => {
    const out = join(home, "demo");
    const before = await readdir(tmpdir());
    // `npm run demo` is this after a build; the build is there.
    const demo = await execa("node", ["examples/demo.mjs", "--out", out], {
      cwd: root,
      all: true,
      reject: false,
    });
    expect(demo.exitCode, demo.all).toBe(0);
    const rows = (await readFile(join(out, "results.csv"), "utf8")).trim().split("\n").slice(1);
    expect(rows).toHaveLength(20);
    expect(Math.max(...rows.map((row) => Number(row.split(",")[2])))).toBeGreaterThanOrEqual(0.95);
    expect(await readFile(join(out, "heatmap.svg"), "utf8")).toMatch(/^<svg[^]*<\/svg>\s*$/);
    const left = (await readdir(tmpdir())).filter(
      (name) => name.startsWith("rain-demo") && !before.includes(name),
    );
    expect(left).toEqual([]);
  }, 180_000);

  it("links lead somewhere", () => {
    const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)].map((match) => match[1] ?? "");
    expect(links.filter((link) => !existsSync(join(root, link)))).toEqual([]);
  });
});
