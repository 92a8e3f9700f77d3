import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { alive, until, withEnvironment } from "./executor-kit.ts";

const fixture = fileURLToPath(new URL("executor-child.mjs", import.meta.url));
const built = fileURLToPath(new URL("../../packages/governor/dist/executor/index.js", import.meta.url));

let root: string;
let children: ChildProcess[];
beforeEach(async () => {
  expect(existsSync(built), `${built} is missing: build first (npx tsc -b packages/governor)`).toBe(true);
  root = await mkdtemp(join(tmpdir(), "rain-kill-"));
  children = [];
});
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  for (const pid of withEnvironment(cookie())) process.kill(pid, "SIGKILL");
  await rm(root, { recursive: true, force: true });
});

const cookie = (): string => `RAIN_TASK=${readFileSync(join(root, "work/instance"), "utf8").trim()}:`;
/** Every process whose command line or environment leads to this test's folder: launchers among them. */
const pidsIn = (file: string): number[] =>
  readFileSync(join(root, file), "utf8").trim().split(/\s+/).map(Number);

async function governor(line?: string): Promise<{ child: ChildProcess; output: () => string }> {
  const child = spawn(
    process.execPath,
    [fixture, join(root, "work"), ...(line === undefined ? [] : [line])],
    {
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  children.push(child);
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  await until(() => output.includes("ready"), "the governor to be ready");
  return { child, output: () => output };
}

/** Pids of a launcher and of three levels below it. */
const tree = (): string =>
  `echo $PPID $$ >${root}/top; sh -c 'echo $$ >${root}/middle; sleep 1000 & echo $! >${root}/low; wait' & wait`;
const treeFiles = ["top", "middle", "low"];
const treePids = (): number[] => treeFiles.flatMap(pidsIn);
const treeStands = (): boolean =>
  treeFiles.every(
    (file) => existsSync(join(root, file)) && readFileSync(join(root, file), "utf8").endsWith("\n"),
  );

describe("a governor that is killed", () => {
  it("leaves no process of its tasks", async () => {
    const { child } = await governor(tree());
    await until(treeStands, "the tree of processes");
    const pids = treePids();
    expect(pids.map(alive)).toEqual([true, true, true, true]);
    child.kill("SIGKILL");
    await until(() => !pids.some(alive), "the tree to die");
    expect(withEnvironment(cookie())).toEqual([]);
  });

  it("leaves even those that left its groups only until the next start, with their folders", async () => {
    const escape = `setsid sh -c 'echo $$ >${root}/escaped; sleep 1000' & ${tree()}`;
    const { child } = await governor(escape);
    await until(() => treeStands() && existsSync(join(root, "escaped")), "the tree of processes");
    await until(() => readFileSync(join(root, "escaped"), "utf8").endsWith("\n"), "the escaped process");
    child.kill("SIGKILL");
    const pids = treePids();
    await until(() => !pids.some(alive), "the tree to die");
    const [escaped = 0] = pidsIn("escaped");
    expect(alive(escaped)).toBe(true);
    expect(readdirSync(join(root, "work/tasks")).filter((name) => name.startsWith("1-1-1-"))).toHaveLength(1);

    const next = await governor();
    expect(alive(escaped)).toBe(false);
    expect(next.output()).toMatch(/warn killed [12] processes that an earlier governor had left/);
    expect(withEnvironment(cookie())).toEqual([]);
    expect(readdirSync(join(root, "work/tasks"))).toEqual([]);
  });
});

describe("a governor that stops", () => {
  it("kills its tasks, reports them, and ends by itself", async () => {
    const { child, output } = await governor(tree());
    await until(treeStands, "the tree of processes");
    const pids = treePids();
    const exited = new Promise((resolve) => child.once("close", resolve));
    child.stdin?.end();
    expect(await exited).toBe(0); // nothing of the executor keeps the process alive
    expect(pids.some(alive)).toBe(false);
    expect(output()).toContain('"signal":"SIGKILL"');
    expect(output().match(/ended/g)).toHaveLength(2); // the word and the message
    expect(output()).toContain("stopped");
  });
});
