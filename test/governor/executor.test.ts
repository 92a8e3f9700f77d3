import { existsSync, readFileSync } from "node:fs";
import { symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { limits } from "@rain/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runScript } from "../../packages/governor/src/executor/script.ts";
import { execute, failure, Kit, texts, until } from "./executor-kit.ts";

let kit: Kit;
beforeAll(async () => {
  kit = await Kit.start({
    baseEnv: { PATH: process.env["PATH"], HOME: "/home/someone", RAIN_ACCESS_FILE: "/secret" },
  });
});
afterAll(async () => {
  expect(kit.taskFolders).toEqual([]);
  expect(kit.logged).toEqual([]);
  await kit.stop();
});

const stdout = { capture: "stdout" } as const;
const stderr = { capture: "stderr" } as const;

describe("a program", () => {
  it("gets its arguments exactly, and its stdout and stderr are outputs", async () => {
    const odd = ["", " ", "a'b\"c$HOME`id`\\", "two\nlines\r\t", "*", "-n", "Á\u0081\u0088é漢🌧", "'", "''"];
    const outcome = await kit.run({
      work: execute("printf", "[%s]", ...odd),
      outputs: [stdout, stderr],
    });
    expect(texts(outcome)).toEqual([odd.map((word) => `[${word}]`).join(""), ""]);
    expect(outcome.info).toMatchObject({ exitCode: 0 });
  });

  it("reports the start once, and times that make sense", async () => {
    const before = Date.now();
    const effect = await kit.effect({
      work: execute("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"),
    });
    const outcome = await kit.begin(effect);
    expect(kit.started.filter((ref) => ref.task === effect.ref.task)).toHaveLength(1);
    expect(kit.ended.filter(({ ref }) => ref.task === effect.ref.task)).toHaveLength(1);
    expect(outcome.info.startTime).toBeGreaterThanOrEqual(before);
    expect(outcome.info.cpuTimeS).toBeGreaterThan(0);
    expect(outcome.info.durationS).toBeGreaterThan(0);
  });

  it("runs a line of shell, whatever it begins with", async () => {
    expect(texts(await kit.shell("echo a b | tr a-z A-Z", { outputs: [stdout] }))).toEqual(["A B\n"]);
    const dash = await kit.shell("-x 2>/dev/null; echo ok", { outputs: [stdout] });
    expect(texts(dash)).toEqual(["ok\n"]);
  });

  it("is never a builtin of the launcher shell", async () => {
    const found = await kit.run({ work: execute("echo", "--version"), outputs: [stdout] });
    expect(texts(found)[0]).toContain("coreutils");
    const absent = await kit.run({ work: execute("set") });
    expect(failure(absent)).toMatchObject({ reason: "program-not-found" });
  });

  it("fails with its exit code, its signal, and the end of its stderr", async () => {
    const outcome = await kit.shell(
      `head -c 20000 /dev/zero | tr '\\0' x >&2; printf '\\377last' >&2; exit 3`,
    );
    const exit = failure(outcome);
    expect(exit).toMatchObject({ reason: "exit", exitCode: 3, message: "the program exited with code 3" });
    expect(exit.stderr).toMatch(/^x+\ufffdlast$/);
    expect(exit.stderr).toHaveLength(limits.stderrTailBytes);
    expect(outcome.info.exitCode).toBe(3);
    const signal = failure(await kit.shell("kill -SEGV $$"));
    expect(signal).toMatchObject({ reason: "signal", signal: "SIGSEGV", exitCode: 139 });
  });

  it("may kill its own process group, launcher and all", async () => {
    expect(failure(await kit.shell("kill -TERM 0; sleep 60"))).toMatchObject({ signal: "SIGTERM" });
    expect(failure(await kit.shell("kill -KILL 0; sleep 60"))).toMatchObject({ signal: "SIGKILL" });
    expect(texts(await kit.shell("echo next", { outputs: [stdout] }))).toEqual(["next\n"]);
  });

  it("starts with default signal actions", async () => {
    const line = "exec sed -n '/^Sig[BI]/p' /proc/self/status";
    const seen = texts(await kit.shell(line, { outputs: [stdout] }))[0];
    expect(seen).toBe("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  });
});

const broken = async (name: string, bytes: string | Buffer, args: string[] = []): Promise<string> => {
  const path = join(kit.root, name);
  await writeFile(path, bytes, { mode: 0o755 });
  const found = failure(await kit.run({ work: execute(path, ...args) }));
  expect(found.reason).toBe("launch");
  return found.message;
};

describe("a program that cannot be started", () => {
  it("case 31: is not found, and the searched PATH is named", async () => {
    const work = { type: "execute", args: ["no-such-program"], env: { PATH: "/usr/bin:/nowhere" } } as const;
    const found = failure(await kit.run({ work }));
    expect(found.reason).toBe("program-not-found");
    expect(found.message).toBe('program "no-such-program" was not found; searched PATH=/usr/bin:/nowhere');
    expect(failure(await kit.run({ work: execute("./absent") })).reason).toBe("program-not-found");
  });

  it("case 31: is not executable", async () => {
    const inputs = [{ bytes: "echo hi", path: "prog" }];
    const found = failure(await kit.run({ work: execute("./prog"), inputs }));
    expect(found).toMatchObject({ reason: "launch" });
    expect(found.message).toContain("EACCES");
  });

  it("case 31: has a bad interpreter", async () => {
    expect(await broken("interpreter", "#!/no/such/thing -x\n")).toContain("bad interpreter /no/such/thing");
  });
  it("is for another machine", async () => {
    const own = readFileSync(process.execPath).subarray(0, 4096);
    own.writeUInt16LE(0x1234, 18);
    expect(await broken("machine", own)).toContain("exec format error");
  });
  it("case 31: has too many arguments for the system", async () => {
    const script = await broken(
      "many",
      "#!/bin/sh\n",
      Array.from({ length: 30 }, () => "x".repeat(100_000)),
    );
    expect(script.toLowerCase()).toContain("argument list too long");
  });
  it("is told from a program that itself ends with 127", async () => {
    expect(failure(await kit.shell("no-such-command"))).toMatchObject({ reason: "exit", exitCode: 127 });
  });
});

const lines = async (env: Record<string, string>, allocation = {}): Promise<Map<string, string>> => {
  const work = { type: "execute", args: ["env", "-0"], env } as const;
  const text = texts(await kit.run({ work, allocation, outputs: [stdout] }))[0] ?? "";
  return new Map(
    text
      .split("\0")
      .filter((line) => line !== "")
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
};

describe("the environment", () => {
  it("is the governor's own without its secrets, plus what the task needs", async () => {
    const env = await lines({ MINE: "it's\nmine" });
    expect(env.get("HOME")).toBe("/home/someone");
    expect(env.get("MINE")).toBe("it's\nmine");
    expect(env.get("RAIN_TASK_ID")).toMatch(/^1\/\d+$/);
    expect(env.get("OMP_NUM_THREADS")).toBe("1");
    expect([...env.keys()].filter((name) => name.startsWith("RAIN_")).toSorted()).toEqual([
      "RAIN_INFO",
      "RAIN_TASK",
      "RAIN_TASK_ID",
    ]);
    expect(env.has("CUDA_VISIBLE_DEVICES")).toBe(false);
    expect(env.get("TMPDIR")).toMatch(/\/tmp$/);
    expect(env.get("PWD")).toMatch(/\/work$/);
  });

  it("has the task's share of the machine, unless its user says otherwise", async () => {
    const env = await lines({}, { cpus: 3.5, gpus: [2, 5] });
    expect([
      env.get("OMP_NUM_THREADS"),
      env.get("CUDA_VISIBLE_DEVICES"),
      env.get("ROCR_VISIBLE_DEVICES"),
    ]).toEqual(["3", "2,5", "2,5"]);
    const own = await lines({ OMP_NUM_THREADS: "7", CUDA_VISIBLE_DEVICES: "9" }, { gpus: [1] });
    expect([own.get("OMP_NUM_THREADS"), own.get("CUDA_VISIBLE_DEVICES")]).toEqual(["7", "9"]);
  });

  it("hides the GPUs of the machine from a task without any", async () => {
    const withGpus = await Kit.start({ gpus: 2 });
    const outcome = await withGpus.shell('echo "[$CUDA_VISIBLE_DEVICES]${CUDA_VISIBLE_DEVICES+set}"', {
      outputs: [stdout],
    });
    await withGpus.stop();
    expect(texts(outcome)).toEqual(["[]set\n"]);
  });

  it("takes names that mean something to a shell", async () => {
    const env = {
      IFS: "x",
      OPTIND: "words",
      PPID: "1",
      UID: "5",
      PS4: "p",
      RAIN_S: "",
      PATH: "/usr/bin:/bin",
    };
    const seen = await lines(env);
    for (const [name, value] of Object.entries(env)) expect([name, seen.get(name)]).toEqual([name, value]);
  });

  it("cannot be robbed of its cookie", async () => {
    const seen = await lines({ RAIN_TASK: "forged" });
    expect(seen.get("RAIN_TASK")).toContain(kit.cookie.slice("RAIN_TASK=".length));
  });

  it("gives a private folder that is empty, with TMPDIR outside it", async () => {
    const line = 'ls -A; stat -c %a . ..; touch "$TMPDIR/x"; ls -A';
    expect(texts(await kit.shell(line, { outputs: [stdout] }))).toEqual(["700\n700\n"]);
  });
});

const find = (name: string): string | undefined =>
  (process.env["PATH"] ?? "")
    .split(":")
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));

const serves = async (shell: readonly string[]): Promise<void> => {
  const other = await Kit.start({ shell });
  const env = { UID: "7", A: "it's" };
  const args = ["sh", "-c", 'printf "%s|" "$A" "$0" "$@"', "", "two\nlines"];
  const first = await other.run({ work: { type: "execute", args, env }, outputs: [stdout] });
  const second = await other.shell("kill -TERM 0; sleep 60");
  const third = await other.shell("kill -KILL $$");
  const fourth = await other.run({ work: execute("/bin/echo", "x".repeat(140_000)) });
  await other.stop();
  expect(texts(first)).toEqual(["it's||two\nlines|"]);
  expect(failure(second)).toMatchObject({ signal: "SIGTERM" });
  expect(failure(third)).toMatchObject({ signal: "SIGKILL" });
  expect(failure(fourth)).toMatchObject({ reason: "launch" });
  expect(other.logged).toEqual([]);
};

describe("the other shells", () => {
  const bash = find("bash");
  const busybox = find("busybox");

  it.skipIf(bash === undefined)("bash works as a launcher", async () => {
    await serves([bash ?? "", "--norc"]);
  });
  it.skipIf(bash === undefined)("bash works as a launcher under the name of sh", async () => {
    const sh = join(kit.root, "sh");
    await symlink(bash ?? "", sh);
    await serves([sh]);
  });
  it.skipIf(busybox === undefined)("busybox works as a launcher", async () => {
    await serves([busybox ?? "", "sh"]);
  });
});

describe("limits and logs", () => {
  it("case 27: stops a program that writes too much of an output", async () => {
    const small = await Kit.start({ captureBytes: 100_000 });
    const endless = failure(await small.shell("yes", { outputs: [stdout] }));
    const short = failure(await small.shell("head -c 100001 /dev/zero >&2", { outputs: [stderr] }));
    const exact = await small.shell("head -c 100000 /dev/zero", { outputs: [stdout] });
    await small.stop();
    expect(endless).toMatchObject({ reason: "capture-limit" });
    expect(endless.message).toContain("more than 100000 bytes to stdout");
    expect(short.message).toContain("to stderr");
    expect(exact.ok).toBe(true);
  });

  it("keeps the logs until they are forgotten, the middle of long ones left out", async () => {
    const effect = await kit.effect({
      work: {
        type: "execute",
        shell: true,
        args: [
          "head -c 1500000 /dev/zero | tr '\\0' a; head -c 1500000 /dev/zero | tr '\\0' b; echo oops >&2",
        ],
      },
      outputs: [stdout],
    });
    const { session, task } = effect.ref;
    expect(kit.executor.logFile(session, task, "stdout")).toBeUndefined();
    const outcome = await kit.begin(effect);
    expect(outcome).toMatchObject({ ok: true, outputs: [{ size: 3_000_000 }] });
    const out = kit.executor.logFile(session, task, "stdout");
    const err = kit.executor.logFile(session, task, "stderr");
    expect([out?.complete, err?.complete]).toEqual([true, true]);
    const text = readFileSync(out?.path ?? "", "latin1");
    const part = 512 * 1024;
    expect(text).toBe(
      `${"a".repeat(part)}\n[... ${3_000_000 - 2 * part} bytes left out ...]\n${"b".repeat(part)}`,
    );
    expect(readFileSync(err?.path ?? "", "utf8")).toBe("oops\n");
    kit.executor.forget(effect.ref);
    await expect.poll(() => existsSync(out?.path ?? "") || existsSync(err?.path ?? "")).toBe(false);
    expect(kit.executor.logFile(session, task, "stdout")).toBeUndefined();
  });

  it("shows a log while the program runs", async () => {
    const go = join(kit.root, "go");
    const line = `echo early; while ! [ -e ${go} ]; do sleep 0.05; done; echo late`;
    const effect = await kit.effect({ work: { type: "execute", shell: true, args: [line] } });
    const outcome = kit.begin(effect);
    const look = (): ReturnType<typeof kit.executor.logFile> =>
      kit.executor.logFile(effect.ref.session, effect.ref.task, "stdout");
    const read = (): string => {
      const { path = "", data } = look() ?? {};
      if (data !== undefined) return Buffer.from(data).toString();
      return existsSync(path) ? readFileSync(path, "utf8") : "";
    };
    await expect.poll(read, { timeout: 20_000 }).toBe("early\n");
    expect(look()?.complete).toBe(false);
    await writeFile(go, "");
    await outcome;
    expect(look()?.complete).toBe(true);
    expect(read()).toBe("early\nlate\n");
  });

  it("measures memory of a program that lives long enough", async () => {
    const [large, seen] = [join(kit.root, "large"), join(kit.root, "seen")];
    const line = `x=$(head -c 30000000 /dev/zero | tr '\\0' x); : >${large}; while ! [ -e ${seen} ]; do sleep 0.1; done`;
    const outcome = kit.shell(line);
    await until(() => existsSync(large), "a large process");
    await delay(1_200); // more than two samples
    await writeFile(seen, "");
    expect((await outcome).info.maxRssBytes).toBeGreaterThan(30_000_000);
  });
});

it("a run script is what the launcher reads", () => {
  const command = {
    program: "/bin/a b",
    args: ["it's"],
    cwd: "/w",
    env: { A: "1", IFS: "," },
    stdin: "/dev/null",
    stdout: "/o",
    stderr: "/e",
  };
  const line = (out: string, err: string): string =>
    "cd '/w' || exit 1\necho >&4\n" +
    `A='1' /usr/bin/env IFS=',' '/bin/a b' 'it'\\''s' <'/dev/null' ${out}'/o' ${err}'/e' 3<&- 4>&- 5>&-\nreturn\n`;
  expect(runScript(command)).toBe(line(">", "2>"));
  expect(runScript({ ...command, isPrepared: true })).toBe(line("1<>", "2<>"));
});
