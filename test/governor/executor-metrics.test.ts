import { appendFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { failure, Kit, until } from "./executor-kit.ts";

let kit: Kit;
beforeAll(async () => {
  kit = await Kit.start();
});
afterAll(async () => {
  expect(kit.taskFolders).toEqual([]);
  expect(kit.logged).toEqual([]);
  await kit.stop();
});

const metrics = true;

it("a short program's metrics are read once it has ended, its last line being a value", async () => {
  const before = kit.news.length;
  const outcome = await kit.shell('echo "epoch 3 loss=0.5"; echo "loss=0.25 acc: 90%"; echo 7; echo', {
    metrics,
  });
  expect(outcome.info.metrics).toEqual({
    loss: { last: 0.25, min: 0.25, max: 0.5, count: 2 },
    acc: { last: 90, min: 90, max: 90, count: 1 },
    value: { last: 7, min: 7, max: 7, count: 1 },
  });
  expect(outcome.metrics?.points).toMatchObject([
    { name: "loss", value: 0.5, step: 3 },
    { name: "loss", value: 0.25 },
    { name: "acc", value: 90 },
    { name: "value", value: 7 },
  ]);
  expect(outcome.info.debug).toBeUndefined();
  expect(kit.news.length).toBe(before);
});

it("a long curve becomes sparser and ends with the last value", async () => {
  const { info, metrics: told } = await kit.shell("seq 1 3001 | sed 's/^/m=/'", { metrics });
  expect(info.metrics).toEqual({ m: { last: 3_001, min: 1, max: 3_001, count: 3_001 } });
  expect(told?.points.length).toBeLessThan(2_000);
  expect(told?.points.at(-1)?.value).toBe(3_001);
});

it("without `metrics` nothing is read", async () => {
  const outcome = await kit.shell("echo loss=0.5; echo ${RAIN_METRICS-none} >out", {
    outputs: [{ path: "out" }],
  });
  expect(outcome).toMatchObject({ ok: true, outputs: [{ data: Buffer.from("none\n") }] });
  expect(outcome.metrics).toBeUndefined();
  expect(outcome.info.metrics).toBeUndefined();
});

it("the file of RAIN_METRICS has metrics and parameters; bad lines are counted", async () => {
  const lines = [
    '{"loss": 0.5, "epoch": 3}',
    "nonsense",
    '{"params": {"lr": 0.1}}',
    "[1]",
    '{"params": {"n": 2}, "a": NaN}',
  ];
  const line = `cat >$RAIN_METRICS <<'END'\n${lines.join("\n")}\nEND\nprintf '{"debug": "hello"}' >$RAIN_INFO`;
  const outcome = await kit.shell(line, { metrics });
  expect(outcome.info.metrics).toEqual({
    loss: { last: 0.5, min: 0.5, max: 0.5, count: 1, step: 3 },
    a: { last: NaN, min: NaN, max: NaN, count: 1 },
  });
  expect(outcome.info.params).toEqual({ lr: 0.1, n: 2 });
  expect(outcome.info.debug).toBe(
    'hello\nmetrics: 2 lines of the file of RAIN_METRICS are not used; the first: no JSON object: "nonsense"',
  );
});

it("metrics of a running program are told while it runs, and the rest at its end", async () => {
  const go = join(kit.root, "go");
  await writeFile(go, "");
  const line = `echo loss=1; echo '{"params": {"x": 1}}' >>$RAIN_METRICS; until [ -s ${go} ]; do sleep 0.05; done; echo loss=2; exit 3`;
  const effect = await kit.effect({ work: { type: "execute", shell: true, args: [line] }, metrics });
  const ending = kit.begin(effect);
  const own = () => kit.news.filter(({ ref }) => ref.task === effect.ref.task);
  await until(() => own().some(({ params }) => params !== undefined), "metrics of a running program");
  await until(() => own().flatMap(({ points }) => points).length === 1, "its point");
  await appendFile(go, "go");
  const outcome = await ending;
  expect(failure(outcome)).toMatchObject({ reason: "exit", exitCode: 3 });
  const told = [...own().flatMap(({ points }) => points), ...(outcome.metrics?.points ?? [])];
  expect(told.map(({ value }) => value)).toEqual([1, 2]);
  expect(outcome.info).toMatchObject({
    exitCode: 3,
    params: { x: 1 },
    metrics: { loss: { last: 2, count: 2 } },
  });
});

it.each([
  ["a FIFO", "mkfifo $RAIN_METRICS"],
  ["a link", "ln -s /etc/passwd $RAIN_METRICS"],
  ["a folder", "mkdir $RAIN_METRICS"],
  ["a device", "rm -f $RAIN_METRICS; ln -s /dev/zero $RAIN_METRICS"],
])("%s in the place of the file is not read", async (_, line) => {
  const outcome = await kit.shell(`${line}; echo 1`, { metrics });
  expect(outcome).toMatchObject({ ok: true, info: { metrics: { value: { last: 1 } } } });
});

it("of more than can be read the end is, and a note says so", async () => {
  const line = "echo first=1; head -c 20000000 /dev/zero | tr '\\0' x; echo; echo last=2";
  const outcome = await kit.shell(line, { metrics });
  expect(outcome.info.metrics).toMatchObject({ last: { last: 2 } });
  if (outcome.info.metrics?.["first"] === undefined)
    expect(outcome.info.debug).toContain("bytes came too fast");
});
