import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Kit, texts, until } from "./executor-kit.ts";

// How soon a folder serves again depends on what else begins on this machine.
vi.setConfig({ testTimeout: 120_000 });

let kit: Kit;
beforeEach(async () => {
  kit = await Kit.start();
});
afterEach(async () => {
  await kit.stop();
  expect(kit.logged).toEqual([]);
});

const stdout = { capture: "stdout" } as const;
const stderr = { capture: "stderr" } as const;
const spares = (): string[] => readdirSync(join(kit.workdir, "spare"));
const pwd = async (line = ""): Promise<string> => {
  const [text = ""] = texts(await kit.shell(`${line} pwd`, { outputs: [stdout] }));
  return text.trim();
};
/** A folder that other tasks had before: it is found once it has rested. */
const spareFolder = async (): Promise<string> => {
  for (let tries = 0; tries < 500; tries += 1) {
    const folder = await pwd();
    if (folder.includes("/spare/")) return folder;
    await delay(10);
  }
  throw new Error("no folder serves again");
};

describe("a folder whose program left nothing", () => {
  it("serves again, empty and private, and outputs are each task's own", async () => {
    const seen = new Map<string, number>();
    for (let task = 0; Math.max(0, ...seen.values()) < 3; task += 1) {
      const line = `pwd; ls -A . "$TMPDIR"; stat -c %a . ..; echo e${task} >&2`;
      const [out = "", err] = texts(await kit.shell(line, { outputs: [stdout, stderr] }));
      const [folder = "", ...rest] = out.trim().split("\n");
      expect(rest.filter((text) => text !== "" && !text.endsWith(":"))).toEqual(["700", "700"]);
      expect(err).toBe(`e${task}\n`);
      if (folder.includes("/spare/")) seen.set(folder, (seen.get(folder) ?? 0) + 1);
    }
    expect(Math.max(...seen.values())).toBe(3);
  });

  it("shows nothing of an earlier task, long or short", async () => {
    await spareFolder();
    for (const text of ["a".repeat(9_000), "b", "", "c".repeat(40_000), "d"]) {
      await delay(50);
      expect(texts(await kit.shell(`printf %s ${text}`, { outputs: [stdout, stderr] }))).toEqual([text, ""]);
    }
  });
});

describe("a folder does not serve again when its program", () => {
  for (const [what, line] of [
    ["left a file", "touch left;"],
    ["made and removed a file", "touch left; rm left;"],
    ["left a temporary file", 'touch "$TMPDIR/left";'],
    ["changed its rights", "chmod 755 .; chmod 700 .;"],
    ["put another file in the place of its output", "mv ../stdout ../other; touch ../stdout;"],
    ["has a link to its output elsewhere", "ln -f ../stderr ../../../stderr-link;"],
    ["changed the rights of its output", "chmod 666 ../stderr;"],
    ["told of its run", 'echo "{}" >"$RAIN_INFO";'],
  ] as const) {
    it(what, async () => {
      const where = join(kit.root, "where");
      const folder = async (task: string): Promise<string> => {
        expect(await kit.shell(`${task} pwd >${where}`)).toMatchObject({ ok: true });
        return readFileSync(where, "utf8").trim();
      };
      const used = async (task: string): Promise<string> => {
        for (;;) {
          await spareFolder();
          const path = await folder(task);
          if (path.includes("/spare/")) return path;
        }
      };
      expect(existsSync(await used(line))).toBe(false);
      // Without the change it does: only that made the difference.
      await expect.poll(async () => existsSync(await used("")), { timeout: 60_000 }).toBe(true);
    });
  }
});

it("a folder is gone after a program that changed it, and another is made ahead", async () => {
  await spareFolder();
  const used = new Set<string>();
  for (let task = 0; task < 20; task += 1) {
    const folder = await pwd("touch left;");
    expect(used.has(folder)).toBe(false);
    expect(existsSync(folder)).toBe(false);
    used.add(folder);
    await until(() => spares().length > 0, "a spare folder");
  }
});

it("a process that nobody knows keeps a folder from serving again", async () => {
  // Without its cookie and in a session of its own: it may have the files of its parent's output open.
  await spareFolder();
  const line = "env -i setsid sh -c 'echo $$ >&2; exec sleep 600' & sleep 0.2; pwd";
  for (let tries = 0; tries < 50; tries += 1) {
    await delay(50);
    const [folder = "", pid = ""] = texts(await kit.shell(line, { outputs: [stdout, stderr] }));
    process.kill(Number(pid.trim()), "SIGKILL");
    if (!folder.includes("/spare/")) continue;
    expect(existsSync(folder.trim())).toBe(false);
    return;
  }
  throw new Error("no spare folder was used");
});

it("spare folders are private, and gone with the executor", async () => {
  await spareFolder();
  await until(() => spares().length > 0, "a spare folder");
  expect(statSync(join(kit.workdir, "spare")).mode & 0o777).toBe(0o700);
  await kit.executor.stop();
  expect(spares()).toEqual([]);
});
