import * as fc from "fast-check";
import { limits } from "@rain/protocol";
import { describe, expect, it } from "vitest";
import { Curves } from "../../packages/governor/src/executor/metrics/curves.ts";
import { Lines } from "../../packages/governor/src/executor/metrics/lines.ts";
import { bareNumber, parseLine } from "../../packages/governor/src/executor/metrics/parse.ts";

type Values = Readonly<Record<string, number>>;
const read = (line: string): { step?: number; values: Values } => {
  const { step, values } = parseLine(line);
  return { ...(step === undefined ? {} : { step }), values: Object.fromEntries(values) };
};

describe("a line", () => {
  it.each<[string, Values, number?]>([
    ["epoch 3/10 loss=0.31 val_acc: 0.92", { loss: 0.31, val_acc: 0.92 }, 3],
    ["[epoch 3] train_loss: 0.1234, val/acc=0.98%", { train_loss: 0.1234, "val/acc": 0.98 }, 3],
    ["Epoch: [7] | loss : 1e-3; top-1=.5", { loss: 0.001, "top-1": 0.5 }, 7],
    ["step=100 epoch=2 loss=1", { loss: 1 }, 100],
    ["Global_Step: 12, a.b/c=-2", { "a.b/c": -2 }, 12],
    ["ITERATION 5: cost=3", { cost: 3 }, 5],
    [
      "a=nan b=-inf c=+Infinity d=1. e=1E+2 f=-.5.",
      { a: NaN, b: -Infinity, c: Infinity, d: 1, e: 100, f: -0.5 },
    ],
    ["loss:0.5 epoch:3", { loss: 0.5 }, 3],
    // Keras
    [
      "1875/1875 [==============================] - 2s 1ms/step - loss: 0.2912 - accuracy: 0.9155",
      { loss: 0.2912, accuracy: 0.9155 },
    ],
    // PyTorch Lightning
    [
      "Epoch 3: 100%|██████████| 938/938 [00:05<00:00, 170.50it/s, train_loss=0.123, val_loss=2e-1]",
      { train_loss: 0.123, val_loss: 0.2 },
      3,
    ],
    // The Trainer of transformers, old and new
    ["{'loss': 0.5, 'learning_rate': 5e-05, 'epoch': 1.0}", { loss: 0.5, learning_rate: 5e-5 }, 1],
    ["{'loss': '0.5', 'epoch': '1'}", { loss: 0.5 }, 1],
    ["{'acc': np.float64(0.95), 'l': tensor(0.25, device='cuda:0')}", { acc: 0.95, l: 0.25 }],
    // PyTorch's examples
    ["Train Epoch: 1 [0/60000 (0%)]\tLoss: 2.300039", { Loss: 2.300039 }, 1],
    ["Test set: Average loss: 0.0267, Accuracy: 9912/10000 (99%)", { loss: 0.0267 }],
    // Boosted trees
    ["[0]\ttrain-rmse:0.5\teval-rmse:0.6", { "train-rmse": 0.5, "eval-rmse": 0.6 }],
    ["[10]\tvalid_0's auc: 0.95", { auc: 0.95 }],
    // Loggers
    ["INFO:root:loss=0.5 acc=.9", { loss: 0.5, acc: 0.9 }],
    ['2026-11-21 10:00:00,123 INFO train: {"loss": 0.5}', { loss: 0.5 }],
    ["2026-11-21 10:00:00 | INFO | train:main:12 - loss=0.5", { loss: 0.5 }],
    // JSON
    ['{"loss": 0.5, "epoch": 2, "name": "x", "list": [1], "ok": true}', { loss: 0.5 }, 2],
    ['{"opt": {"lr": 1e-3, "deep": {"no": 1}}, "step": 4}', { "opt.lr": 0.001 }, 4],
    ['{"a": NaN, "b": -Infinity}', { a: NaN, b: -Infinity }],
    [
      '{"a": "NaN", "b": "-Infinity", "c": "Infinity", "d": "nan", "e": "1"}',
      { a: NaN, b: -Infinity, c: Infinity },
    ],
    ['{"train/step": 9, "train/loss": 1}', { "train/loss": 1 }, 9],
  ])("%s", (line, values, step) => {
    expect(read(line)).toEqual(step === undefined ? { values } : { step, values });
  });

  it.each([
    "Epoch 1/5",
    "step 3",
    "12:30:45",
    "time: 12:30:45",
    "2026-11-21 10:00",
    "date: 2026-11-21",
    "eta: 00:12",
    "http://x:80 https://example.org:8080/a=b",
    "listening on localhost:8080",
    "device: cuda:0",
    "C:\\data\\x: no",
    "C:\\1.5",
    "version: 1.2.3",
    "n: 1,000",
    "n=1_000",
    "x=0x10",
    "mode=fast key: value",
    "took=0.5s",
    "done: 3/10",
    "ratio=1:2",
    "{broken: json}",
    "{}",
    "",
  ])("says nothing of metrics: %s", (line) => {
    expect(parseLine(line)).toEqual({ values: [] });
  });

  it("that is one number is a value", () => {
    expect(["0.5", " -inf ", "95%", "1e-3"].map(bareNumber)).toEqual([0.5, -Infinity, 95, 0.001]);
    expect(["1 2", "", "x", "0x1", "1,5", "12:30"].map(bareNumber)).toEqual(Array(6).fill(undefined));
  });

  it("gives every number back that was written into it, between any separators", () => {
    const name = fc
      .stringMatching(/^[A-Za-z_]([\w./-]{0,10}\w)?$/)
      .filter((text) => !/(^|[./])(global_step|step|iter|iteration|epoch|nan|inf)$/i.test(text));
    const number = fc.double({ noDefaultInfinity: false, noNaN: false });
    const pairs = fc.array(fc.tuple(name, number, fc.constantFrom("=", ": ", " = ", " : ")), {
      minLength: 1,
      maxLength: 5,
    });
    fc.assert(
      fc.property(
        pairs,
        fc.constantFrom(" ", ", ", "; ", " | ", "\t", " - "),
        fc.nat(99),
        (given, separator, step) => {
          const line = given.map(([key, value, between]) => `${key}${between}${value}`).join(separator);
          const expected = given.map(([key, value]) => [key, Object.is(value, -0) ? 0 : value]);
          expect(parseLine(`[epoch ${step}] ${line}`)).toEqual({ step, values: expected });
          const object = Object.fromEntries(
            given.map(([key, value]) => [key, Number.isFinite(value) ? value : 1]),
          );
          if (!("__proto__" in Object.getOwnPropertyDescriptors(object)))
            expect(read(JSON.stringify(object)).values).toEqual(object);
        },
      ),
    );
  });

  it("of whatever text is read without an error", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), (line) => {
        for (const [name, value] of parseLine(line).values) {
          expect(name).not.toBe("");
          expect(value).toBeTypeOf("number");
        }
      }),
    );
  });
});

describe("lines", () => {
  const linesOf = (parts: readonly Buffer[], longest?: number): string[] => {
    const lines = new Lines(longest);
    return [...parts.flatMap((part) => [...lines.push(part)]), ...lines.end()];
  };

  it("are the same however the bytes come", () => {
    const text = fc.array(fc.constantFrom("a", "é", "🌧", "\n", "\r\n", "\u001b[31m", "x=1"), {
      maxLength: 40,
    });
    fc.assert(
      fc.property(text, fc.integer({ min: 1, max: 5 }), (words, size) => {
        const bytes = Buffer.from(words.join(""));
        const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
          bytes.subarray(at * size, (at + 1) * size),
        );
        // An empty line may be lost: nothing can be read from it.
        const expected = words
          .join("")
          .replaceAll("\u001b[31m", "")
          .split(/\r?\n/)
          .filter((line) => line !== "");
        expect(linesOf(parts).filter((line) => line !== "")).toEqual(expected);
      }),
    );
  });

  it("that are drawn again give their last state at each look, and at their end", () => {
    const lines = new Lines();
    expect([...lines.push(Buffer.from("\r1%\r2%\r3"))]).toEqual([]);
    expect([...lines.look()]).toEqual(["2%"]);
    expect([...lines.look()]).toEqual([]);
    expect([...lines.push(Buffer.from("%\r4%\r\r\n5"))]).toEqual(["4%"]);
    expect([...lines.look(), ...lines.end()]).toEqual(["5"]);
  });

  it("have no colours and a bounded length", () => {
    expect(linesOf([Buffer.from("\u001b[1;32mloss\u001b[0m=\u001b]0;title\u0007\b\b0.5\n")])).toEqual([
      "loss=0.5",
    ]);
    const long = Buffer.from(`${"x".repeat(50)}\ny`);
    expect(linesOf([long.subarray(0, 20), long.subarray(20)], 10)).toEqual(["x".repeat(10), "y"]);
  });

  it("of any length cost time in proportion to it", () => {
    // With a bad expression each of them would take minutes.
    for (const text of ["a:1", "1", "a=", "a.-", " ", "'", "epoch ", "{", "a:", "\r", "\u001b["]) {
      const line = text.repeat(Math.floor(1_000_000 / text.length));
      for (const each of linesOf([Buffer.from(line)])) parseLine(`${each}x`);
    }
  });
});

describe("curves", () => {
  it("keep the first 1,000 points, become sparser, end with the last, and the summary is exact", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 8_000 }), (names, count) => {
        const curves = new Curves();
        for (let at = 0; at < count; at += 1)
          for (let name = 0; name < names; name += 1)
            curves.add({ step: at, values: [[`m${name}`, (at * 7) % 1_001]] }, at);
        curves.finish();
        const points = curves.take();
        expect(curves.take()).toEqual([]);
        const summaries = curves.summaries ?? {};
        const all = Array.from({ length: count }, (_, at) => (at * 7) % 1_001);
        for (let name = 0; name < names; name += 1) {
          const steps = points.filter((each) => each.name === `m${name}`).map(({ step }) => step ?? -1);
          expect(steps.slice(0, 1_000)).toEqual(
            Array.from({ length: Math.min(count, 1_000) }, (_, at) => at),
          );
          expect(steps.every((step, at) => at === 0 || step > (steps[at - 1] ?? -1))).toBe(true);
          expect(steps.at(-1)).toBe(count - 1);
          const expected = {
            last: all.at(-1),
            min: Math.min(...all),
            max: Math.max(...all),
            count,
            step: count - 1,
          };
          expect(summaries[`m${name}`]).toEqual(expected);
        }
      }),
      { numRuns: 15 },
    );
  });

  it("stay within the limits, however many names and values there are", () => {
    const curves = new Curves(2_000);
    for (let at = 0; at < 2_000; at += 1)
      curves.add({ values: Array.from({ length: 80 }, (_, name) => [`m${name}`, at] as const) }, at);
    curves.finish();
    const points = curves.take();
    expect(points.length).toBeLessThanOrEqual(2_000);
    expect(new Set(points.map(({ name }) => name)).size).toBe(limits.metricNames);
    for (let name = 0; name < limits.metricNames; name += 1) {
      const own = points.filter((point) => point.name === `m${name}`);
      expect(own.at(-1)?.value).toBe(1_999);
      expect(own.length).toBeGreaterThan(20);
    }
    expect(Object.keys(curves.summaries ?? {})).toHaveLength(limits.metricNames);
    expect(curves.notes[0]).toContain('32000 values are left out, the first of "m64"');
  });

  it("take no name that a message cannot have, and NaN is never the smallest or largest", () => {
    const curves = new Curves();
    curves.add(
      {
        values: [
          ["__proto__", 1],
          ["x".repeat(300), 1],
          ["", 1],
          ["a\0", 1],
          ["\ud800", 1],
        ],
      },
      0,
    );
    expect(curves.summaries).toBeUndefined();
    curves.add(
      {
        values: [
          ["a", NaN],
          ["b", NaN],
          ["a", 2],
          ["a", -Infinity],
          ["a", NaN],
        ],
      },
      0,
    );
    expect(curves.summaries).toEqual({
      a: { last: NaN, min: -Infinity, max: 2, count: 4 },
      b: { last: NaN, min: NaN, max: NaN, count: 1 },
    });
  });
});
