import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import * as instances from "../../packages/cli/src/instance.ts";
import * as processes from "../../packages/cli/src/processes.ts";

let dir: string;
let instance: instances.Instance;
const children: ChildProcess[] = [];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "rain-cli-"));
  instance = {
    name: "test",
    dir,
    accessFile: join(dir, "access.json"),
    journalDir: join(dir, "journal"),
    logDir: join(dir, "logs"),
    runDir: join(dir, "run"),
    governorsDir: join(dir, "governors"),
  };
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await rm(dir, { recursive: true, force: true });
});

async function start(command: string, ...args: string[]): Promise<processes.ProcessIdentity> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] });
  children.push(child);
  await once(child, "spawn");
  const identity = processes.identify(child.pid ?? 0);
  if (identity === undefined) throw new Error("it is gone already");
  return identity;
}

const write = (name: string, daemon: object): void => {
  instances.ensureDir(instance.runDir);
  writeFileSync(join(instance.runDir, name), JSON.stringify(daemon));
};

test("a daemon writes itself down, is listed and removed", () => {
  const claimed = instances.claimDaemon(instance, { role: "server", name: "server", log: "/x/server.log" });
  const daemon = instances.addUrl(claimed, "http://127.0.0.1:1");
  expect(daemon.pid).toBe(process.pid);
  expect(statSync(daemon.file).mode & 0o777).toBe(0o600);
  expect(statSync(instance.runDir).mode & 0o777).toBe(0o700);
  expect(instances.listDaemons(instance)).toEqual({ alive: [daemon], stale: [] });
  expect(instances.runningServer(instance)).toEqual(daemon);
  instances.removeDaemon(daemon);
  expect(existsSync(daemon.file)).toBe(false);
  expect(instances.runningServer(instance)).toBeUndefined();
});

test("the start time is field 22 of the process's stat", () => {
  const stat = readFileSync("/proc/self/stat", "utf8");
  // Our own name holds no blank, so that the fields can be counted plainly.
  expect(processes.identify(process.pid)?.startTime).toBe(stat.split(" ")[21]);
});

test("a reused number is another process: stale, and never signalled", async () => {
  const other = await start("sleep", "60");
  for (const change of [{ startTime: "1" }, { bootId: "another boot" }]) {
    const taken = { ...other, ...change };
    write("server.json", { role: "server", name: "server", ...taken });
    expect(instances.listDaemons(instance).alive).toEqual([]);
    expect(instances.listDaemons(instance).stale).toHaveLength(1);
    expect(processes.signal(taken, "SIGKILL")).toBe(false);
    expect(await processes.terminate([taken], 10)).toEqual({ terminated: [], killed: [], left: [] });
  }
  expect(processes.isAlive(other)).toBe(true);
  instances.removeStale(instance);
  expect(existsSync(join(instance.runDir, "server.json"))).toBe(false);
});

test("damaged and foreign files in run/ are stale, other names are left alone", () => {
  write("server.json", {});
  write("governor-a.json", { role: "governor", name: "a", pid: 1, startTime: "1", bootId: "x" });
  write("governor-b.json", { role: "king", name: "b", pid: process.pid, startTime: "1", bootId: "x" });
  writeFileSync(join(instance.runDir, "governor-c.json"), '{"role":');
  writeFileSync(join(instance.runDir, "notes.txt"), "mine");
  const { alive, stale } = instances.listDaemons(instance);
  expect(alive).toEqual([]);
  expect(stale).toHaveLength(4);
  instances.removeStale(instance);
  expect(existsSync(join(instance.runDir, "notes.txt"))).toBe(true);
});

test("a file that another process took over is not removed by the first", async () => {
  const first = instances.claimDaemon(instance, { role: "governor", name: "a" });
  const second = await start("sleep", "60");
  write("governor-a.json", { role: "governor", name: "a", ...second });
  instances.removeDaemon(first);
  expect(instances.readDaemon(first.file)?.pid).toBe(second.pid);
});

test("a place that another process has is refused; a stale one is taken", async () => {
  const other = await start("sleep", "60");
  write("governor-a.json", { role: "governor", name: "a", ...other });
  expect(() => instances.claimDaemon(instance, { role: "governor", name: "a" })).toThrow(`pid ${other.pid}`);
  expect(instances.readDaemon(join(instance.runDir, "governor-a.json"))?.pid).toBe(other.pid);
  write("governor-a.json", { role: "governor", name: "a", ...other, startTime: "1" });
  expect(instances.claimDaemon(instance, { role: "governor", name: "a" }).pid).toBe(process.pid);
  expect(readdirSync(instance.runDir)).toEqual(["governor-a.json"]);
});

test("the server is listed before the governors", () => {
  instances.claimDaemon(instance, { role: "governor", name: "a" });
  instances.claimDaemon(instance, { role: "server", name: "server" });
  expect(instances.listDaemons(instance).alive.map((one) => one.role)).toEqual(["server", "governor"]);
});

test("SIGTERM ends what listens to it, SIGKILL the rest", async () => {
  const gentle = await start("sleep", "60");
  const stubbornChild = spawn("sh", ["-c", "trap '' TERM; echo set; while :; do sleep 1; done"], {
    stdio: ["ignore", "pipe", "ignore"],
    detached: true,
  });
  children.push(stubbornChild);
  await once(stubbornChild.stdout, "data"); // the trap is set
  const stubborn = processes.identify(stubbornChild.pid ?? 0);
  if (stubborn === undefined) throw new Error("it is gone already");
  const result = await processes.terminate([gentle, stubborn], 300);
  expect(result).toEqual({ terminated: [gentle], killed: [stubborn], left: [] });
  process.kill(-stubborn.pid, "SIGKILL"); // its last sleep
});

test("a zombie counts as gone", async () => {
  // A shell starts cat and becomes sleep, which never asks for the end of a child.
  const script = "cat <&3 >/dev/null & echo $!; exec 3<&-; exec sleep 60";
  const parent = spawn("sh", ["-c", script], { stdio: ["ignore", "pipe", "ignore", "pipe"] });
  children.push(parent);
  const [chunk] = (await once(parent.stdout as Readable, "data")) as [Buffer];
  const pid = Number(chunk.toString());
  await expect.poll(() => readFileSync(`/proc/${parent.pid}/comm`, "utf8"), wait).toBe("sleep\n");
  const identity = processes.identify(pid);
  if (identity === undefined) throw new Error("it is gone already");
  expect(processes.isAlive(identity)).toBe(true);
  (parent.stdio[3] as Writable).end(); // cat reads the end of its input
  await expect.poll(() => processes.readStat(pid)?.state, wait).toBe("Z");
  expect(processes.isAlive(identity)).toBe(false);
});
const wait = { timeout: 10_000 };
