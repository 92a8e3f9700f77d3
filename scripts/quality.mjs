// How good the scheduler's decisions are: npm run quality -- [--graphs a,b] [--clusters 8x4] [--bandwidths 32,512]
//                                                            [--scale 0.25] [--seed 1] [--each]
// The production server's core decides over simulated governors and a simulated network, in virtual time.
// Works on the sources; needs no build. See docs/scheduling.md.
import { parseArgs } from "node:util";
import { loadSources } from "./support/sources.mjs";

const { values } = parseArgs({
  options: {
    graphs: { type: "string" },
    clusters: { type: "string" },
    bandwidths: { type: "string" },
    scale: { type: "string", default: "1" },
    seed: { type: "string", default: "1" },
    /** A line for every case, not only for each graph. */
    each: { type: "boolean", default: false },
  },
});

const { loaded: quality, close } = await loadSources("test/quality/main.ts");
const list = (name) => values[name]?.split(",") ?? quality[name];
const ratio = (value) => value.toFixed(2).padStart(7);
const mean = (cases, pick) => quality.geometricMean(cases.map(pick));

function line(name, cases) {
  const cells = ["rain", "list", "greedy", "random"].map((who) =>
    ratio(mean(cases, (each) => each[who] / each.bound)),
  );
  console.log(`${name.padEnd(34)}${cells.join(" ")}  ${ratio(mean(cases, (each) => each.rain / each.best))}`);
}

console.log(
  `${"makespan / lower bound of".padEnd(34)}   rain    list  greedy  random   rain / best of the others`,
);
const all = [];
for (const graph of list("graphs")) {
  const cases = [];
  for (const cluster of list("clusters")) {
    for (const bandwidth of list("bandwidths").map(Number)) {
      const one = { graph, cluster, bandwidth, seed: Number(values.seed), scale: Number(values.scale) };
      const result = quality.measure(one);
      if (!result) continue;
      cases.push(result);
      if (values.each) line(`  ${graph} ${cluster} ${bandwidth} MiB/s`, [result]);
    }
  }
  if (cases.length > 0) line(graph, cases);
  all.push(...cases);
}
line(`all: geometric mean of ${all.length}`, all);
await close();
