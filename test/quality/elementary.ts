import { Chance } from "./chance.ts";
import { GraphMaker, outputOf, type Graph, type GraphTask, type Size } from "./graph.ts";

/**
 * Small graphs, each of one shape: the elementary set of "Analysis of workflow schedulers in simulated distributed
 * environments" (Beránek, Böhm, Cima), by the definitions of its simulator Estee. `scale` 1: the sizes used there.
 */
type Make = (g: GraphMaker, chance: Chance, scale: number) => void;

const mib = (size: number, expected = size): Size => ({ mib: size, expected });
const times = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

class Durations {
  readonly #chance: Chance;
  constructor(chance: Chance) {
    this.#chance = chance;
  }
  normal(mean: number, deviation: number): { s: number; expected: number } {
    return { s: this.#chance.normal(mean, deviation), expected: mean };
  }
}
const exactly = (s: number): { s: number; expected: number } => ({ s, expected: s });

function layer(g: GraphMaker, chance: Chance, count: number, mean: number, deviation: number): GraphTask[] {
  const d = new Durations(chance);
  return times(count).map(() =>
    g.task("first", d.normal(mean, deviation), { outputs: [mib(chance.normal(99, 2.5), 100)] }),
  );
}
const at = <T>(list: readonly T[], index: number): T => {
  const item = list[index % list.length];
  if (item === undefined) throw new Error("an empty list");
  return item;
};

const shapes: Readonly<Record<string, Make>> = {
  plain1n: (g, chance, scale) => {
    for (const _ of times(380 * scale)) {
      const mean = chance.pick([10, 20, 60, 180]);
      g.task(`plain${mean}`, { s: chance.normal(mean, mean / 10), expected: mean });
    }
  },
  plain1e: (g, chance, scale) => {
    for (const _ of times(380 * scale)) g.task("plain", { s: chance.exponential(60), expected: 60 });
  },
  plain1cpus: (g, chance, scale) => {
    for (const _ of times(380 * scale)) {
      const mean = chance.pick([10, 20, 60, 180]);
      const cpus = 1 + chance.below(3);
      g.task(`plain${mean}`, { s: chance.normal(mean, mean / 10), expected: mean }, { cpus });
    }
  },
  triplets: (g, chance, scale) => {
    const d = new Durations(chance);
    for (const _ of times(110 * scale)) {
      const a = g.task("a", d.normal(5, 1.5), { outputs: [mib(40)] });
      const b = g.task("b", d.normal(120, 20), { cpus: 4, inputs: a.outputs, outputs: [mib(120)] });
      g.task("c", d.normal(32, 3), { inputs: b.outputs });
    }
  },
  merge_neighbours: (g, chance, scale) => {
    const d = new Durations(chance);
    const first = layer(g, chance, 107 * scale, 15, 3);
    for (const i of first.keys())
      g.task("merge", d.normal(15, 2), { inputs: [outputOf(at(first, i)), outputOf(at(first, i + 1))] });
  },
  merge_triplets: (g, chance, scale) => {
    const d = new Durations(chance);
    const first = layer(g, chance, 111 * scale, 15, 3);
    for (let i = 0; i < first.length; i += 3)
      g.task("merge", d.normal(15, 2), { inputs: first.slice(i, i + 3).map(outputOf) });
  },
  "merge_small-big": (g, chance, scale) => {
    const d = new Durations(chance);
    const count = 80 * scale;
    const small = times(count).map(() => g.task("small", d.normal(11, 3), { outputs: [mib(0.5)] }));
    const big = layer(g, chance, count, 15, 3);
    for (const i of times(count))
      g.task("merge", d.normal(10, 1), { inputs: [outputOf(at(small, i)), outputOf(at(big, i))] });
  },
  fork1: (g, chance, scale) => {
    const d = new Durations(chance);
    const first = times(100 * scale).map(() => g.task("first", d.normal(17, 3), { outputs: [mib(100)] }));
    for (const { outputs } of first) {
      g.task("left", d.normal(15, 2), { inputs: outputs });
      g.task("right", d.normal(15, 2), { inputs: outputs });
    }
  },
  fork2: (g, chance, scale) => {
    const d = new Durations(chance);
    const outputs = [mib(100), mib(100)];
    const first = times(100 * scale).map(() => g.task("first", d.normal(17, 3), { outputs }));
    for (const task of first) {
      g.task("left", d.normal(15, 2), { inputs: [at(task.outputs, 0)] });
      g.task("right", d.normal(15, 2), { inputs: [at(task.outputs, 1)] });
    }
  },
  bigmerge: (g, chance, scale) => {
    const d = new Durations(chance);
    const first = times(320 * scale).map(() => g.task("first", d.normal(17, 3), { outputs: [mib(100)] }));
    g.task("merge", exactly(40), { inputs: first.map(outputOf) });
  },
  duration_stairs: (g, _chance, scale) => {
    for (const i of times(190 * scale)) {
      g.task("a", exactly(i));
      g.task("b", exactly(i));
    }
  },
  size_stairs: (g, _chance, scale) => {
    const outputs = times(190 * scale).map((i) => mib(i));
    const first = g.task("split", exactly(0.1), { outputs });
    for (const output of first.outputs) g.task("use", exactly(20), { inputs: [output] });
  },
  splitters: (g, chance, scale) => {
    const d = new Durations(chance);
    let above = [g.task("root", exactly(1), { outputs: [mib(512)] })];
    for (const _ of times(7 + Math.log2(scale))) {
      const both = above.flatMap((task) => [task, task]);
      above = both.map(({ outputs }) =>
        g.task("split", d.normal(20, 1), { inputs: outputs, outputs: [mib(128)] }),
      );
    }
  },
  conflux: (g, chance, scale) => {
    const d = new Durations(chance);
    const depth = 7 + Math.log2(scale);
    let above = times(2 ** depth).map(() => g.task("top", d.normal(20, 1.5), { outputs: [mib(128)] }));
    while (above.length > 1) {
      above = times(above.length / 2).map((i) =>
        g.task("join", d.normal(20, 1), {
          inputs: [outputOf(at(above, 2 * i)), outputOf(at(above, 2 * i + 1))],
          outputs: [mib(128)],
        }),
      );
    }
  },
  grid: (g, chance, scale) => {
    const d = new Durations(chance);
    const size = Math.round(19 * Math.sqrt(scale));
    let above: GraphTask[] = [];
    for (const _ of times(size)) {
      const row: GraphTask[] = [];
      for (const column of times(size)) {
        const [up, left] = [above[column], row.at(-1)];
        const inputs = [up, left].flatMap((task) => (task ? task.outputs : []));
        row.push(g.task("cell", d.normal(20, 1), { inputs, outputs: [mib(128)] }));
      }
      above = row;
    }
  },
  fern: (g, chance, scale) => {
    const d = new Durations(chance);
    let before = g.task("init", d.normal(20, 1), { outputs: [mib(5)] });
    for (const i of times(200 * scale)) {
      const leaf = g.task("leaf", d.normal(35, 3), { outputs: [mib(chance.normal(42, 2), 42)] });
      before = g.task("stem", d.normal(17 + i / 10, 3), {
        inputs: [outputOf(before), outputOf(leaf)],
        outputs: [mib(chance.normal(5 + i / 10, i / 100), 5 + i / 10)],
      });
    }
  },
};

export const elementary: readonly string[] = Object.keys(shapes);

/** `scale`: 1 for the published size; a half or a quarter for a quick look. */
export function makeElementary(name: string, seed: number, scale: number): Graph | undefined {
  const make = shapes[name];
  if (!make) return undefined;
  const g = new GraphMaker();
  make(g, new Chance(seed), scale);
  return g.done(name);
}
