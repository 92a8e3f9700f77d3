import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ResultsJson } from "../../packages/cli/src/commands/results.ts";
import { Home } from "./rain.ts";

const limit = { timeout: 180_000 };
const examples = fileURLToPath(new URL("../../examples/digits", import.meta.url));
let home: Home;
let project: string;
beforeAll(async () => {
  home = await Home.make();
  project = home.path("project");
  mkdirSync(project);
  await home.json("start", "--local-governors=3", "--listen=0");
}, 120_000);
afterAll(async () => {
  await home.remove();
}, 120_000);

/** A shell program of the project. */
function script(name: string, text: string): void {
  writeFileSync(`${project}/${name}`, text);
}
interface RunJson extends ResultsJson {
  readonly command: string | null;
  readonly warnings: readonly string[];
}
const run = (...words: string[]): ReturnType<Home["rain"]> =>
  home.rain("run", "--localdir", project, ...words);
async function runJson(...words: string[]): Promise<RunJson> {
  const { code, out, err } = await home.rain("-o", "json", "run", "--localdir", project, ...words);
  if (code !== 0) throw new Error(`rain run ${words.join(" ")}: exit code ${code}\n${out}${err}`);
  return JSON.parse(out) as RunJson;
}

test("the digits: six rows, a winner and the command that gives it again", limit, async () => {
  const words = [
    "train.mjs",
    "--data",
    "digits.csv.gz",
    "--size",
    "[32, 64]",
    "--dropout",
    "[0.0, 0.2, 0.4]",
  ];
  const { code, out } = await home.rain(
    "run",
    "--localdir",
    examples,
    "--name",
    "first",
    ...words,
    "--epochs",
    "3",
  );
  expect(code).toBe(0);
  const rows = out.split("\n").filter((line) => /^\*? +\d .*finished/.test(line));
  expect(rows.map((row) => row.replace("*", " ").trim().split(/ +/).slice(0, 3))).toEqual([
    ["0", "32", "0.0"],
    ["1", "32", "0.2"],
    ["2", "32", "0.4"],
    ["3", "64", "0.0"],
    ["4", "64", "0.2"],
    ["5", "64", "0.4"],
  ]);
  const values = rows.map((row) => Number(row.replace("*", " ").trim().split(/ +/)[3]));
  const best = rows.findIndex((row) => row.startsWith("*"));
  expect(values[best]).toBe(Math.max(...values));
  const command = out.trimEnd().split("\n").at(-1) ?? "";
  expect(command).toMatch(
    /^RAIN_SEED=\d+ node train\.mjs --data digits\.csv\.gz --size \d+ --dropout 0\.\d --epochs 3$/,
  );
  const { execa } = await import("execa");
  const again = await execa("sh", ["-c", command], { cwd: examples });
  expect(Number(again.stdout)).toBe(values[best]);
});

describe("a trial finds", () => {
  test("a copy of the project of its own, and what it makes is kept", limit, async () => {
    script(
      "copy.sh",
      'cat data.txt; echo "$1" >> data.txt; mkdir made; echo "$1" > made/x; ls -a >&2; echo value=1\n',
    );
    writeFileSync(`${project}/data.txt`, "start ");
    writeFileSync(`${project}/secret.log`, "");
    writeFileSync(`${project}/.rainignore`, "*.log\n");
    const { experiments, run: view } = await runJson("--name", "copies", "copy.sh", "['a', 'b']");
    expect(experiments.map(({ state, params }) => [state, params])).toEqual([
      ["finished", { arg1: "a" }],
      ["finished", { arg1: "b" }],
    ]);
    expect(view).toMatchObject({ name: "copies", state: "finished", swept: ["arg1"] });
    expect(readFileSync(`${project}/data.txt`, "utf8")).toBe("start ");
    await home.json("artifacts", "copies", home.path("out"));
    expect(readFileSync(home.path("out", "copies-exp1", "data.txt"), "utf8")).toBe("start b\n");
    expect(readFileSync(home.path("out", "copies-exp1", "made", "x"), "utf8")).toBe("b\n");
    expect(readdirSync(home.path("out", "copies-exp1")).toSorted()).toEqual([
      "data.txt",
      "made",
      "stdout.txt",
    ]);
    const { err } = await home.rain("logs", "copies", "--experiment", "0");
    expect(err).toContain("copy.sh");
    expect(err).not.toContain("secret.log");
  });

  test("its run, number and seed", limit, async () => {
    script("env.sh", 'echo "seed=$RAIN_SEED"; test "$RAIN_RUN" = seeds; echo "number=$RAIN_EXPERIMENT"\n');
    const plain = await runJson("--name", "seeds", "--seed", "4294967295", "env.sh", "--x", "[1, 2]");
    expect(plain.experiments.map(({ metrics }) => metrics)).toEqual([
      { seed: 4_294_967_295, number: 0 },
      { seed: 0, number: 1 },
    ]);
    const repeated = await runJson("--repeat", "2", "--seed", "9", "env.sh", "--x", "[1, 2]");
    expect(repeated.experiments.map(({ metrics, combination }) => [combination, metrics["seed"]])).toEqual([
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ]);
    expect(repeated.run.name).toMatch(/^[a-z]+-[a-z]+-\d{3}$/);
  });

  test("a datastore, at the place that was asked, and by RAIN_DATASTORE", limit, async () => {
    mkdirSync(home.path("set/deep"), { recursive: true });
    writeFileSync(home.path("set/deep/x.txt"), "41\n");
    await home.json("datastore", "create", "--source", home.path("set"), "--name", "digits");
    writeFileSync(home.path("set/deep/x.txt"), "42\n");
    await home.json("datastore", "create", "--source", home.path("set"), "--name", "digits");
    await home.json("datastore", "create", "--source", home.path("set/deep/x.txt"), "--name", "file");
    script("data.sh", 'cat "$RAIN_DATASTORE/deep/x.txt"\n');
    const value = async (...words: string[]): Promise<unknown> => {
      const { experiments } = await runJson(...words);
      return experiments[0]?.metrics["value"];
    };
    expect(await value("--datastore_name", "digits", "data.sh")).toBe(42);
    expect(await value("--datastore_name", "digits", "--datastore_version", "1", "data.sh")).toBe(41);
    script("place.sh", "cat in/digits/deep/x.txt\n");
    expect(await value("--datastore_name=digits", "--datastore_mount_dir=in/digits", "place.sh")).toBe(42);
    script("file.sh", 'cat "$RAIN_DATASTORE"\n');
    expect(await value("--datastore_name=file", "file.sh")).toBe(42);
    const { code, err } = await run("--datastore_name", "digit", "data.sh");
    expect(code).toBe(1);
    expect(err).toContain("there is no datastore");
  });
});

describe("how it ends", () => {
  beforeAll(() => script("some.sh", 'echo "loss=0.$1"; test "$1" -lt "$2"\n'));

  test("code 3 when some failed, with the table and the winner of the others", limit, async () => {
    const { code, out } = await run("--name", "some", "some.sh", "[1, 2, 3]", "3");
    expect(code).toBe(3);
    expect(out).toMatch(/experiment 2 failed in .*exit/);
    expect(out).toMatch(/\* +0 .*0\.1 +finished/);
    expect(out).toContain("1 of 3 failed: experiment 2. See rain logs some --experiment 2");
    expect(out).toContain("sh some.sh 1 3");
    const json = await home.rain("-o", "json", "run", "--localdir", project, "some.sh", "[1, 2, 3]", "3");
    expect(json.code).toBe(3);
    expect(JSON.parse(json.out)).toMatchObject({
      run: { state: "failed", counts: { finished: 2, failed: 1 } },
      metric: { name: "loss", goal: "min" },
      best: { experiment: 0, value: 0.1 },
      command: expect.stringContaining("sh some.sh 1 3"),
      warnings: [],
    });
  });

  test("code 1 when none has finished", limit, async () => {
    const { code, err } = await run("--name", "none", "some.sh", "[8, 9]", "3");
    expect(code).toBe(1);
    expect(err).toContain("no trial of none has finished: see rain logs none");
  });

  test("--fail-fast cancels the rest", limit, async () => {
    const { code, out } = await home.rain(
      ...["-o", "json", "run", "--localdir", project, "--fail-fast", "--parallelism", "1"],
      ...["some.sh", "[1, 9, 2, 3]", "5"],
    );
    expect(code).toBe(3);
    expect(JSON.parse(out)).toMatchObject({ run: { counts: { finished: 1, failed: 1, cancelled: 2 } } });
  });

  test("a metric that was asked for and never came is said loudly", limit, async () => {
    const { code, out, err } = await run("--metric", "los:min", "some.sh", "[1, 2]", "3");
    expect(code).toBe(0);
    expect(err).toContain('rain: warning: no trial told the metric "los" (did you mean loss?)');
    expect(out).toContain('no trial told the metric "los"');
  });

  test("an equal trial is not run again with --cache", limit, async () => {
    script("count.sh", `echo x >> '${home.path("count")}'; echo "value=$1"\n`);
    const words = ["--cache", "--seed", "1", "count.sh", "[1, 2]"];
    const first = await runJson(...words);
    const again = await runJson(...words);
    expect(first.experiments.map(({ cached }) => cached)).toEqual([false, false]);
    expect(again.experiments.map(({ cached, metrics }) => [cached, metrics["value"]])).toEqual([
      [true, 1],
      [true, 2],
    ]);
    expect(home.read("count")).toBe("x\nx\n");
  });
});

describe("names and detaching", () => {
  test("a name is taken once; nothing is left of the second", limit, async () => {
    script("ok.sh", "echo 1\n");
    await runJson("--name", "once", "ok.sh");
    const { code, err } = await run("--name", "once", "ok.sh");
    expect(code).toBe(1);
    expect(err).toContain('there is a run named once already: take another --name, or "rain delete once"');
    const { runs } = await home.json<{ runs: { name: string }[] }>("list");
    expect(runs.filter(({ name }) => name === "once")).toHaveLength(1);
  });

  test("--detach tells the name; the run goes on, and its file repeats it", limit, async () => {
    const gate = home.path("gate-1");
    script("wait.sh", 'while ! test -e "$1"; do sleep 0.1; done; echo "value=$2"\n');
    const words = ["--name", "away", "--detach", "wait.sh", gate, "[1, 2]"];
    expect(await runJson(...words)).toMatchObject({ name: "away", trials: 2 });
    const status = await home.json<{ state: string; config: string }>("status", "away");
    expect(status).toMatchObject({ state: "running", trials: 2 });
    writeFileSync(gate, "");
    writeFileSync(home.path("away.yml"), status.config.replace("name: away", "name: back"));
    const { experiments } = await home.json<RunJson>("run", "--config", home.path("away.yml"));
    expect(experiments.map(({ state }) => state)).toEqual(["finished", "finished"]);
  });

  test("Ctrl-C leaves the run alone", limit, async () => {
    const gate = home.path("gate-2");
    const running = home.spawn("run", "--localdir", project, "--name", "left", "wait.sh", gate, "7");
    await until(async () => {
      const { code, out } = await home.rain("-o", "json", "status", "left");
      return code === 0 && (JSON.parse(out) as { counts: { running: number } }).counts.running === 1;
    });
    running.child.kill("SIGINT");
    expect(await running.ended).toBe(130);
    expect(running.err()).toContain("detached; the run left goes on");
    expect(running.err()).toContain("rain stop left");
    writeFileSync(gate, "");
    await until(async () => {
      const { counts } = await home.json<{ counts: { finished: number } }>("status", "left");
      return counts.finished === 1;
    });
  });
});

test("what no governor can give is said; a disk is asked where one is declared", limit, async () => {
  script("ok.sh", "echo 1\n");
  const far = await run(
    "--name",
    "far",
    "--gpus=64",
    "--instance_type=v100",
    "--framework=torch",
    "--detach",
    "ok.sh",
  );
  for (const part of ["64 gpus", "instance_type=v100", "environment torch"]) expect(far.err).toContain(part);
  await home.json("delete", "far", "--yes");
  expect((await run("--disk_size", "10", "ok.sh")).err).toContain("nothing is held to it");
});

test("--local starts a server where there is none, and leaves it running", limit, async () => {
  const other = await Home.make();
  try {
    script("ok.sh", "echo 5\n");
    const { code, out, err } = await other.rain("run", "--local", "--localdir", project, "ok.sh");
    expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(/\* +0 +5 +finished/) });
    expect(err).toContain('"rain stop" ends it');
    expect(other.daemons().map(({ role }) => role)).toEqual(["server", "governor"]);
    expect((await other.rain("run", "--local", "--localdir", project, "ok.sh")).code).toBe(0);
    expect(existsSync(other.path("default", "access.json"))).toBe(true);
  } finally {
    await other.remove();
  }
});

/** Asks until it is so; the test's own limit ends it otherwise. */
async function until(is: () => Promise<boolean>): Promise<void> {
  while (!(await is())) await new Promise((done) => setTimeout(done, 50));
}
