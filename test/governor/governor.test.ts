import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  asDigest,
  asObjectId,
  asSessionId,
  asTaskId,
  blobPath,
  logPath,
  RainError,
  type AttemptRef,
  type GovernorMessageOf,
  type ServerToGovernor,
  type TaskSpec,
} from "@rain/protocol";
import { createKey } from "@rain/protocol/access";
import { detectCapacity, startGovernor, type Governor, type GovernorOptions } from "@rain/governor";
import { TinyServer } from "./governor.server.ts";

vi.setConfig({ testTimeout: 60_000 });

const digestOf = (bytes: string): ReturnType<typeof asDigest> =>
  asDigest(createHash("sha256").update(bytes).digest("hex"));
const session = asSessionId(1);
const refOf = (task: number): AttemptRef => ({ session, task: asTaskId(task), attempt: 1 });

let root: string;
let server: TinyServer;
let lines: string[];
const governors: Governor[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "rain-governor-"));
  server = await new TinyServer().start();
  lines = [];
});
afterEach(async () => {
  await Promise.all(governors.splice(0).flatMap((governor) => [governor.stop(), governor.stop()]));
  await server.stop();
  await rm(root, { recursive: true, force: true });
});

function optionsOf(extra: Partial<GovernorOptions> = {}): GovernorOptions {
  return {
    serverUrl: server.url,
    key: server.keys.governor,
    workdir: join(root, "work"),
    name: "test",
    capacity: { cpus: 2, gpus: 0, memory: 1e9, named: {} },
    log: (level, text) => lines.push(`${level} ${text}`),
    killGraceMs: 200,
    ...extra,
  };
}
async function start(extra: Partial<GovernorOptions> = {}): Promise<Governor> {
  const governor = await startGovernor(optionsOf(extra));
  governors.push(governor);
  return governor;
}

type Parts = Partial<Pick<Extract<ServerToGovernor, { type: "assign" }>, "inputs">> & {
  readonly inputPaths?: readonly string[];
  readonly output?: string;
};
function shell(task: number, line: string, parts: Parts = {}): ServerToGovernor {
  const inputs = parts.inputs ?? [];
  const spec: TaskSpec = {
    id: asTaskId(task),
    work: { type: "execute", args: [line], shell: true },
    inputs: inputs.map(({ object }, index) => ({ object, path: parts.inputPaths?.[index] })),
    outputs: [
      {
        object: asObjectId(1_000 + task),
        label: "out",
        kind: "blob",
        contentType: "text",
        keep: true,
        ...(parts.output === undefined ? { capture: "stdout" } : { path: parts.output }),
      },
    ],
    request: { cpus: 1, gpus: 0, memory: 0, named: {} },
  };
  return { type: "assign", ...refOf(task), spec, inputs };
}
const inlineInput = (object: number, text: string) => ({
  object: asObjectId(object),
  kind: "blob" as const,
  size: Buffer.byteLength(text),
  sha256: digestOf(text),
  contentType: "text",
  data: new Uint8Array(Buffer.from(text)),
  sources: [],
});
const sourceInput = (object: number, text: string, source: { url: string; ticket: string }) => {
  const { data: _data, ...rest } = inlineInput(object, text);
  return { ...rest, sources: [source] };
};

describe("a governor", () => {
  it("registers, runs a task on its input, reports, and serves output and log", async () => {
    const governor = await start();
    expect(await governor.registered()).toBe(5);
    expect(await server.nextOf("holding")).toMatchObject({ objects: [], done: true });
    server.send(
      shell(1, "sleep 0.1; tr a-z A-Z < in", { inputs: [inlineInput(7, "hello\n")], inputPaths: ["in"] }),
    );
    expect(await server.nextOf("holding")).toMatchObject({ objects: [{ object: 7 }] });
    expect(await server.nextOf("started")).toMatchObject(refOf(1));
    const report = await server.report(refOf(1));
    expect(report).toMatchObject({
      type: "finish",
      outputs: [{ object: 1_001, size: 6, sha256: digestOf("HELLO\n"), contentType: "text" }],
      info: { exitCode: 0 },
    });
    if (report.type === "finish")
      expect(Buffer.from(report.outputs[0]?.data ?? []).toString()).toBe("HELLO\n");
    expect(await server.read(blobPath(digestOf("HELLO\n")))).toMatchObject({ status: 200, body: "HELLO\n" });
    const log = logPath(session, asTaskId(1), "stdout");
    expect(await server.read(log, "?offset=2")).toEqual({ status: 200, body: "LLO\n", complete: true });
    expect(await server.nextOf("heartbeat")).toMatchObject({ loopDelayMs: expect.any(Number) });
    // What the server lets go of is gone.
    server.send({ type: "drop", objects: [{ session, object: asObjectId(1_001) }] });
    await vi.waitFor(
      async () => expect((await server.read(blobPath(digestOf("HELLO\n")))).status).toBe(404),
      10_000,
    );
  });

  it("case 36: copies an input from another governor's data port, and starves with the reason when it cannot", async () => {
    const first = await start();
    await first.registered();
    server.send(shell(1, "head -c 100000 /dev/zero | tr '\\0' x"));
    await server.report(refOf(1));
    const text = "x".repeat(100_000);
    const path = blobPath(digestOf(text));
    const source = { url: server.dataUrl + path, ticket: server.ticket(path) };
    const second = await start({ workdir: join(root, "second"), name: "second" });
    await second.registered();
    const inputs = [sourceInput(1_001, text, source)];
    server.send(shell(2, "wc -c < in", { inputs, inputPaths: ["in"] }));
    expect(await server.report(refOf(2))).toMatchObject({ type: "finish", outputs: [{ size: 7 }] });
    const forged = [sourceInput(9, "else", { ...source, url: server.dataUrl + blobPath(digestOf("else")) })];
    server.send(shell(3, "true", { inputs: forged, inputPaths: ["in"] }));
    const starved = await server.report(refOf(3));
    expect(starved).toMatchObject({ type: "starved", missing: [{ object: 9 }] });
    if (starved.type === "starved") {
      expect(starved.missing[0]?.why).toMatch(/^127\.0\.0\.1:\d+ did not accept the ticket/);
    }
    // The last that registered was asked: it has written it down.
    const audit = join(root, "second", "logs", "audit.jsonl");
    expect(JSON.parse(await readFile(audit, "utf8"))).toMatchObject({
      verb: "ticket",
      target: blobPath(digestOf("else")),
      result: "refused",
    });
  });

  it("keeps an output whose bytes were dropped as another object's while it was made", async () => {
    const governor = await start();
    await governor.registered();
    for (let round = 0; round < 10; round += 1) {
      const [one, two] = [round * 2 + 1, round * 2 + 2];
      server.send(shell(one, "echo same"));
      await server.report(refOf(one));
      server.send(shell(two, "sleep 0.1; echo same"));
      await server.nextOf("started");
      server.send({ type: "drop", objects: [{ session, object: asObjectId(1_000 + one) }] });
      expect((await server.report(refOf(two))).type).toBe("finish");
      expect(await server.read(blobPath(digestOf("same\n")))).toMatchObject({ status: 200, body: "same\n" });
      server.send({ type: "drop", objects: [{ session, object: asObjectId(1_000 + two) }] });
    }
  });

  it("goes on while the server is away, and reports when it is back", async () => {
    const governor = await start();
    await governor.registered();
    server.send(shell(1, "while [ ! -e go ]; do sleep 0.02; done; echo done"));
    await server.nextOf("started");
    await server.stop();
    const runs = join(root, "work", "executor", "tasks");
    const [folder] = (await readdir(runs, { recursive: true })).filter((name) => name.endsWith("work"));
    await writeFile(join(runs, folder ?? "", "go"), "");
    await server.start();
    const again = await server.next(
      (message): message is GovernorMessageOf<"register"> =>
        message.type === "register" && message.attempts.length > 0,
    );
    expect(again).toMatchObject({ attempts: [refOf(1)] });
    expect(await server.report(refOf(1))).toMatchObject({ type: "finish" });
    server.peer?.close();
    expect(await server.nextOf("register")).toMatchObject({ attempts: [] });
  });

  it("case 25: cancels: TERM, then KILL for a program that ignores it", async () => {
    const governor = await start();
    await governor.registered();
    server.send(shell(1, "trap '' TERM; echo up; while :; do sleep 0.05; done"));
    await server.nextOf("started");
    const log = logPath(session, asTaskId(1), "stdout");
    await vi.waitFor(async () => expect((await server.read(log)).body).toBe("up\n"), 10_000);
    server.send({ type: "cancel", ...refOf(1) });
    expect((await server.report(refOf(1))).type).toBe("stopped");
  });
});

describe("leaving", () => {
  it("stops when it is told to: leaving, reports, exit 0, lock given back", async () => {
    const governor = await start();
    await governor.registered();
    server.send(shell(1, "sleep 100"));
    await server.nextOf("started");
    await governor.stop();
    await server.nextOf("leaving");
    expect((await server.report(refOf(1))).type).toBe("stopped");
    expect(await governor.exited).toEqual({ code: 0, reason: "stopped by its operator" });
    const next = await start();
    await next.registered();
    server.send({ type: "stop" });
    expect(await next.exited).toEqual({ code: 0, reason: "the server stopped this governor" });
  });

  it("stops at once without a server, and while the server does not answer", async () => {
    const deaf = await start();
    await deaf.registered();
    server.answer = "nothing";
    const unanswered = await start({ workdir: join(root, "other") });
    for (let registers = 0; registers < 2; registers += 1) await server.nextOf("register");
    await server.stop();
    await deaf.stop();
    await unanswered.stop();
    await expect(unanswered.registered()).rejects.toThrow(/ended before it was registered/);
    await server.start();
  });
});

describe("registration", () => {
  it("keeps its identity, changes its incarnation", async () => {
    const governor = await start();
    const first = await server.nextOf("register");
    await governor.registered();
    await governor.stop();
    await start();
    const second = await server.nextOf("register");
    expect(second.identity).toBe(first.identity);
    expect(second.incarnation).not.toBe(first.incarnation);
    expect((await stat(join(root, "work", "identity"))).mode & 0o777).toBe(0o600);
  });

  it("ends when the server refuses it", async () => {
    server.answer = "refuse";
    const governor = await start();
    expect(await governor.exited).toEqual({
      code: 1,
      reason: "the server refused this governor: there is another one",
    });
  });

  it("ends when the key is wrong or the cluster another one, and says so without the key", async () => {
    const key = createKey("governor");
    const wrong = await start({ key });
    await expect(wrong.registered()).rejects.toThrow(RainError);
    const { code, reason } = await wrong.exited;
    expect([code, reason]).toEqual([77, expect.stringMatching(/does not accept this governor key/)]);
    expect([reason, ...lines].join()).not.toContain(key);
    const lost = await start({ clusterId: "another" });
    expect((await lost.exited).reason).toMatch(/belongs to the cluster tiny/);
  });

  it("waits for a server that is not there yet, and says so once", async () => {
    await server.stop();
    const governor = await start();
    await vi.waitFor(() => expect(lines.some((line) => line.startsWith("warn"))).toBe(true), 10_000);
    await server.start();
    await governor.registered();
    expect(lines.filter((line) => line.includes("Trying again")).length).toBe(1);
  });
});

describe("the work folder", () => {
  it("belongs to one live governor; a stale lock is taken over", async () => {
    const governor = await start();
    await expect(startGovernor(optionsOf())).rejects.toThrow(new RegExp(`in use by process ${process.pid}`));
    await governor.stop();
    for (const stale of [
      JSON.stringify({ pid: process.pid, startTime: 1, bootId: "another boot" }),
      JSON.stringify({ pid: 2 ** 22 + 1, startTime: 1, bootId: null }),
      "half a lo",
    ]) {
      await writeFile(join(root, "work", "lock"), stale);
      await (await start()).stop();
    }
    const left = (await readdir(join(root, "work"))).filter((name) => name.startsWith("lock"));
    expect(left).toEqual([]);
  });

  it("must be safe, and its identity whole; a failed start leaves no lock", async () => {
    const workdir = join(root, "open");
    await mkdir(workdir);
    await chmod(workdir, 0o777);
    await expect(startGovernor(optionsOf({ workdir }))).rejects.toThrow(/can be written by every user/);
    await chmod(workdir, 0o700);
    await writeFile(join(workdir, "identity"), "?");
    await expect(startGovernor(optionsOf({ workdir }))).rejects.toThrow(/identity is damaged/);
    await expect(readFile(join(workdir, "lock"))).rejects.toThrow("ENOENT");
  });
});

describe("detectCapacity", () => {
  it("counts what is there", () => {
    const all = availableParallelism();
    expect(detectCapacity()).toMatchObject({ cpus: all, gpus: expect.any(Number), named: {} });
    expect(detectCapacity().memory).toBeGreaterThan(1e8);
    expect(detectCapacity({ cpus: 7 }).cpus).toBe(7);
    if (all > 1) expect(detectCapacity({ cpus: 1 - all }).cpus).toBe(1);
    expect(() => detectCapacity({ cpus: -all })).toThrow(/leaves none of the/);
  });
});

describe("runs", () => {
  it("metrics are told while a program runs, again after a lost connection, and summed up in its report", async () => {
    await (await start({ costPerHour: 3_600 })).registered();
    const go = join(root, "go");
    const message = shell(1, `echo loss=1; until [ -e ${go} ]; do sleep 0.02; done; echo loss=0.5`);
    if (message.type !== "assign") throw new Error("no assignment");
    server.send({ ...message, spec: { ...message.spec, metrics: true } });
    const first = await server.nextOf("metrics");
    expect(first).toMatchObject({ ...refOf(1), from: 0, points: [{ name: "loss", value: 1 }] });
    server.peer?.close();
    const again = await server.nextOf("metrics");
    expect(again).toEqual(first);
    await writeFile(go, "");
    const report = await server.report(refOf(1));
    if (report.type !== "finish") throw new Error(`it ${report.type}ed`);
    const { metrics, cost, durationS = 0 } = report.info;
    expect(metrics).toEqual({ loss: { last: 0.5, min: 0.5, max: 1, count: 2 } });
    expect(cost).toBeCloseTo(durationS / 2); // one of two cpus
    const told = server.heard.flatMap((each) => (each.type === "metrics" ? each.points : []));
    expect([...told, ...(report.metrics?.points ?? [])].map(({ value }) => value)).toEqual([0.5]);
  });

  it("an object that is not needed any more is not fetched again when it is, unless its place was", async () => {
    await (await start({ cacheBytes: 150_000 })).registered();
    const [text, other] = ["x".repeat(100_000), "y".repeat(100_000)];
    const nowhere = { url: "http://127.0.0.1:1/gone", ticket: "t" };
    const count = async (task: number, object: number, input: ReturnType<typeof sourceInput>) => {
      server.send(shell(task, "wc -c <in", { inputs: [input], inputPaths: ["in"] }));
      const report = await server.report(refOf(task));
      server.send({ type: "drop", objects: [{ session, object: asObjectId(object) }] });
      return report.type;
    };
    const given = (object: number, bytes: string) => ({ ...inlineInput(object, bytes), contentType: "" });
    const absent = (object: number, bytes: string) => ({
      ...sourceInput(object, bytes, nowhere),
      contentType: "",
    });
    expect(await count(1, 7, given(7, text))).toBe("finish");
    expect(await count(2, 8, absent(8, text))).toBe("finish");
    expect(await count(3, 9, given(9, other))).toBe("finish");
    const place = join(root, "work", "store", digestOf(text).slice(0, 2), digestOf(text));
    await vi.waitFor(() => expect(stat(place)).rejects.toThrow("ENOENT"), { timeout: 20_000 });
    expect(await count(4, 10, absent(10, text))).toBe("starved");
    expect(await count(5, 11, absent(11, other))).toBe("finish");
  });
});
