import { homedir } from "node:os";
import { blob, input, output, Program, TaskError } from "@rain/client";
import { expect, test } from "vitest";
import { textOf, useRain, WAIT } from "./kit.ts";

// What Rain's own tests of programs observe, through our client.

const rain = useRain([2]);
const LINES = "abc\nNOTHING\nabab";
const MATCHES = "abc\nabab\n";

test("grep over a blob: as argument, stdin and inputPaths; by execute and by Program", WAIT, async () => {
  await rain.session(async (session) => {
    const data = blob(LINES);
    const argument = session.execute(["/bin/grep", "ab", data], { stdout: "output" });
    const named = session.execute(["/bin/grep", "ab", input("in1", { object: data })], { stdout: true });
    const stdin = session.execute(["/bin/grep", "ab"], { stdin: data, stdout: true });
    const mapped = session.execute("grep ab in.txt", {
      inputPaths: [input("in", { path: "in.txt", object: data })],
      stdout: true,
    });
    const byLabel = session.execute("grep ab in.txt", {
      inputPaths: [input("in.txt", { object: data })],
      stdout: true,
    });
    const program = new Program(["/bin/grep", "ab", input("in1")], { stdout: true });
    const slot = session.run(program, { in1: data });
    const stdinSlot = session.run(new Program("grep ab", { stdin: input("inp"), stdout: true }), {
      inp: data,
    });
    const tasks = [argument, named, stdin, mapped, byLabel, slot, stdinSlot];
    for (const task of tasks) task.output.keep();
    await session.submit();
    for (const task of tasks) expect(await textOf(task)).toBe(MATCHES);
    expect(argument.output.label).toBe("output");
  });
});

test("tee with an output argument plus stdout", WAIT, async () => {
  await rain.session(async (session) => {
    const listing = session.execute("ls /", { stdout: true });
    const tee = session.execute(["tee", output("file")], { stdin: listing, stdout: "stdout" });
    tee.keepOutputs();
    await session.submit();
    const file = await textOf(tee.outputs.get("file"));
    expect(file).toMatch(/^etc$/m);
    expect(await textOf(tee.outputs.get("stdout"))).toBe(file);
    expect(() => tee.output).toThrow(/it has 2/);
  });
});

test("split into named outputs, then concat of all but one, and of all", WAIT, async () => {
  await rain.session(async (session) => {
    const numbers = session.execute("seq 9", { stdout: true });
    const names = ["x00", "x01", "x02"];
    const split = session.execute(["split", "-d", "-n", "l/3", numbers], { outputPaths: names });
    const some = session.concat([...split.outputs].slice(1));
    const all = session.concat([...split.outputs]);
    split.keepOutputs();
    session.keepAll();
    await session.submit();
    const parts = await Promise.all([...split.outputs].map(textOf));
    expect([...split.outputs].map((each) => each.label)).toEqual(names);
    expect(parts.join("")).toBe("1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    expect(await textOf(some)).toBe(parts.slice(1).join(""));
    expect(await textOf(all)).toBe(await textOf(numbers));
  });
});

test("an output file by label and path, by label alone, and one of two by path", WAIT, async () => {
  await rain.session(async (session) => {
    const args = ["/bin/sh", "-c", "echo ABC > output.txt; mkdir sub; echo DEF > sub/other"];
    const labelled = session.execute(args, { outputPaths: [output("my_output", { path: "output.txt" })] });
    const plain = session.execute(args, { outputPaths: ["output.txt", "sub/other"] });
    const program = new Program(args, { outputPaths: [output("my_output", { path: "output.txt" })] });
    const run = session.run(program);
    session.keepAll();
    await session.submit();
    expect(await textOf(labelled.outputs.get("my_output"))).toBe("ABC\n");
    expect(await textOf(run)).toBe("ABC\n");
    expect(await textOf(plain.outputs.get("sub/other"))).toBe("DEF\n");
  });
});

test("empty output; an output that is a file without bytes", WAIT, async () => {
  await rain.session(async (session) => {
    const silent = session.execute(["echo", "-n"], { stdout: true, stderr: true });
    const empty = session.execute("touch nothing", { outputPaths: ["nothing"] });
    const joined = session.concat([]);
    session.keepAll();
    await session.submit();
    for (const object of [...silent.outputs, empty.output, joined.output]) {
      expect((await object.fetch()).bytes().length).toBe(0);
    }
  });
});

test("the shell expands $HOME, and nothing else does", WAIT, async () => {
  await rain.session(async (session) => {
    const args = ["echo", "$HOME"];
    const plain = [session.execute(args, { stdout: true }), session.run(new Program(args, { stdout: true }))];
    const shell = [
      session.execute(args, { stdout: true, shell: true }),
      session.execute("echo $HOME", { stdout: true, shell: true }),
      session.run(new Program(args, { stdout: true, shell: true })),
    ];
    session.keepAll();
    await session.submit();
    for (const task of plain) expect(await textOf(task)).toBe("$HOME\n");
    for (const task of shell) expect(await textOf(task)).toBe(`${process.env["HOME"] ?? homedir()}\n`);
  });
});

test("a line is split like a shell splits, in the shell it is a line", WAIT, async () => {
  await rain.session(async (session) => {
    const words = session.execute(`printf '<%s>' 'a b' "c'd" e\\ f ''`, { stdout: true });
    const line = session.execute("printf '%s\\n' b a | sort && echo end", { stdout: true, shell: true });
    const env = session.execute(["sh", "-c", "echo $RATE $PWD_OK"], { stdout: true, env: { RATE: "0.1" } });
    session.keepAll();
    await session.submit();
    expect(await textOf(words)).toBe("<a b><c'd><e f><>");
    expect(await textOf(line)).toBe("a\nb\nend\n");
    expect(await textOf(env)).toBe("0.1\n");
  });
});

test("a writable copy leaves the object as it was", WAIT, async () => {
  await rain.session(async (session) => {
    const first = session.execute("ls", {
      inputPaths: [input("x", { object: blob("abc") })],
      outputPaths: ["x"],
    });
    const second = session.execute("echo xyz > x", {
      shell: true,
      inputPaths: [input("x", { object: first, write: true })],
      outputPaths: ["x"],
    });
    const big = session.execute(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' a > big"], {
      outputPaths: ["big"],
    });
    const changed = session.execute("printf more >> big", {
      shell: true,
      inputPaths: [input("big", { object: big, write: true })],
      outputPaths: ["big"],
    });
    session.keepAll();
    await session.submit();
    expect(await textOf(second)).toBe("xyz\n");
    expect(await textOf(first)).toBe("abc");
    expect(await textOf(big)).toBe("a".repeat(3_000_000));
    expect(await textOf(changed)).toBe(`${"a".repeat(3_000_000)}more`);
  });
});

test.each([
  ["a small one", 3],
  ["a large one", 3_000_000],
])("a program that writes through a mapped input fails, and the object stays: %s", WAIT, async (_, size) => {
  const text = "a".repeat(size);
  await rain.session(
    async (session) => {
      const first = session.execute("ls", {
        inputPaths: [input("x", { object: blob(text) })],
        outputPaths: ["x"],
      });
      first.output.keep();
      const writes = session.execute("ls > x", {
        shell: true,
        inputPaths: [input("x", { object: first, write: false })],
        outputPaths: ["x"],
      });
      const forces = session.execute("chmod u+w x && printf b >> x", {
        shell: true,
        inputPaths: [input("x", { object: first })],
        outputPaths: ["x"],
      });
      await session.submit();
      const problem: unknown = await writes.wait().catch((error: unknown) => error);
      expect(problem).toBeInstanceOf(TaskError);
      expect((problem as TaskError).message).toMatch(/may only read: "x"|Permission denied/);
      await forces.wait().catch(() => undefined); // on its own copy it may
      const again = session.execute(["cat", first], { stdout: true });
      again.output.keep();
      await session.submit();
      expect(await textOf(again)).toBe(text);
      expect(await textOf(first)).toBe(text);
    },
    { onError: "continue" },
  );
});

test("an input that is replaced, not written to, is the program's own affair", WAIT, async () => {
  await rain.session(async (session) => {
    const data = blob("old");
    const task = session.execute("rm x; echo new > x", {
      shell: true,
      inputPaths: [input("x", { object: data })],
      outputPaths: ["x"],
    });
    task.output.keep();
    await session.submit();
    expect(await textOf(task)).toBe("new\n");
  });
});

test("random names never clash, and one object may be mapped often", WAIT, async () => {
  await rain.session(async (session) => {
    const objects = Array.from({ length: 200 }, (_, n) => blob(`${n}\n`));
    const [one] = objects;
    if (!one) throw new Error("no object");
    const all = session.execute(["cat", ...objects, one, one], { stdout: true });
    const twice = session.execute(["cat", "a", "sub/b", one], {
      inputPaths: [input("a", { object: one }), input("b", { path: "sub/b", object: one, write: true })],
      stdout: true,
    });
    session.keepAll();
    await session.submit();
    expect(await textOf(all)).toBe(`${objects.map((_, n) => `${n}\n`).join("")}0\n0\n`);
    expect(await textOf(twice)).toBe("0\n0\n0\n");
  });
});

test.each([
  ["a program that is not there", ["/bin/non-existing-program"], /does not exist/],
  ["one that is on no PATH", ["no-such-program-at-all"], /was not found; searched PATH/],
  ["one that fails", ["ls", "/non-existing-dir"], /exited with code \d[^]*non-existing-dir/],
])("%s fails the task with a clear error", WAIT, async (_, args, message) => {
  await rain.session(async (session) => {
    const task = session.execute(args, { stdout: "output" });
    task.output.keep();
    await session.submit();
    await expect(task.wait()).rejects.toThrow(message);
    await expect(task.wait()).rejects.toBeInstanceOf(TaskError);
    await expect(task.output.fetch()).rejects.toThrow(message);
  });
  await rain.session(async (session) => {
    const late = session.run(new Program(args, { stdout: "output" }));
    await session.submit();
    await expect(late.wait()).rejects.toThrow(message);
  });
});

test("names of programs and of their runs", () => {
  const named = new Program(["/bin/ls"], { name: "program1" });
  return rain.session(async (session) => {
    expect(session.run(named).name).toBe("program1");
    expect(session.run(named, {}, { name: "xxx" }).name).toBe("xxx");
    const plain = new Program(["/bin/ls"]);
    expect(session.run(plain).name).toBeUndefined();
    expect(session.run(plain, {}, { name: "yyy" }).name).toBe("yyy");
    await session.submit();
    expect(await session.waitAll()).toEqual([]);
  });
});
