import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ControlGroups } from "../../packages/governor/src/monitor/cgroup.ts";
import { Executor } from "../../packages/governor/src/executor/index.ts";
import { BlobStore } from "../../packages/governor/src/store/index.ts";
import { failure, Kit, texts, until, withEnvironment } from "./executor-kit.ts";

const stdout = { capture: "stdout" } as const;
const MIB = 2 ** 20;
/** Takes so many MiB, touches them, and stays. */
const take = (mib: number): string =>
  `exec node -e 'const b = Buffer.alloc(${mib} * 1048576, 1); setInterval(() => b[0]++, 1000)'`;

describe("memory, by watching", () => {
  let kit: Kit;
  beforeAll(async () => {
    kit = await Kit.start({ memoryLimit: "watch" });
  });
  afterAll(() => kit.stop());

  it("case 26: a program beyond what its task asks for is ended, and its neighbour is not", async () => {
    const neighbour = await kit.effect({
      work: { type: "execute", shell: true, args: ["while [ ! -e ../go ]; do sleep 0.05; done; echo fine"] },
      outputs: [stdout],
      memory: 50 * MIB,
    });
    const beside = kit.begin(neighbour);
    const failed = failure(await kit.shell(take(300), { memory: 150 * MIB }));
    expect(failed.reason).toBe("oom-killed");
    expect(failed.message).toContain(`its task asks for ${150 * MIB}`);
    expect(Number(/used (\d+) bytes/.exec(failed.message)?.[1])).toBeGreaterThan(150 * MIB);
    const folder = kit.taskFolders[0] ?? "";
    writeFileSync(join(kit.workdir, "tasks", folder, "go"), "");
    expect(texts(await beside)).toEqual(["fine\n"]);
    expect(withEnvironment(kit.cookie)).toEqual([]);
  });

  it("case 26: the whole family counts, what it shares once", async () => {
    const three = `for n in 1 2 3; do (${take(80)}) & done; wait`;
    expect(failure(await kit.shell(three, { memory: 200 * MIB })).reason).toBe("oom-killed");
    // Children of one program have its 100 MiB together.
    const shared =
      "python3 -c 'import os, time\nb = bytearray(104857600)\nfor n in range(4):\n" +
      '  if os.fork() == 0: time.sleep(1.2); os._exit(0)\ntime.sleep(1.2)\nprint("fine")\'';
    expect(texts(await kit.shell(shared, { memory: 250 * MIB, outputs: [stdout] }))).toEqual(["fine\n"]);
  });

  it("a task that asks for no memory has no limit, nor any task where limits are off", async () => {
    const quick = "node -e 'Buffer.alloc(200 * 1048576, 1); setTimeout(() => console.log(1), 700)'";
    expect(texts(await kit.shell(quick, { outputs: [stdout] }))).toEqual(["1\n"]);
    const off = await Kit.start({ memoryLimit: "off" });
    try {
      expect(texts(await off.shell(quick, { memory: 50 * MIB, outputs: [stdout] }))).toEqual(["1\n"]);
      expect(off.executor.limits.memory).toBe("off");
    } finally {
      await off.stop();
    }
  });
});

describe("processes", () => {
  it("case 24: a program that is too many processes is ended, all of it; the executor goes on", async () => {
    const kit = await Kit.start({ taskProcesses: 60 });
    try {
      let [worst, last] = [0, performance.now()];
      const beat = setInterval(() => {
        worst = Math.max(worst, performance.now() - last);
        last = performance.now();
      }, 50);
      // Each starts two more, detached: none would ever end by itself. At most 511 of them, for the machine's sake.
      const bomb = `cat > bomb <<'END'
depth=$1
[ "$depth" -gt 0 ] || exec sleep 1000
setsid sh bomb $((depth - 1)) &
setsid sh bomb $((depth - 1)) &
wait
END
sh bomb 8`;
      const failed = failure(await kit.shell(bomb));
      clearInterval(beat);
      expect(failed.reason).toBe("process-limit");
      expect(failed.message).toContain("of 60 that a task may have");
      await until(() => withEnvironment(kit.cookie).length === 0, "the end of all of them");
      expect(worst).toBeLessThan(2_000);
      expect(texts(await kit.shell("echo still here", { outputs: [stdout] }))).toEqual(["still here\n"]);
    } finally {
      await kit.stop();
    }
  });
});

describe("output that is only a log", () => {
  it("case 27: a program that prints without end goes on; its log takes little of the disk and keeps both ends", async () => {
    const captureBytes = 32 * MIB;
    const kit = await Kit.start({ captureBytes });
    try {
      // Prints five times the limit, and waits whenever more than a half of it lies on the disk.
      const program = `echo first
for n in $(seq 160); do
  head -c 1048576 /dev/zero | tr '\\0' x
  while [ "$(stat -L -c %b /proc/$$/fd/1)" -gt ${captureBytes / 2 / 512} ]; do sleep 0.02; done
done
echo; echo last`;
      const effect = await kit.effect({ work: { type: "execute", shell: true, args: [program] } });
      const outcome = await kit.begin(effect);
      expect(outcome.ok, JSON.stringify(outcome)).toBe(true);
      const log = kit.executor.logFile(effect.ref.session, effect.ref.task, "stdout");
      const text = readFileSync(log?.path ?? "", "latin1");
      expect(text.startsWith("first\nxxx")).toBe(true);
      expect(text.endsWith("xxx\nlast\n")).toBe(true);
      expect(text).toMatch(/\n\[\.\.\. \d+ bytes left out \.\.\.\]\n/);
      expect(text).not.toContain("\0");
      expect(statSync(log?.path ?? "").size).toBeLessThan(2 * MIB);
    } finally {
      await kit.stop();
    }
  }, 120_000);
});

describe("control groups", () => {
  let root: string;
  afterEach(() => rmSync(root, { recursive: true, force: true }));
  /** A folder that looks like a machine with these controllers: what is asked of the kernel can be read in it. */
  const machine = (controllers: string): string => {
    root = mkdtempSync(join(tmpdir(), "rain-cgroup-"));
    const own = join(root, "sys/fs/cgroup/user.slice/rain.scope");
    mkdirSync(own, { recursive: true });
    mkdirSync(join(root, "proc/self"), { recursive: true });
    writeFileSync(join(root, "proc/self/cgroup"), "0::/user.slice/rain.scope\n");
    writeFileSync(
      join(root, "proc/self/mountinfo"),
      "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
    );
    writeFileSync(join(own, "cgroup.controllers"), `${controllers}\n`);
    writeFileSync(join(own, "cgroup.procs"), `${process.pid}\n`);
    return own;
  };

  it("case 26: are used where they are delegated: each task that asks for memory gets its own", async () => {
    const own = machine("cpu memory pids");
    const groups = await ControlGroups.open(root);
    if (typeof groups === "string") throw new Error(groups);
    expect(readFileSync(join(own, "cgroup.subtree_control"), "utf8")).toBe("+memory +pids");
    expect(readFileSync(join(own, "rain-governor/cgroup.procs"), "utf8")).toBe(String(process.pid));
    const { procs } = await groups.make("1/2/3", { memory: 1_000_000, processes: 50 });
    const group = join(own, "rain-task-1-2-3");
    expect(procs).toBe(join(group, "cgroup.procs"));
    const said = (file: string): string => readFileSync(join(group, file), "utf8");
    expect([said("memory.max"), said("pids.max"), said("memory.oom.group")]).toEqual(["1000000", "50", "1"]);
  });

  it("a program enters its group, and has the arguments, the output and the status that it would have", async () => {
    const kit = await Kit.start();
    try {
      const { Bounds } = await import("../../packages/governor/src/executor/bounds.ts");
      const { runScript } = await import("../../packages/governor/src/executor/script.ts");
      const file = join(kit.root, "procs");
      const script = runScript({
        program: "/bin/sh",
        args: ["-c", 'echo "$$ $1"; exit 7', "x", "it's"],
        cwd: kit.root,
        env: { A: "b" },
        stdin: "/dev/null",
        stdout: join(kit.root, "out"),
        stderr: join(kit.root, "err"),
        group: file,
      });
      const path = join(kit.root, "script");
      writeFileSync(path, script);
      const status = execFileSync("/bin/sh", ["-c", '. "$1"; echo $?', "sh", path], { encoding: "utf8" });
      expect(status).toBe("7\n");
      expect(readFileSync(join(kit.root, "out"), "utf8")).toBe(`${readFileSync(file, "utf8").trim()} it's\n`);
      expect(Bounds).toBeDefined();
    } finally {
      await kit.stop();
    }
  });

  it("that are not there are no reason to fail, unless they were asked for", async () => {
    machine("cpu");
    const store = await BlobStore.open(join(root, "store"));
    const start = async (memoryLimit: "auto" | "cgroup"): Promise<string> => {
      const executor = new Executor({
        workdir: join(root, `work-${memoryLimit}`),
        store,
        systemRoot: root,
        memoryLimit,
        onStarted: () => undefined,
        onEnded: () => undefined,
        log: () => undefined,
      });
      await executor.start();
      const { memory } = executor.limits;
      await executor.stop();
      return memory;
    };
    expect(await start("auto")).toBe("watch");
    await expect(start("cgroup")).rejects.toThrow(/lacks the controllers memory, pids.*Delegate=yes/);
    expect(existsSync(join(root, "sys/fs/cgroup/user.slice/rain.scope/rain-governor"))).toBe(false);
  });
});
