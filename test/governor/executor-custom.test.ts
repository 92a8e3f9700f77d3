import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Work } from "@rain/protocol";
import { afterEach, describe, expect, it } from "vitest";
import type { OwnExecutor } from "../../packages/governor/src/executor/index.ts";
import { alive, failure, Kit, texts, until, withEnvironment } from "./executor-kit.ts";

/** Own executors that keep to the protocol, and some that do not. */

let kit: Kit | undefined;
afterEach(async () => {
  await kit?.stop();
  kit = undefined;
});

/** An executor of this Node: `body` says what becomes of a call. */
const node = (body: string, more: Partial<OwnExecutor> = {}): OwnExecutor => ({
  command: [
    process.execPath,
    "-e",
    `const fs = require("fs");
    const say = (message) => fs.writeSync(1, JSON.stringify(message) + "\\n");
    require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
      const m = JSON.parse(line);
      if (m.type === "hello") say({ type: "ready", protocol: 1 });
      else { ${body} }
    });`,
  ],
  ...more,
});
/** Answers with its pid; "die" ends it, "wait" waits for a cancel, "hang" for ever. */
const plain = `
  if (m.type === "cancel") { if (globalThis.hangs !== true) say({ type: "failed", id: m.id, message: "cancelled" }); }
  else if (m.method === "pid") { fs.writeFileSync(m.outputs[0].path, String(process.pid)); say({ type: "done", id: m.id }); }
  else if (m.method === "die") { console.error("last words"); process.exit(3); }
  else if (m.method === "call") { fs.writeFileSync(m.outputs[0].path, line); say({ type: "done", id: m.id, contentTypes: ["json"] }); }
  else if (m.method === "child") { require("child_process").spawn("sleep", ["600"], { stdio: "inherit", detached: true }); process.exit(4); }
  else if (m.method === "loud") { for (let n = 0; n < 100; n++) console.error("x".repeat(1000)); }
  else if (m.method === "hang") { globalThis.hangs = true; }
`;
const start = async (executors: Record<string, OwnExecutor>, more = {}): Promise<Kit> => {
  kit = await Kit.start({ executors: new Map(Object.entries(executors)), ...more });
  return kit;
};
const ask = (method: string, config?: unknown): Work => ({
  type: "custom",
  method,
  ...(config === undefined ? {} : { config: JSON.stringify(config) }),
});
const pidOf = async (own: Kit): Promise<number> =>
  Number(texts(await own.run({ work: ask("own/pid"), outputs: [{}] }))[0]);
/** Files of executors' stderr. */
const executorLogs = (own: Kit): string[] =>
  readdirSync(join(own.workdir, "logs")).filter((name) => name.startsWith("executor-"));

describe("an own executor", () => {
  it("is told its files, its config and its share", async () => {
    const own = await start({ own: node(plain) });
    const outcome = await own.run({
      work: ask("own/call", { deep: [1, { a: null }] }),
      inputs: [{ bytes: "abc", label: "text" }, { bytes: "" }],
      outputs: [{}],
      allocation: { cpus: 2, gpus: [1, 3], memory: 5 },
    });
    const call = JSON.parse(texts(outcome)[0] ?? "") as Record<string, unknown>;
    const folder = call["folder"] as string;
    expect(call).toEqual({
      type: "call",
      id: 1,
      method: "call",
      config: { deep: [1, { a: null }] },
      inputs: [
        { label: "text", path: `${folder}/inputs/0`, kind: "blob", size: 3, contentType: "" },
        { label: "", path: `${folder}/inputs/1`, kind: "blob", size: 0, contentType: "" },
      ],
      outputs: [{ label: "out0", path: `${folder}/outputs/0`, contentType: "text" }],
      folder,
      task: "1/1",
      attempt: 1,
      cpus: 2,
      gpus: [1, 3],
      memory: 5,
    });
    expect(outcome.ok && outcome.outputs[0]?.contentType).toBe("text"); // as declared, whatever it says
    expect(own.taskFolders).toEqual([]);
  });

  it("serves one call after the other in one process, two at once in two", async () => {
    const own = await start({ own: node(plain) });
    const first = await pidOf(own);
    expect(await pidOf(own)).toBe(first);
    const both = await Promise.all([pidOf(own), pidOf(own)]);
    expect(new Set(both).size).toBe(2);
    expect(both).toContain(first);
  });

  it("has no more processes than its concurrency, and a stopped call leaves the line", async () => {
    const own = await start({ own: node(plain, { concurrency: 1 }) });
    const slow = await own.effect({ work: ask("own/wait"), outputs: [{}] });
    const slowEnd = own.begin(slow);
    await until(() => own.started.length === 1, "the first call runs");
    const queued = await own.effect({ work: ask("own/pid"), outputs: [{}] });
    const queuedEnd = own.begin(queued);
    const last = own.run({ work: ask("own/pid"), outputs: [{}] });
    own.executor.terminate(queued.ref, false);
    expect(failure(await queuedEnd).message).toMatch(/stopped by SIGTERM before/);
    expect(own.started).toHaveLength(1);
    own.executor.terminate(slow.ref, false);
    expect(failure(await slowEnd).message).toBe("own/wait failed: cancelled");
    expect(texts(await last)).toHaveLength(1);
    expect(withEnvironment(own.cookie)).toHaveLength(1);
  });

  it("that dies fails its call, and the next call has a new process", async () => {
    const own = await start({ own: node(plain) });
    const first = await pidOf(own);
    const died = failure(await own.run({ work: ask("own/die") }));
    expect(died).toEqual({
      reason: "exit",
      message: "executor own exited with code 3 during own/die",
      exitCode: 3,
      stderr: "last words\n",
    });
    const second = await pidOf(own);
    expect(second).not.toBe(first);
    process.kill(second, "SIGKILL");
    await until(
      () => own.logged.some((line) => line.includes("ended by SIGKILL while idle")),
      "its death is noticed",
    );
    expect(await pidOf(own)).not.toBe(second);
  });

  it("takes its family with it", async () => {
    const own = await start({ own: node(plain) });
    expect(failure(await own.run({ work: ask("own/child") })).exitCode).toBe(4);
    expect(withEnvironment(own.cookie)).toEqual([]);
  });

  it("that ignores a cancel is killed, and nobody else", async () => {
    const own = await start({ own: node(plain) });
    const other = await own.effect({ work: ask("own/wait"), outputs: [{}] });
    const otherEnd = own.begin(other);
    const hanging = await own.effect({ work: ask("own/hang") });
    const end = own.begin(hanging);
    await until(() => own.started.length === 2, "both run");
    const processes = withEnvironment(own.cookie);
    expect(processes).toHaveLength(2);
    own.executor.terminate(hanging.ref, false);
    own.executor.terminate(hanging.ref, true);
    expect(failure(await end)).toMatchObject({ reason: "signal", signal: "SIGKILL" });
    expect(processes.filter(alive)).toHaveLength(1);
    own.executor.terminate(other.ref, false);
    expect(failure(await otherEnd).message).toMatch(/cancelled/);
  });

  it("is stopped after it was idle, and leaves no log behind", async () => {
    const own = await start({ own: node(plain, { idleS: 0.05 }) });
    const pid = await pidOf(own);
    await until(() => !alive(pid) && executorLogs(own).length === 0, "the idle process is gone");
    expect(await pidOf(own)).not.toBe(pid);
  });

  it("gets its own environment, without the settings of Rain", async () => {
    const body = `fs.writeFileSync(m.outputs[0].path, JSON.stringify(process.env)); say({ type: "done", id: m.id });`;
    const baseEnv = { ...process.env, RAIN_SECRET: "key" };
    const own = await start({ own: node(body, { env: { COLOUR: "green" } }) }, { baseEnv });
    const env = JSON.parse(texts(await own.run({ work: ask("own/env"), outputs: [{}] }))[0] ?? "") as object;
    expect(env).toMatchObject({ COLOUR: "green", RAIN_EXECUTOR: "own" });
    expect(env).not.toHaveProperty("RAIN_SECRET");
  });

  it("has its stderr in the log of the task", async () => {
    const body = `console.error("call " + m.id); say({ type: "done", id: m.id });`;
    const own = await start({ own: node(body) });
    for (const id of [1, 2]) {
      const effect = await own.effect({ work: ask("own/any") });
      expect((await own.begin(effect)).ok).toBe(true);
      const log = own.executor.logFile(effect.ref.session, effect.ref.task, "stderr");
      expect(log?.complete).toBe(true);
      expect(readFileSync(log?.path ?? "", "utf8")).toBe(`call ${id}\n`);
    }
  });

  it("that floods its stderr is stopped", async () => {
    const own = await start({ own: node(plain) }, { captureBytes: 50_000 });
    const flooded = failure(await own.run({ work: ask("own/loud") }));
    expect(flooded.reason).toBe("capture-limit");
    expect(flooded.message).toMatch(/executor own wrote more than 50000 bytes/);
  });

  it("large outputs are copied: what is written to them later changes nothing", async () => {
    const body = `
      if (m.method === "late") fs.writeSync(globalThis.fd, "b", 0);
      else { globalThis.fd = fs.openSync(m.outputs[0].path, "w"); fs.writeSync(fd, "a".repeat(200000)); }
      say({ type: "done", id: m.id });`;
    const own = await start({ own: node(body) });
    const outcome = await own.run({ work: ask("own/early"), outputs: [{}] });
    expect((await own.run({ work: ask("own/late") })).ok).toBe(true);
    if (!outcome.ok || !outcome.outputs[0]) throw new Error("no output");
    expect(readFileSync(own.store.path(outcome.outputs[0].sha256), "utf8")).toBe("a".repeat(200_000));
  });
});

describe("a bad executor", () => {
  const bad: [string, OwnExecutor, RegExp][] = [
    [
      "is missing",
      { command: ["/no/such/program"] },
      /could not be started: it cannot be run: spawn \/no\/such\/program ENOENT/,
    ],
    [
      "ends at once",
      { command: ["sh", "-c", "echo oh >&2; exit 7"] },
      /could not be started: it exited with code 7/,
    ],
    [
      "prints",
      { command: ["sh", "-c", "echo hello; cat"] },
      /wrote "hello" to stdout, which is for messages/,
    ],
    [
      "speaks a later protocol",
      { command: ["sh", "-c", `echo '{"type":"ready","protocol":2}'; cat >/dev/null`] },
      /speaks protocol 2; this governor speaks 1/,
    ],
    ["answers twice", node(`say({ type: "done", id: m.id + 1 });`), /answered call 2, and 1 is running/],
    ["says nonsense", node(`say({ type: "maybe" });`), /no message of an executor/],
    [
      "never ends its line",
      node(`fs.writeSync(1, "x".repeat(300000));`),
      /wrote a line of more than 262144 bytes/,
    ],
    [
      "writes nothing",
      node(`say({ type: "done", id: m.id });`),
      /output "out0" .* was not made by the program/,
    ],
    [
      "makes a link",
      node(`fs.symlinkSync("/etc/hosts", m.outputs[0].path); say({ type: "done", id: m.id });`),
      /must be a file, found a symbolic link/,
    ],
    [
      "makes up a type",
      node(
        `fs.writeFileSync(m.outputs[0].path, ""); say({ type: "done", id: m.id, contentTypes: ["nonsense"] });`,
      ),
      /contentTypes.0/,
    ],
  ];
  it.each(bad)("%s", async (_, executor, message) => {
    const own = await start({ own: executor });
    const failed = failure(await own.run({ work: ask("own/any"), outputs: [{}] }));
    expect(failed.message).toMatch(message);
    expect(["launch", "exit", "output-missing", "output-kind"]).toContain(failed.reason);
    expect(own.taskFolders).toEqual([]);
  });

  it("is not known", async () => {
    const own = await start({ own: node(plain) });
    const failed = failure(await own.run({ work: ask("other/any") }));
    expect(failed.message).toBe('this governor has no executor "other"; it has own');
  });
});
