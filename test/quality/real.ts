import { Chance } from "./chance.ts";
import { GraphMaker, outputOf, type Graph, type GraphObject, type Size } from "./graph.ts";

/**
 * Graphs after real programs: the irw set of the same paper. Training takes 4 cpus, except in `fastcrossv`.
 */
type Make = (g: GraphMaker, chance: Chance, scale: number) => void;

const mib = (size: number, expected = size): Size => ({ mib: size, expected });
const times = (count: number): number[] => Array.from({ length: Math.round(count) }, (_, i) => i);
const HASH: Size = mib(16 / 1_048_576);
const SCORE: Size = mib(0.0001);
const exactly = (s: number): { s: number; expected: number } => ({ s, expected: s });

const CHUNK = mib(320);
const CHUNKS = 5;
interface Costs {
  readonly cpus: number;
  readonly factor: number;
}

/** Everything but one chunk, for each chunk. */
function mergeOthers(g: GraphMaker, chance: Chance, chunks: readonly GraphObject[]): GraphObject[] {
  return chunks.map((_, left) => {
    const inputs = chunks.filter((_chunk, i) => i !== left);
    const outputs = [mib(320 * inputs.length)];
    return outputOf(g.task("merge", { s: chance.normal(1.1, 0.02), expected: 1.1 }, { inputs, outputs }));
  });
}
/** One model for each merge, and its score on the chunk that was left out. */
function trainAll(
  g: GraphMaker,
  chance: Chance,
  merges: readonly GraphObject[],
  chunks: readonly GraphObject[],
  { cpus, factor }: Costs,
  parameter = 1,
): GraphObject[] {
  return merges.map((merge, i) => {
    const expected = 680 * factor * parameter;
    const train = g.task(
      `train${parameter}`,
      { s: chance.exponential(expected), expected },
      { cpus, inputs: [merge], outputs: [mib(18)] },
    );
    const chunk = chunks[i];
    if (chunk === undefined) throw new Error("more merges than chunks");
    return outputOf(
      g.task(
        "evaluate",
        { s: chance.normal(34 * factor, 3), expected: 34 * factor },
        { cpus, inputs: [outputOf(train), chunk], outputs: [SCORE] },
      ),
    );
  });
}

function crossValidation(g: GraphMaker, chance: Chance, inner: number, costs: Costs): void {
  const outputs = times(CHUNKS).map(() => CHUNK);
  const { outputs: chunks } = g.task("split", { s: chance.normal(5, 0.5), expected: 5 }, { outputs });
  const merges = mergeOthers(g, chance, chunks);
  for (const _ of times(inner))
    g.task("final", exactly(0.2), { inputs: trainAll(g, chance, merges, chunks, costs) });
}

function nested(g: GraphMaker, chance: Chance, parameters: number, costs: Costs): void {
  const outputs = times(CHUNKS).map(() => CHUNK);
  const { outputs: folds } = g.task("split", { s: chance.normal(5, 0.5), expected: 5 }, { outputs });
  for (const left of folds) {
    const inner = folds.filter((fold) => fold !== left);
    const merges = mergeOthers(g, chance, inner);
    const scores = times(parameters).map((p) => {
      const inputs = trainAll(g, chance, merges, inner, costs, p + 1);
      return outputOf(g.task("average", exactly(0.2), { inputs, outputs: [SCORE] }));
    });
    const best = g.task("best", exactly(0.2), { inputs: scores, outputs: [SCORE] });
    const all = g.task(
      "mergeAll",
      { s: chance.normal(1, 0.02), expected: 1 },
      { inputs: inner, outputs: [mib(320 * inner.length)] },
    );
    const { cpus, factor } = costs;
    const train = g.task(
      "train1",
      { s: chance.exponential(680 * factor), expected: 680 * factor },
      { cpus, inputs: [outputOf(all), outputOf(best)], outputs: [mib(18)] },
    );
    g.task(
      "evaluate",
      { s: chance.normal(38 * factor, 3), expected: 38 * factor },
      { cpus, inputs: [outputOf(train), left], outputs: [SCORE] },
    );
  }
}

const programs: Readonly<Record<string, Make>> = {
  gridcat: (g, chance, scale) => {
    const files = times(20 * Math.sqrt(scale)).map(() => {
      const size = chance.normal(300, 25);
      const task = g.task(
        "open",
        { s: chance.normal(0.01, 0.001), expected: 0.01 },
        { outputs: [mib(size)] },
      );
      return { size, object: outputOf(task) };
    });
    const hashes: GraphObject[] = [];
    for (const [i, a] of files.entries()) {
      for (const b of files.slice(i + 1)) {
        const size = a.size + b.size;
        const cat = g.task(
          "cat",
          { s: chance.normal(0.2, 0.01) + size / 1000, expected: 0.2 + size / 1000 },
          { inputs: [a.object, b.object], outputs: [mib(size)] },
        );
        const hash = g.task(
          "hash",
          { s: chance.normal(0.2, 0.01) + size / 500, expected: 0.2 + size / 500 },
          { inputs: cat.outputs, outputs: [HASH] },
        );
        hashes.push(outputOf(hash));
      }
    }
    g.task("merge", exactly(0.1), { inputs: hashes, outputs: [HASH] });
  },
  crossv: (g, chance, scale) => crossValidation(g, chance, 8 * scale, { cpus: 4, factor: 1 }),
  crossvx: (g, chance, scale) => {
    for (const _ of times(4)) crossValidation(g, chance, 4 * scale, { cpus: 4, factor: 1 });
  },
  fastcrossv: (g, chance, scale) => crossValidation(g, chance, 8 * scale, { cpus: 1, factor: 0.02 }),
  mapreduce: (g, chance, scale) => {
    const count = Math.round(160 * scale);
    const split = g.task("split", exactly(10), { outputs: times(count).map(() => mib(2_560)) });
    const maps = split.outputs.map((input) => {
      const outputs = times(count).map(() => mib(chance.normal(250 / count, 20 / count), 250 / count));
      return g.task("map", { s: chance.normal(50, 10), expected: 50 }, { inputs: [input], outputs });
    });
    for (const i of times(count)) {
      const inputs = maps.flatMap(({ outputs }) => outputs.slice(i, i + 1));
      const sum = inputs.reduce((all, { size }) => all + size / 1_048_576, 0);
      g.task("reduce", { s: chance.normal(sum / 25, 5), expected: 10 }, { inputs });
    }
  },
  nestedcrossv: (g, chance, scale) =>
    nested(g, chance, Math.max(1, Math.round(5 * scale)), { cpus: 4, factor: 1 }),
};

export const real: readonly string[] = Object.keys(programs);

export function makeReal(name: string, seed: number, scale: number): Graph | undefined {
  const make = programs[name];
  if (!make) return undefined;
  const g = new GraphMaker();
  make(g, new Chance(seed), scale);
  return g.done(name);
}
