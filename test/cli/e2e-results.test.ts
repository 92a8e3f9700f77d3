import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { parquetReadObjects } from "hyparquet";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Client, Session } from "@rain/client";
import type { ResultsJson } from "../../packages/cli/src/commands/results.ts";
import { main } from "../../packages/cli/src/main.ts";
import { memoryIo } from "./io.ts";
import { Home } from "./rain.ts";
import { connect, makeRun } from "./runs/make-run.ts";

const limit = { timeout: 180_000 };
let home: Home;
let client: Client;
beforeAll(async () => {
  home = await Home.make();
  await home.json("start", "--local-governors=4", "--listen=0");
  client = await connect(home);
}, 120_000);
afterAll(async () => {
  await client.close();
  await home.remove();
}, 120_000);

/** Twelve trials, of which those with dropout 0.3 fail until the file `gate` is there. */
const layers = ["2", "4", "8"];
const dropouts = ["0.1", "0.2", "0.3", "0.4"];
const trials = layers.flatMap((layer) => dropouts.map((dropout) => ({ layer, dropout })));

async function makeSweep(name: string): Promise<Session> {
  const gate = home.path(`${name}-gate`);
  return await makeRun(
    client,
    {
      name,
      program: ["sh"],
      words: ["--layers", "[2, 4, 8]", "--dropout", "[0.1, 0.2, 0.3, 0.4]"],
      parameters: ["layers", "dropout"],
      swept: ["layers", "dropout"],
      metric: { name: "accuracy" },
    },
    trials.map(({ layer, dropout }, index) => ({
      texts: { layers: layer, dropout },
      script:
        `echo "trial ${index}"; echo "to stderr ${index}" >&2; echo "model ${index}" > model.txt; ` +
        (dropout === "0.3" ? `test -e '${gate}' || exit 3; ` : "") +
        // 0.99 for layers 8 with dropout 0.2, the ninth; NaN for the first.
        `echo "accuracy=${index === 0 ? "nan" : index === 9 ? "0.99" : `0.${10 + index}`}"`,
    })),
  );
}

interface BestJson {
  readonly experiment: number;
  readonly value: number;
  readonly params: unknown;
  readonly command: string;
}

describe("a run of twelve of which three fail", () => {
  let session: Session;
  beforeAll(async () => {
    session = await makeSweep("dozen");
    await session.waitAll();
  }, 120_000);

  test("nine results; CSV, JSON, best and heatmap say the same", limit, async () => {
    const results = await home.json<ResultsJson>("results", "dozen");
    expect(results.run).toMatchObject({
      name: "dozen",
      state: "failed",
      trials: 12,
      counts: { finished: 9, failed: 3 },
    });
    expect(results.experiments.map(({ state }) => state).filter((state) => state === "failed")).toHaveLength(
      3,
    );
    expect(results.experiments[0]?.metrics).toEqual({ accuracy: "NaN" });
    expect(results.experiments[2]).toMatchObject({
      params: { layers: 2, dropout: 0.3 },
      metrics: {},
      failure: { reason: "exit", exitCode: 3 },
    });
    expect(results.best).toEqual({ experiment: 9, value: 0.99 });

    const csv = (await home.rain("results", "dozen", "--csv")).out.split("\r\n");
    expect(csv[0]).toBe(
      "experiment,layers,dropout,accuracy,state,duration_s,cost,cached,attempt,governor,error",
    );
    expect(csv[1]).toMatch(/^0,2,0\.1,NaN,finished,/);
    expect(csv[10]).toMatch(/^9,8,0\.2,0\.99,finished,/);
    expect(csv).toHaveLength(14);

    const best = await home.json<BestJson>("best", "dozen");
    expect(best).toMatchObject({ experiment: 9, value: 0.99, params: { layers: 8, dropout: 0.2 } });
    expect(best.command).toMatch(/^RAIN_SEED=16 sh -c '.*' trial 8 0\.2$/s);

    const file = home.path("map.svg");
    interface Map {
      readonly x: { readonly labels: string[] };
      readonly values: unknown[][];
      readonly best: unknown;
    }
    const map = await home.json<Map>("heatmap", "dozen", "--svg", file);
    expect(map).toMatchObject({ best: { x: 1, y: 2 }, x: { labels: ["0.1", "0.2", "0.4"] } });
    expect(map.values[0]?.[0]).toBe("NaN");
    expect(map.values[2]?.[1]).toBe(0.99);
    expect(readFileSync(file, "utf8")).toContain(">0.99<");
    expect((await home.rain("heatmap", "dozen")).out).toContain("0.99*");
  });

  test("the table, sorted, and files of it", limit, async () => {
    const { out } = await home.rain("results", "dozen", "--sort", "accuracy");
    expect(out.split("\n")[1]).toMatch(/^\* +9 +8 +0\.2 +0\.99 +finished/);
    expect(out).toContain("3 of 12 failed: experiments 2, 6, 10.");
    const files = ["results.csv", "results.json", "results.parquet"].map((name) => home.path(name));
    const [csv = "", json = "", parquet = ""] = files;
    const ran = await home.rain("results", "dozen", "--csv", csv, "--json", json, "--parquet", parquet);
    expect(ran).toEqual({ code: 0, out: "", err: "" });
    const rows = (JSON.parse(readFileSync(json, "utf8")) as ResultsJson).experiments;
    const read = await parquetReadObjects({ file: await arrayBuffer(parquet) });
    expect(read.map((row) => row["experiment"])).toEqual(rows.map((row) => BigInt(row.experiment)));
    expect(read[9]).toMatchObject({ layers: 8n, dropout: 0.2, accuracy: 0.99, state: "finished" });
    expect(read[0]?.["accuracy"]).toBeNaN();
    expect(read[2]).toMatchObject({ accuracy: null, state: "failed" });
    expect(readFileSync(csv, "utf8").split("\r\n")).toHaveLength(14);
  });

  test("status, list and the number of the session", limit, async () => {
    const { out } = await home.rain("status", "dozen");
    expect(out).toContain("dozen (session ");
    expect(out).toContain("9 finished, 3 failed");
    expect(out).toContain("best     experiment 9: accuracy 0.99");
    expect((await home.rain("get", String(session.id))).out.replace(/made .* ago/, "")).toBe(
      out.replace(/made .* ago/, ""),
    );
    const { runs } = await home.json<{ runs: { name: string; state: string }[] }>("list");
    expect(runs).toMatchObject([{ name: "dozen", state: "failed" }]);
    expect((await home.rain("list")).out).toMatch(/dozen +\d+ +failed/);
  });

  test("logs of one trial byte by byte, of all with their numbers", limit, async () => {
    const one = await home.rain("logs", "dozen", "--experiment", "4");
    expect(one).toEqual({ code: 0, out: "trial 4\naccuracy=0.14\n", err: "to stderr 4\n" });
    expect((await home.rain("logs", "dozen", "--pod", "dozen-exp4")).out).toBe(one.out);
    const all = await home.rain("logs", "dozen", "-f");
    expect(all.out.trim().split("\n").toSorted()).toContain(" 4: trial 4");
    expect(all.out.trim().split("\n")).toHaveLength(12 + 9);
    expect(all.err).toContain("11: to stderr 11\n");
    const pieces = (await home.rain("logs", "dozen", "--stream=stdout", "-o", "json")).out.trim().split("\n");
    expect(pieces.map((line) => JSON.parse(line) as unknown)).toContainEqual({
      experiment: 2,
      stream: "stdout",
      text: "trial 2\n",
    });
    expect((await home.rain("logs", "dozen", "--experiment", "12")).err).toContain("from 0 to 11");
  });

  test("explain by number", limit, async () => {
    const { out } = await home.rain("explain", "dozen", "2");
    expect(out).toContain(`Task ${session.id}/2: failed`);
  });

  test("artifacts: a folder a trial, never written over", limit, async () => {
    const { out } = await home.rain("artifacts", "dozen", "files");
    expect(out).toContain(home.path("files", "dozen-exp9"));
    expect(out).toContain("3 not finished: no files");
    expect(home.read("files", "dozen-exp9", "model.txt")).toBe("model 9\n");
    expect(home.read("files", "dozen-exp9", "stdout.txt")).toBe("trial 9\naccuracy=0.99\n");
    expect(existsSync(home.path("files", "dozen-exp2"))).toBe(false);

    writeFileSync(home.path("files", "dozen-exp9", "mine.txt"), "mine");
    const again = await home.rain("artifacts", "dozen", "files");
    expect(again.code).toBe(1);
    expect(again.err).toContain("--force");
    expect(home.read("files", "dozen-exp9", "mine.txt")).toBe("mine");
    expect((await home.rain("artifacts", "dozen", "files", "--force")).code).toBe(0);
    expect(existsSync(home.path("files", "dozen-exp9", "mine.txt"))).toBe(false);

    mkdirSync(home.path("elsewhere"));
    expect((await home.rain("artifacts", "dozen", "elsewhere", "--experiment", "2")).code).toBe(1);
    expect((await home.rain("artifacts", "dozen", "elsewhere", "--experiment=1")).code).toBe(0);
    expect(home.read("elsewhere", "dozen-exp1", "model.txt")).toBe("model 1\n");
  });

  test("names that do not exist are told with those that are near", limit, async () => {
    const cases: [string[], number, string][] = [
      [["results", "dosen"], 1, "did you mean dozen?"],
      [["results", "999"], 1, "no run with session number 999"],
      [["best", "dozen", "--metric", "acuracy"], 2, "did you mean accuracy?"],
      [["heatmap", "dozen", "--x", "layer"], 2, "did you mean layers?"],
      [["results", "dozen", "--sort", "dropuot"], 2, "did you mean dropout?"],
      [["explain", "dozen", "77"], 1, "from 0 to 11"],
    ];
    for (const [argv, code, text] of cases) {
      const ran = await home.rain(...argv);
      expect({ argv, code: ran.code, out: ran.out }).toEqual({ argv, code, out: "" });
      expect(ran.err).toContain(text);
    }
    const other = await client.newSession("plain");
    expect((await home.rain("results", String(other.id))).err).toContain("is no run");
    await other.close();
  });
});

test("resume goes on with what was stopped, and leaves what failed", limit, async () => {
  const gate = home.path("resume-gate");
  const session = await makeRun(
    client,
    { name: "halted", parameters: ["n"], swept: ["n"] },
    ["0", "1", "2"].map((n) => ({
      texts: { n },
      script: n === "0" ? "exit 1" : `while [ ! -e '${gate}' ]; do sleep 0.05; done; echo "score: ${n}"`,
    })),
  );
  await session.waitSome([session.task(0)]);
  await home.rain("stop", "halted");
  await session.waitAll();
  writeFileSync(gate, "");
  const resumed = await home.rain("resume", "halted");
  expect(resumed.code).toBe(3); // one failed
  expect(resumed.err).toContain("2 experiments submitted");
  expect(resumed.out).toMatch(/^\* +2 +2 +2 +finished/m);
  interface Again {
    readonly name: string;
    readonly submitted: number[];
  }
  const detached = await home.json<Again>("retry", "halted", "--detach");
  expect(detached).toMatchObject({ name: "halted", submitted: [0] });
  const end = await home.rain("resume", "halted", "-o", "json");
  expect(end.code).toBe(3);
  expect(JSON.parse(end.out)).toMatchObject({ submitted: [], run: { counts: { finished: 2, failed: 1 } } });
  await session.close();
});

test("the cache: what is in it, and that it is empty after clear", limit, async () => {
  expect((await home.rain("cache", "list")).out).toBe("the cache is empty\n");
  const session = await client.newSession("cached", { onError: "continue" });
  const texts = ["a", "b"];
  for (const text of texts)
    session.execute(["echo", text], { name: `say ${text}`, stdout: true, cache: true }).keepOutputs();
  await session.submit();
  await session.waitAll();
  interface CacheJson {
    readonly count: number;
    readonly entries: { readonly name: string; readonly size: number; readonly hits: number }[];
  }
  const { count, entries } = await home.json<CacheJson>("cache", "list");
  expect(count).toBe(2);
  const told = entries.map(({ name, hits }) => `${name}: ${hits}`);
  expect(told.toSorted((a, b) => a.localeCompare(b))).toEqual(["say a: 0", "say b: 0"]);
  expect((await home.rain("cache", "list", "-n", "1")).out).toMatch(/2 results, .*the 1 newest here/);
  expect((await home.rain("cache", "clear")).out).toBe("forgot 2 results\n");
  expect((await home.json<CacheJson>("cache", "list")).count).toBe(0);
  await session.close();
});

async function arrayBuffer(path: string): Promise<ArrayBuffer> {
  const bytes = readFileSync(path);
  return await Promise.resolve(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

test("a run that still runs: stop, and delete that asks", limit, async () => {
  const gate = home.path("never");
  const session = await makeRun(
    client,
    { name: "endless", parameters: ["n"], swept: ["n"] },
    Array.from({ length: 6 }, (_, index) => ({
      texts: { n: String(index) },
      script: `echo "loss=${index}"; while [ ! -e '${gate}' ]; do sleep 0.05; done`,
    })),
  );
  const follow = home.spawn("logs", "endless", "-f");
  await expect.poll(follow.out, { timeout: 60_000 }).toContain("3: loss=3\n");
  const refused = await home.rain("delete", "endless");
  expect(refused.code).toBe(2);
  expect(refused.err).toContain("--yes");

  const asked: string[] = [];
  const answerNo = {
    ...memoryIo(),
    ask: (question: string) => Promise.resolve(asked.push(question) === 0),
  };
  process.env["RAIN_HOME"] = home.dir;
  expect(await main(["delete", "endless"], answerNo)).toBe(1);
  expect(asked).toEqual(["endless still runs (6 trials not ended). Stop and delete it?"]);
  expect(answerNo.err()).toContain("left as it is");

  expect((await home.rain("stop", "endless")).out).toContain(
    "stopped 6 trials of endless; rain resume endless",
  );
  expect(await follow.ended).toBe(0);
  await session.waitAll();
  const { state } = await home.json<{ state: string }>("status", "endless");
  expect(state).toBe("stopped");
  expect((await home.rain("stop", "endless")).out).toBe("nothing of endless was running\n");
  expect((await home.rain("delete", "endless")).out).toBe("deleted endless\n");
  expect((await home.rain("results", "endless")).err).toContain("no run named endless");
  const { items } = await home.json<{ items: { name: string; state: string }[] }>("history");
  expect(items[0]).toMatchObject({ name: "endless", state: "stopped", trials: 6 });
  expect((await home.rain("history", "-n", "1")).out).toMatch(/endless +6 cancelled/);
});

test("datastores: create, the next version, list, delete", limit, async () => {
  mkdirSync(home.path("data"));
  writeFileSync(home.path("data", "a.txt"), "one");
  expect((await home.rain("datastore", "create", "--source", "data", "--name", "digits")).out).toContain(
    "digits version 1: directory of",
  );
  writeFileSync(home.path("data", "a.txt"), "two");
  const second = await home.json<{ version: number }>(
    "datastore",
    "create",
    "--source=data",
    "--name=digits",
  );
  expect(second.version).toBe(2);
  const { datastores } = await home.json<{ datastores: { name: string; version: number }[] }>(
    "datastore",
    "list",
  );
  expect(datastores.map(({ name, version }) => [name, version])).toEqual([
    ["digits", 1],
    ["digits", 2],
  ]);
  expect((await home.rain("datastore", "list")).out).toMatch(/digits +2 +directory/);
  expect((await home.rain("datastore", "delete", "digit")).err).toContain("did you mean digits?");
  expect((await home.rain("datastore", "delete", "digits", "--version", "1")).out).toBe(
    "forgot version 1 of digits\n",
  );
  expect((await home.rain("datastore", "delete", "digits")).out).toBe("forgot digits: 1 version\n");
  expect((await home.rain("datastore", "list")).out).toBe("no datastores\n");
  expect((await home.rain("datastore", "create", "--source", "nothing", "--name", "x")).code).toBe(2);
  expect((await home.rain("datastore", "create", "--source", "data", "--name", "X Y")).code).toBe(2);
});
