import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { blob, json, output, TaskError, type Client, type Session, type Task } from "@rain/client";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Cluster, until } from "./cluster.ts";

/** The executors of examples/executors, run by a real governor. */

const examples = resolve(import.meta.dirname, "../../examples/executors");
const wordcount = `wordcount="${process.execPath}" "${join(examples, "dist/wordcount.js")}"`;
const hasPython =
  spawnSync("python3", ["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]).status === 0;
const py = `py=python3 "${join(examples, "rain_executor.py")}"`;

let cluster: Cluster;
let client: Client;
let session: Session;
beforeAll(async () => {
  cluster = await Cluster.start([]);
  await cluster.startGovernor("g0", 2, ["--executor", wordcount, ...(hasPython ? ["--executor", py] : [])]);
  client = await cluster.connect();
}, 60_000);
afterAll(async () => {
  await client?.close();
  await cluster?.stop();
});
beforeEach(async () => {
  session = await client.newSession("executors", { onError: "continue" });
});
afterEach(async () => session.close());

const result = async (task: Task): Promise<unknown> => (await task.output.fetch()).load();
async function run(...tasks: Task[]): Promise<unknown[]> {
  for (const task of tasks) task.keepOutputs();
  await session.submit();
  return await Promise.all(tasks.map(result));
}
async function failureOf(task: Task): Promise<TaskError> {
  await session.submit();
  const error: unknown = await task.wait().then(
    () => "it did not fail",
    (caught: unknown) => caught,
  );
  if (!(error instanceof TaskError)) throw new Error(`no TaskError: ${String(error)}`);
  return error;
}

/** Living processes whose environment has this text. */
function withEnvironment(text: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const dead = /\) [ZX] /.test(readFileSync(`/proc/${name}/stat`, "latin1"));
      return !dead && readFileSync(`/proc/${name}/environ`, "latin1").includes(text) ? [Number(name)] : [];
    } catch {
      return []; // it is gone, or not ours
    }
  });
}

interface Counted {
  readonly pid: number;
  readonly calls: number;
  readonly words: readonly (readonly [string, number])[];
}

describe("the TypeScript example", () => {
  const count = (text: string, config?: unknown): Task =>
    session.custom("wordcount/count", {
      inputs: [blob(text, { label: "text" }), session.execute(["echo", "rain rain"], { stdout: true })],
      ...(config !== undefined && { config }),
    });

  it("counts words, in one process for tasks that follow one another", async () => {
    const [first] = (await run(count("Rain, go away; come again", { top: 2 }))) as Counted[];
    const [second] = (await run(count("drizzle"))) as Counted[];
    expect(first?.words).toEqual([
      ["rain", 3],
      ["again", 1],
    ]);
    expect(second?.words).toEqual([
      ["rain", 2],
      ["drizzle", 1],
    ]);
    expect(second?.pid).toBe(first?.pid);
    expect(second?.calls).toBe((first?.calls ?? 0) + 1);
  });

  it("makes several outputs by their labels", async () => {
    const split = session.custom("wordcount/split", {
      inputs: [blob("a mackerel sky promises rain")],
      outputs: ["short", output("long", { contentType: "text" })],
    });
    split.keepOutputs();
    const both = session.execute(["cat", split.outputs.get("long"), split.outputs.get("short")], {
      stdout: true,
    });
    both.output.keep();
    await session.submit();
    expect((await both.output.fetch()).text()).toBe("mackerel\npromisesa\nsky\nrain");
    expect((await split.outputs.get("long").fetch()).contentType).toBe("text");
  });

  it("what it prints is the log of its task", async () => {
    const task = count("one");
    await run(task);
    let logged = "";
    for await (const chunk of task.logs()) if (chunk.stream === "stderr") logged += chunk.text;
    expect(logged).toBe("counting text (3 bytes)\ncounting stdout (10 bytes)\n");
  });

  it("an error in the method fails the task, with its stack", async () => {
    const error = await failureOf(count("one", { top: "all" }));
    expect(error.reason).toBe("exit");
    expect(error.message).toContain(
      'wordcount/count failed: TypeError: config.top must be a number, not "all"',
    );
    expect(error.stderr).toMatch(/TypeError: config.top[^]*at readTop .*wordcount/);
    const unknown = await failureOf(session.custom("wordcount/nothing"));
    expect(unknown.message).toContain('there is no method "nothing"; known are count, split');
  });

  it("an output that is not made fails the task", async () => {
    const task = session.custom("wordcount/split", {
      inputs: [blob("x")],
      outputs: ["short", "long", "more"],
    });
    const error = await failureOf(task);
    expect(error.reason).toBe("output-missing");
    expect(error.message).toContain('output "more"');
  });

  it("that is killed is started again", async () => {
    const [before] = (await run(count("one"))) as Counted[];
    process.kill(before?.pid ?? 0, "SIGKILL");
    // The death may come before or after the next call: retried, the call must get a new process.
    const again = session.custom("wordcount/count", { inputs: [blob("two")], retries: 3 });
    const [after] = (await run(again)) as Counted[];
    expect(after?.pid).not.toBe(before?.pid);
    expect(after?.words).toEqual([["two", 1]]);
  });
});

it("a task whose executor nobody has waits, and explain says why", async () => {
  const task = session.custom("letters/count", { inputs: [blob("x")] });
  await session.submit();
  const { stdout } = await until(async () => {
    const explained = await cluster.rain("explain", `${session.id}/${task.id}`);
    return explained.stdout.includes("no connected governor") && explained;
  });
  expect(stdout).toContain("no connected governor has what it asks for");
  expect(stdout).toMatch(/g0 lacks executor letters \(has wordcount/);
  const [governor] = (await client.serverInfo()).governors;
  expect(governor?.executors).toContain("wordcount");
  await cluster.startGovernor("g1", 1, ["--executor", `letters=sh -c "exit 9"`]);
  await expect(task.wait()).rejects.toThrow(/executor letters could not be started: it exited with code 9/);
}, 60_000);

describe("what can be known before submit", () => {
  it.each([
    ["count", /NAME\/METHOD/],
    ["a b/c", /NAME\/METHOD/],
    ["../x/y", /NAME\/METHOD/],
    ["x/..", /NAME\/METHOD/],
  ])("the method %s", (method, message) => {
    expect(() => session.custom(method)).toThrow(message);
  });
  it("inputs, outputs and config", () => {
    const custom =
      (options: object): (() => unknown) =>
      () =>
        session.custom("a/b", options);
    expect(custom({ inputs: ["text"] })).toThrow(/custom a\/b: inputs\[0\]: must be a data object/);
    expect(custom({ outputs: ["x", "x"] })).toThrow(/two outputs have the label "x"/);
    expect(custom({ outputs: [output("x", { path: "y" })] })).toThrow(/leave out path/);
    expect(custom({ config: 1n })).toThrow(/config: is no JSON value/);
    expect(custom({ config: "x".repeat(2_000_000) })).toThrow(/the limit is 1048576/);
    expect(custom({ konfig: 1 })).toThrow(/unknown option "konfig"/);
    expect(() => session.python("def f(): pass", [], { as: "pickle" as "json" })).toThrow(/python: as:/);
    expect(() => session.python(1 as unknown as string)).toThrow(/python: the source: must be a string/);
  });
});

// A clear skip: without Python 3.9 there is nothing to test.
describe.skipIf(!hasPython)("the Python executor (needs python3 3.9 or later)", () => {
  it("calls a function with its inputs, and hands on what it returns", async () => {
    const mean = session.python(
      `
      import statistics
      def mean(*numbers, digits=2):
          print("to the log")
          return round(statistics.mean(numbers), digits)
      `,
      [json(1), json(2), session.execute(["echo", "5"], { stdout: true })],
      { as: "json", args: { digits: 3 }, name: "mean" },
    );
    const text = session.python("def shout(text): return text.upper()", [blob("straße")], { as: "text" });
    const bytes = session.python("def twice(data): return data + data", [blob(new Uint8Array([0, 255]))]);
    const path = session.python(
      "import os\ndef size(path): return {'size': os.stat(path).st_size}",
      [blob("12345")],
      {
        as: "path",
      },
    );
    const folder = session.python(
      "import os\ndef names(path): return sorted(os.listdir(path))",
      [session.makeDirectory({ "b.txt": blob("b"), "a/c.txt": blob("c") })],
      { as: "path" },
    );
    const nothing = session.python("def nothing(): pass");
    expect(await run(mean, text, bytes, path, folder, nothing)).toEqual([
      2.667,
      "STRASSE",
      new Uint8Array([0, 255, 0, 255]),
      { size: 5 },
      ["a", "b.txt"],
      null,
    ]);
    let logged = "";
    for await (const chunk of mean.logs()) logged += chunk.text;
    expect(logged).toBe("to the log\n");
  });

  it("gives several outputs, by label or in order", async () => {
    const source =
      "def parts(text): return {'head': text[:1], 'tail': text[1:]}\ndef both(text): return [text, len(text)]";
    const byLabel = session.python(source, [blob("rain")], {
      as: "text",
      function: "parts",
      outputs: ["tail", "head"],
    });
    const inOrder = session.python(source, [blob("rain")], { as: "text", outputs: ["text", "size"] });
    for (const task of [byLabel, inOrder]) task.keepOutputs();
    await session.submit();
    const load = async (task: Task, label: string): Promise<unknown> =>
      (await task.outputs.get(label).fetch()).load();
    expect(await load(byLabel, "tail")).toBe("ain");
    expect(await load(byLabel, "head")).toBe("r");
    expect(await load(inOrder, "text")).toBe("rain");
    expect(await load(inOrder, "size")).toBe(4);
  });

  it("keeps its process and what a source has loaded", async () => {
    const source = "import os\nseen = []\ndef pid(): seen.append(1); return [os.getpid(), len(seen)]";
    const [first] = (await run(session.python(source))) as [number, number][];
    const [second] = (await run(session.python(source))) as [number, number][];
    expect(second).toEqual([first?.[0], (first?.[1] ?? 0) + 1]);
  });

  it("an exception fails the task with its traceback", async () => {
    const error = await failureOf(session.python("def f():\n    return [][1]  # too far"));
    expect(error.reason).toBe("exit");
    expect(error.message).toContain("py/run failed: IndexError: list index out of range");
    expect(error.stderr).toMatch(/Traceback[^]*in f\n\s+return \[\]\[1\] {2}# too far[^]*IndexError/);
  });

  it.each([
    ["def f(:", /SyntaxError/],
    ["x = 1", /the source defines no function/],
    ["def f(): return object()", /not JSON serializable/],
    ["def f(): return float('nan')", /Out of range float values|nan/],
    ["import sys\ndef f(): sys.exit(3)", /SystemExit: 3/],
    ["def f(a, b): return a", /missing 2 required positional arguments/],
  ])("a bad source: %s", async (source, message) => {
    expect((await failureOf(session.python(source))).message).toMatch(message);
  });

  it("a program that dies in it names the executor, the code and the stderr", async () => {
    const source =
      "import os, sys\ndef f():\n    print('last words', file=sys.stderr, flush=True)\n    os._exit(5)";
    const error = await failureOf(session.python(source));
    expect(error).toMatchObject({ reason: "exit", exitCode: 5, stderr: "last words\n" });
    expect(error.message).toContain("executor py exited with code 5 during py/run");
    expect(await run(session.python("def f(): return 1"))).toEqual([1]);
  });

  const pid = "import os, time\n";
  const running = async (task: Task): Promise<void> => {
    await until(async () => {
      await task.update();
      return task.state === "running";
    });
  };

  it("a cancelled call ends, and its process lives on", async () => {
    const ask = (): Task => session.python(`${pid}def f(): time.sleep(0.1); return os.getpid()`);
    const [before] = await run(ask());
    const slow = session.python(`${pid}def f(): time.sleep(600)`);
    await session.submit();
    await running(slow);
    await slow.cancel();
    await expect(slow.wait()).rejects.toMatchObject({ state: "cancelled" });
    // The server does not wait for the end of what it cancelled: a call may come to a second process meanwhile.
    await until(async () => (await run(ask(), ask())).includes(before));
  }, 30_000);

  it("a call over its time fails", async () => {
    const error = await failureOf(session.python(`${pid}def f(): time.sleep(600)`, [], { timeoutS: 0.3 }));
    expect(error.reason).toBe("timeout");
    expect(error.stderr).toContain("Cancelled");
  });

  it("a call that ignores its cancel is killed", async () => {
    const stubborn = `${pid}def f():
      while True:
          try: time.sleep(600)
          except BaseException: pass`;
    const error = await failureOf(session.python(stubborn, [], { timeoutS: 0.3 }));
    expect(error.reason).toBe("timeout");
    expect(await run(session.python("def f(): return 2"))).toEqual([2]);
  }, 30_000);
});

it("kill -9 of the governor leaves no process of an executor behind", async () => {
  await cluster.startGovernor("g2", 1, ["--label", "only=g2", "--executor", wordcount]);
  const task = session.custom("wordcount/count", { inputs: [blob("x")], labels: { only: "g2" } });
  const [{ pid }] = (await run(task)) as [Counted];
  const instance = readFileSync(join(cluster.home, "work/g2/executor/instance"), "utf8").trim();
  const cookie = `RAIN_TASK=${instance}:executor/`;
  expect(withEnvironment(cookie)).toEqual([pid]);
  await cluster.kill("g2");
  await until(() => withEnvironment(cookie).length === 0);
}, 60_000);
