import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { useRain, WAIT } from "./kit.ts";

/** Every example of the user guide runs as a script of its own, and prints what stands below it. */

const root = resolve(import.meta.dirname, "../../..");
const guide = join(root, "docs/user-guide.md");

interface Block {
  readonly kind: string;
  readonly text: string;
  readonly line: number;
}
function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  for (const match of markdown.matchAll(/^```(.*)\n([^]*?)^```$/gm)) {
    const line = markdown.slice(0, match.index).split("\n").length;
    blocks.push({ kind: match[1] ?? "", text: match[2] ?? "", line });
  }
  return blocks;
}

const blocks = blocksOf(readFileSync(guide, "utf8"));
const textOf = (kind: string): string => blocks.find((block) => block.kind === kind)?.text ?? "";
const examples = blocks.flatMap((block, index): [number, string, string][] => {
  const next = blocks[index + 1];
  return block.kind === "js" ? [[block.line, block.text, next?.kind === "text" ? next.text : ""]] : [];
});

const rain = useRain([2]);
let folder = "";
beforeAll(async () => {
  // Inside the checkout, so that the scripts find the package.
  await mkdir(join(root, ".tsbuild"), { recursive: true });
  folder = await mkdtemp(join(root, ".tsbuild/guide-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test("the guide has examples, and each has its output", async () => {
  expect(examples.length).toBeGreaterThan(12);
  for (const [line, , printed] of examples) expect(printed, `example in line ${line}`).not.toBe("");
  expect(await readFile(guide, "utf8")).not.toMatch(/^```(?!js$|js begin$|js end$|text$|$)/m);
});

test.each(examples)("the example in line %i", WAIT, async (line, example, printed) => {
  const place = join(folder, String(line));
  await mkdir(place);
  await writeFile(join(place, "example.mjs"), [textOf("js begin"), example, textOf("js end")].join("\n"));
  const env = { RAIN_ACCESS_FILE: rain.cluster.accessFile, NO_COLOR: "1" };
  const { stdout } = await execa("node", ["example.mjs"], { cwd: place, env, stripFinalNewline: false });
  expect(stdout).toBe(printed);
});
