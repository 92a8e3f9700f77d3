import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ResultsJson } from "../../packages/cli/src/commands/results.ts";
import { Home, type Ran } from "./rain.ts";

const limit = { timeout: 180_000 };
let home: Home;
beforeAll(async () => {
  home = await Home.make();
  mkdirSync(home.path("project"));
  await home.json("start", "--local-governors=3", "--listen=0");
}, 120_000);
afterAll(async () => {
  await home.remove();
}, 120_000);

function script(name: string, text: string): void {
  writeFileSync(home.path("project", name), text);
}
/** `words`: flags, `--`, the command. */
const submit = (name: string, ...words: string[]): Promise<Ran> =>
  home.rain("submit", name, "--localdir", home.path("project"), ...words);
async function ended(name: string, ...words: string[]): Promise<ResultsJson> {
  const { code, out, err } = await home.rain(
    ...["-o", "json", "submit", "--wait", "--localdir", home.path("project"), name, ...words],
  );
  if (code !== 0) throw new Error(`rain submit ${words.join(" ")}: exit code ${code}\n${out}${err}`);
  return JSON.parse(out) as ResultsJson;
}

describe("a completion finds", () => {
  test("its number, how many there are, its variables, and what was mapped", limit, async () => {
    script(
      "show.sh",
      'test "$RAIN_COMPLETIONS" = 3 && test "$1" = --gpus && test "$A B" = "1=2 B" || exit 1\n' +
        'echo "number=$RAIN_COMPLETION_INDEX"; cat in/set/x one.txt\n',
    );
    mkdirSync(home.path("set"));
    writeFileSync(home.path("set/x"), "x=41\n");
    writeFileSync(home.path("one"), "one=7\n");
    const { experiments, run } = await ended(
      ...(["numbers", "--completions", "3", "--backoff-limit", "0", "-e", "A=1=2"] as const),
      ...["-v", `${home.path("set")}:in/set/`, "--volume", `${home.path("one")}:./one.txt`],
      ...["show.sh", "--gpus", "2"],
    );
    expect(run).toMatchObject({ name: "numbers", kind: "completions", trials: 3, state: "finished" });
    expect(experiments.map(({ state, metrics }) => [state, metrics])).toEqual(
      [0, 1, 2].map((number) => ["finished", { number, x: 41, one: 7 }]),
    );
  });

  test("what it picked is a column, live and in files", limit, async () => {
    script(
      "pick.sh",
      'echo "{\\"params\\": {\\"lr\\": 0.$RAIN_COMPLETION_INDEX}}" >> $RAIN_METRICS\necho "loss=$RAIN_COMPLETION_INDEX"\n',
    );
    const { code, out } = await submit("picked", "--completions", "2", "--wait", "--", "sh", "pick.sh");
    expect(code).toBe(0);
    expect(out).toContain("picked: 2 completions, seed ");
    expect(out).toMatch(/experiment 1 finished in .*: lr=0\.1, loss 1/);
    expect(out).toMatch(/^\* +0 +0 +0 +finished/m);
    const csv = (await home.rain("results", "picked", "--csv")).out.trim().split("\n");
    expect(csv.map((line) => line.split(",").slice(0, 3))).toEqual([
      ["experiment", "lr", "loss"],
      ["0", "0", "0"],
      ["1", "0.1", "1"],
    ]);
    expect((await home.rain("best", "picked")).out).toContain("RAIN_COMPLETION_INDEX=0");
    expect((await home.rain("heatmap", "picked")).code).toBe(0);
  });
});

test("what is no number in JSON is told by report all the same", limit, async () => {
  script(
    "report.py",
    "import rain_hpo\nlr = rain_hpo.pick(grid={'lr': [1, 2]})['lr']\n" +
      "rain_hpo.report(epoch=1, metrics={'loss': float('nan') if lr == 1 else 0.5, 'top': float('-inf')})\n",
  );
  const module = fileURLToPath(new URL("../../packages/hpo/python/rain_hpo.py", import.meta.url));
  const { experiments, best } = await ended(
    ...(["nan", "--completions", "2", "--metric", "loss"] as const),
    ...["-v", `${module}:rain_hpo.py`, "--", "report.py"],
  );
  expect(experiments.map(({ metrics, params }) => [metrics, params])).toEqual([
    [{ loss: "NaN", top: "-Infinity" }, { lr: 1 }],
    [{ loss: 0.5, top: "-Infinity" }, { lr: 2 }],
  ]);
  expect(best).toMatchObject({ experiment: 1, value: 0.5 });
});

test("it returns at once; get, list, logs, stop, resume and delete know it", limit, async () => {
  const gate = home.path("gate");
  const words = [
    "--completions=4",
    "--parallelism=2",
    "--",
    "sh",
    "-c",
    `while ! test -e '${gate}'; do sleep 0.1; done; echo it is $RAIN_COMPLETION_INDEX`,
  ];
  const { code, out } = await submit("away", ...words);
  expect(code).toBe(0);
  expect(out).toMatch(/^away: 4 completions, at most 2 at once, seed \d+\n"rain status away" shows/);
  const view = await home.json<{ state: string; trials: number; config: string }>("get", "away");
  expect(view).toMatchObject({ state: "running", trials: 4 });
  expect(view.config).toContain("rain submit away --completions 4 --parallelism 2 --backoff-limit 6");
  const { runs } = await home.json<{ runs: { name: string; kind: string }[] }>("list");
  expect(runs).toContainEqual(expect.objectContaining({ name: "away", kind: "completions" }));
  const twice = await submit("away", "true");
  expect(twice.code).toBe(1);
  expect(twice.err).toContain('there is a run named away already: take another name, or "rain delete away"');

  await home.json("stop", "away");
  writeFileSync(gate, "");
  const resumed = await home.json<ResultsJson & { submitted: number[] }>("resume", "away");
  expect(resumed.submitted).toEqual([0, 1, 2, 3]);
  expect(resumed.experiments.map(({ state }) => state)).toEqual(Array(4).fill("finished"));
  expect((await home.rain("logs", "away", "--pod", "2")).out).toBe("it is 2\n");
  await home.json("delete", "away");
  expect((await home.rain("get", "away")).err).toContain("there is no run named away");
});

test(
  "a failed one is tried again so often, then retry does it; extend is for random_search",
  limit,
  async () => {
    const log = home.path("tries");
    script(
      "tries.sh",
      `echo "$RAIN_COMPLETION_INDEX" >> '${log}'; test -e '${home.path("good")}' || exit 1; echo "value=$RAIN_COMPLETION_INDEX"\n`,
    );
    const failed = await submit("tries", "--backoff-limit", "2", "--completions", "2", "--wait", "tries.sh");
    expect(failed.code).toBe(1);
    expect(home.read("tries")?.trim().split("\n").toSorted()).toEqual(["0", "0", "0", "1", "1", "1"]);
    writeFileSync(home.path("good"), "");
    const { experiments } = await home.json<ResultsJson>("retry", "tries");
    expect(experiments.map(({ state, metrics }) => [state, metrics["value"]])).toEqual([
      ["finished", 0],
      ["finished", 1],
    ]);
    const { code, err } = await home.rain("extend", "tries", "--trials", "2");
    expect(code).toBe(2);
    expect(err).toContain(
      "only a run with --strategy random_search can be extended; tries is of rain submit",
    );
  },
);

test.each([
  [["-v", "/tmp:/data", "true"], /write a relative DST, as data/],
  [["-v", "/tmp:../data", "true"], /DST must be a path inside/],
  [["-v", "data", "true"], /write SRC:DST/],
  [["-v", "/nonexistent/x:data", "true"], /there is no file or folder "\/nonexistent\/x"/],
  [["-v", "/tmp:a", "-v", "/tmp:a/b", "true"], /in the place of another/],
  [["-v", "/dev/null:a", "true"], /neither a file nor a folder/],
  [["-e", "A", "true"], /write NAME=VALUE/],
  [["-e", "RAIN_COMPLETIONS=1", "true"], /RAIN_COMPLETIONS is set by Rain/],
  [["--completions", "0", "true"], /from 1 to 100000/],
  [["--memory", "10", "true"], /--memory "10": write the unit too: 10G/],
  [["--backoff-limit", "x", "true"], /--backoff-limit "x"/],
  [["--", "no-such-program"], /there is no file "no-such-program"/],
  [[], /missing required argument 'COMMAND'/],
])("%j is a wrong command line", limit, async (words, message) => {
  const { code, err } = await submit("wrong", ...words);
  expect(err).toMatch(message);
  expect(code).toBe(2);
});
