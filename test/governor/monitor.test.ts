import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { parseTimes } from "../../packages/governor/src/executor/launcher.ts";
import {
  parseStat,
  ProcessTable,
  readMemory,
  readSharedMemory,
  readStat,
  signalProcess,
} from "../../packages/governor/src/monitor/processes.ts";
import { Sweeper } from "../../packages/governor/src/monitor/sweep.ts";
import { alive, until } from "./executor-kit.ts";

const spawned: number[] = [];
afterEach(() => {
  for (const pid of spawned.splice(0)) if (alive(pid)) process.kill(pid, "SIGKILL");
});

/** A process that lives until it is killed. */
async function sleeper(env: Record<string, string>): Promise<number> {
  const child = spawn("/bin/sleep", ["1000"], { env, stdio: "ignore", detached: true });
  const { pid } = child;
  if (pid === undefined) throw new Error("sleep did not start");
  spawned.push(pid);
  await until(() => readStat(pid) !== undefined, "the process");
  return pid;
}

describe("/proc", () => {
  it("is read whatever the process is called", () => {
    const fields = Array.from({ length: 40 }, (_, index) => String(index + 4)).join(" ");
    expect(parseStat(7, `7 (a) b (c) S ${fields}`)).toEqual({
      pid: 7,
      state: "S",
      group: 5,
      session: 6,
      startTime: 22,
      kernelThread: false,
    });
  });
  it("knows this process, and not one that is gone", () => {
    expect(readStat(process.pid)?.pid).toBe(process.pid);
    const { peak = 0, now = 0 } = readMemory(process.pid) ?? {};
    expect(now).toBeGreaterThan(1_000_000);
    expect(peak).toBeGreaterThanOrEqual(now);
    expect(readSharedMemory([process.pid, 2 ** 22 + 1])).toBeGreaterThan(1_000_000);
    expect(readStat(2 ** 22 + 1)).toBeUndefined();
    expect(readMemory(2 ** 22 + 1)).toBeUndefined();
  });
  it("counts nothing for a process that is ending, and does not take it for one that cannot be told", async () => {
    const filled = "import time\nb = bytearray(b'x') * 314572800\ntime.sleep(1000)";
    const { pid } = spawn("python3", ["-c", filled], { stdio: "ignore" });
    if (pid === undefined) throw new Error("python3 did not start");
    spawned.push(pid);
    await until(() => (readSharedMemory([pid]) ?? 0) > 300 * 2 ** 20, "its memory");
    process.kill(pid, "SIGKILL");
    // The kernel takes its time to free so much; for most of it the process is neither alive nor a zombie.
    const seen = new Set<string>();
    let stat;
    do {
      seen.add(typeof readSharedMemory([pid]));
      stat = readStat(pid);
    } while (stat !== undefined && stat.state !== "Z" && stat.state !== "X");
    expect([...seen]).toEqual(["number"]);
  });
});

describe("the process table", () => {
  it("finds processes by cookie or launcher, new ones at every scan, and no others", async () => {
    const instance = randomUUID();
    const table = new ProcessTable(instance);
    const first = await sleeper({ X: "1", RAIN_TASK: `${instance}:1/2/3` });
    const launcher = await sleeper({});
    const foreign = await sleeper({ RAIN_TASK: `${instance}0:1/2/3`, Y: `RAIN_TASK=${instance}:9/9/9` });
    const pids = async (): Promise<unknown[]> =>
      (await table.scan()).map((found) => [found.pid, found.attempt, found.launcher]);
    expect(await pids()).toEqual([[first, "1/2/3", undefined]]);
    const second = await sleeper({ RAIN_TASK: `${instance}:1/3/1` });
    expect(new Set((await pids()).map(String))).toEqual(new Set([`${first},1/2/3,`, `${second},1/3/1,`]));
    table.addLauncher(launcher); // a launcher itself is no task process
    expect((await pids()).flat()).not.toContain(foreign);
    expect((await pids()).flat()).not.toContain(launcher);
  });
});

describe("a signal", () => {
  it("does not go to a process that has the pid of an earlier one", async () => {
    const pid = await sleeper({});
    const startTime = readStat(pid)?.startTime ?? 0;
    signalProcess({ pid, startTime: startTime - 1, launcher: undefined, attempt: undefined }, "SIGKILL");
    expect(alive(pid)).toBe(true);
    signalProcess({ pid, startTime, launcher: undefined, attempt: undefined }, "SIGKILL");
    await until(() => !alive(pid), "its death");
  });
});

describe("the sweeper", () => {
  it("kills what belongs to no living attempt, and nothing else", async () => {
    const instance = randomUUID();
    const sweeper = new Sweeper(new ProcessTable(instance));
    const [living, ended, lost] = await Promise.all(
      ["1/1/1", "1/2/1", "1/3/1"].map((attempt) => sleeper({ RAIN_TASK: `${instance}:${attempt}` })),
    );
    sweeper.begin("1/1/1");
    sweeper.begin("1/2/1");
    const ends = await Promise.all([sweeper.end("1/2/1", 0), sweeper.end("1/9/1", 0)]);
    expect(ends).toEqual([true, true]);
    await until(() => !alive(lost ?? 0), "the lost one's death");
    expect([alive(living ?? 0), alive(ended ?? 0)]).toEqual([true, false]);
    expect(await sweeper.sweepLeftovers()).toBe(0);
    await sweeper.end("1/1/1", 0);
    expect(alive(living ?? 0)).toBe(false);
  });
});

describe("times", () => {
  it("are read in the forms of dash, bash and busybox", () => {
    expect(parseTimes("0m1.230000s 1m0.010000s")).toBe(61.24);
    expect(parseTimes("0m0.067s 0m0.003s")).toBe(0.07);
  });
});
