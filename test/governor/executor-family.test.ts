import { existsSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { RunOutcome } from "../../packages/governor/src/executor/types.ts";
import { alive, execute, failure, Kit, texts, until, withEnvironment } from "./executor-kit.ts";

let kit: Kit;
beforeAll(async () => {
  kit = await Kit.start();
});
afterEach(async () => {
  expect(withEnvironment(kit.cookie)).toEqual([]);
  await rm(marker(), { force: true });
});
afterAll(async () => {
  expect(kit.taskFolders).toEqual([]);
  expect(kit.logged).toEqual([]);
  await kit.stop();
});

const stdout = { capture: "stdout" } as const;
const marker = (): string => join(kit.root, "pid");
const markerPid = (): number => Number(readFileSync(marker(), "utf8"));
const marked = (): boolean => existsSync(marker()) && readFileSync(marker(), "utf8").endsWith("\n");

describe("what a program leaves behind is dead when its end is reported", () => {
  it.each([
    ["a child in the background", `sleep 1000 & echo $! >$P`],
    ["a child without its environment", `env -i sleep 1000 & echo $! >$P`],
    [
      "one in a session of its own",
      `setsid sh -c 'echo $$ >$P; exec sleep 1000' & while ! [ -s $P ]; do sleep 0.01; done`,
    ],
    [
      "a daemon that forked twice",
      `(setsid sh -c '(echo $$ >$P; exec sleep 1000) &' &) ; while ! [ -s $P ]; do sleep 0.01; done`,
    ],
    [
      "one that ignores signals",
      `(trap '' TERM INT HUP; sh -c 'echo $$ >$P; exec sleep 1000') & while ! [ -s $P ]; do sleep 0.01; done`,
    ],
    ["a stopped one", `sleep 1000 & kill -STOP $!; echo $! >$P`],
  ])("%s", async (_, line) => {
    expect((await kit.shell(line.replaceAll("$P", marker()))).ok).toBe(true);
    expect(markerPid()).toBeGreaterThan(1);
    expect(alive(markerPid())).toBe(false);
  });

  it("before its outputs are read", async () => {
    const line = "(while :; do echo x >>out; done) & while ! [ -s out ]; do sleep 0.01; done";
    const outcome = await kit.shell(line, { outputs: [{ path: "out" }] });
    if (!outcome.ok) throw new Error(outcome.failure.message);
    expect(outcome.outputs[0]?.size).toBeGreaterThan(0);
  });

  it("without harm to tasks beside it", async () => {
    const go = join(kit.root, "go");
    const beside = kit.shell(`while ! [ -e ${go} ]; do sleep 0.05; done; echo survived`, {
      outputs: [stdout],
    });
    for (let i = 0; i < 5; i += 1) await kit.shell("sleep 1000 & setsid sleep 1000 &");
    await kit.shell(`: >${go}`);
    expect(texts(await beside)).toEqual(["survived\n"]);
  });
});

const begin = async (
  line: string,
): Promise<{ outcome: Promise<RunOutcome>; stop: (force: boolean) => void }> => {
  const args = [line.replaceAll("$P", marker())];
  const effect = await kit.effect({ work: { type: "execute", shell: true, args }, outputs: [stdout] });
  const outcome = kit.begin(effect);
  await until(marked, "the program");
  return { outcome, stop: (force) => kit.executor.terminate(effect.ref, force) };
};

describe("terminate", () => {
  it("sends TERM to the whole group", async () => {
    const { outcome, stop } = await begin("sleep 1000 & echo $! >$P; wait");
    stop(false);
    expect(failure(await outcome)).toMatchObject({ reason: "signal", signal: "SIGTERM", exitCode: 143 });
  });

  it("lets a program that handles TERM finish", async () => {
    const { outcome, stop } = await begin("trap 'echo bye; exit 0' TERM; sleep 1000 & echo $! >$P; wait");
    stop(false);
    expect(texts(await outcome)).toEqual(["bye\n"]);
  });

  it("kills with force what ignores TERM, escapees too", async () => {
    const { outcome, stop } = await begin(
      "trap '' TERM; setsid sh -c 'echo $$ >$P; exec sleep 1000' & while :; do sleep 0.1; done",
    );
    stop(false);
    stop(true);
    expect(failure(await outcome)).toMatchObject({ reason: "signal", signal: "SIGKILL" });
    expect(alive(markerPid())).toBe(false);
  });

  it("of a task that is still being prepared keeps it from starting", async () => {
    const effect = await kit.effect({ work: execute("touch", marker()) });
    const outcome = kit.begin(effect);
    kit.executor.terminate(effect.ref, false);
    expect(failure(await outcome)).toMatchObject({ reason: "signal", signal: "SIGTERM" });
    expect(existsSync(marker())).toBe(false);
    expect(kit.started).not.toContain(effect.ref);
  });

  it("at any moment ends the run exactly once", async () => {
    for (let turn = 0; turn < 40; turn += 1) {
      const effect = await kit.effect({ work: execute("sleep", "0.01") });
      const outcome = kit.begin(effect);
      const moment = setTimeout(() => kit.executor.terminate(effect.ref, turn % 3 === 0), turn / 4);
      await outcome;
      clearTimeout(moment);
      expect(kit.ended.filter(({ ref }) => ref === effect.ref)).toHaveLength(1);
    }
  });

  it("of an unknown attempt does nothing", async () => {
    const effect = await kit.effect({ work: execute("true") });
    kit.executor.terminate(effect.ref, true);
    expect((await kit.begin(effect)).ok).toBe(true);
  });
});

describe("the executor", () => {
  it("runs many tasks at once, each by itself", async () => {
    const runs = Array.from({ length: 60 }, (_, index) =>
      kit.run({ work: execute("sh", "-c", `echo ${index}; exit ${index % 7}`), outputs: [stdout] }),
    );
    const outcomes = await Promise.all(runs);
    for (const [index, outcome] of outcomes.entries()) {
      if (index % 7 === 0) expect(texts(outcome)).toEqual([`${index}\n`]);
      else expect(failure(outcome)).toMatchObject({ reason: "exit", exitCode: index % 7 });
    }
  });

  it("gets over the death of idle launchers", async () => {
    const own = await Kit.start();
    const pid = Number(texts(await own.shell("echo $PPID", { outputs: [stdout] }))[0]);
    process.kill(pid, "SIGKILL");
    for (let i = 0; i < 3; i += 1) expect((await own.shell("exit 0")).ok).toBe(true);
    await own.stop();
  });

  it("refuses to run after its stop", async () => {
    const own = await Kit.start();
    const running = own.shell("sleep 1000");
    await until(() => own.started.length === 1, "the start");
    await own.executor.stop();
    expect(failure(await running)).toMatchObject({ signal: "SIGKILL" });
    const effect = await own.effect({ work: execute("true") });
    expect(failure(await own.begin(effect)).reason).toBe("internal");
    await own.stop();
  });
});
