import { setTimeout as delay } from "node:timers/promises";
import { median, alternate } from "./support/figures.mjs";
import {
  chain,
  crossValidation,
  forkJoin,
  gridcat,
  layered,
  mapReduce,
  merge,
  resultOf,
  runGraph,
  tree,
} from "./support/graph.mjs";
import { roundTrips, syncTimes } from "./support/limits.mjs";
import { cpuSeconds, ownCpuSeconds } from "./support/machine.mjs";
import { comparePeers } from "./support/peer-rows.mjs";

// Graphs of tasks that do next to nothing, with one result that is checked: what the system itself costs.

const ROUNDS = 3;
/** Rounds that are not counted: what Node does for the first ten thousand times costs it two to three times as much. */
const WARM_UP = 2;
/** What ran before clears away for a while, above all Dask: a quarter of a cpu that the next one would not have. */
const REST_MS = 4_000;
const whole = (/** @type {number} */ value) => value.toLocaleString("en-US");

/**
 * @typedef {object} Shape
 * @property {string} name
 * @property {string} title
 * @property {string} what
 * @property {(size: number) => import("./support/graph.mjs").Graph} make
 * @property {number} size
 * @property {number} quick the size of a quick run
 */

/** @type {readonly Shape[]} */
const shapes = [
  {
    name: "chain",
    title: "chain of 1,000",
    what: "a chain of 1,000 tasks, each fed by the one before",
    make: chain,
    size: 1_000,
    quick: 100,
  },
  {
    name: "merge",
    title: "merge-10,000",
    what: "10,000 independent tasks and one that joins their outputs",
    make: merge,
    size: 10_000,
    quick: 500,
  },
  {
    name: "tree",
    title: "tree-15",
    what: "2^15 constants, joined two by two until one is left",
    make: tree,
    size: 15,
    quick: 9,
  },
  {
    name: "fork-join",
    title: "fork-join of 500",
    what: "500 times one task, eight, a join, eight, a join",
    make: forkJoin,
    size: 500,
    quick: 20,
  },
  {
    name: "gridcat",
    title: "gridcat of 100",
    what: "100 files, each two of them joined and hashed",
    make: gridcat,
    size: 100,
    quick: 20,
  },
  {
    name: "cross-validation",
    title: "cross-validation of 500",
    what: "500 parameters, five folds each",
    make: crossValidation,
    size: 500,
    quick: 30,
  },
  {
    name: "map-reduce",
    title: "map-reduce of 70",
    what: "70 parts, 70 pieces of each, joined 70 times",
    make: mapReduce,
    size: 70,
    quick: 15,
  },
  {
    name: "layered",
    title: "random layers of 500",
    what: "ten layers of 500 tasks, each with one to three inputs of the layer before",
    make: layered,
    size: 500,
    quick: 30,
  },
];

/**
 * A chain is as slow as its turns: nothing runs beside anything.
 * @param {string} dir
 */
async function turnsASecond(dir) {
  return 1000 / (median(syncTimes(dir, 50)) + median(await roundTrips(200)));
}

/**
 * @param {Shape} shape
 * @returns {import("./support/child.mjs").Benchmark}
 */
const benchmarkOf = ({ name, title, what, make, size, quick }) => ({
  name,
  what,
  run: async ({ dir, newInstance, startPeers, quick: isQuick }) => {
    const nodes = make(isQuick ? quick : size);
    const expected = resultOf(nodes);
    const instance = newInstance();
    const server = await instance.startServer();
    const governor = await instance.startGovernor();
    const client = await instance.connect();
    const peers = await startPeers(["dask", "ray"]);

    /** Microseconds of CPU time of all processes of a subject for each task, round by round. */
    const costs = /** @type {Record<string, number[]>} */ ({});
    /**
     * Tasks a second.
     * @param {string} who
     * @param {() => number} cpu CPU seconds so far
     * @param {(nodes: import("./support/graph.mjs").Graph) => Promise<{ ms: number, result: string }>} run
     */
    const subject = (who, cpu, run) => async () => {
      if (!isQuick) await delay(REST_MS);
      const before = cpu();
      const { ms, result } = await run(nodes);
      (costs[who] ??= []).push(((cpu() - before) * 1e6) / nodes.length);
      if (result !== expected) throw new Error(`${name} through ${who}: the result is not the expected one`);
      return nodes.length / (ms / 1000);
    };
    /** @type {number[]} */
    const cold = [];
    for (let round = 0; round < (isQuick ? 1 : WARM_UP); round += 1) {
      cold.push(nodes.length / ((await runGraph(client, nodes)).ms / 1000));
      for (const { peer } of peers) await peer?.ask({ do: "graph", nodes });
    }

    const ours = () => ({
      client: ownCpuSeconds(),
      server: cpuSeconds([server.pid]),
      governor: cpuSeconds([governor.pid]),
    });
    const parts = /** @type {{ client: number[], server: number[], governor: number[] }} */ ({
      client: [],
      server: [],
      governor: [],
    });
    /** @type {Record<string, () => Promise<number>>} */
    const subjects = {
      rain: async () => {
        const before = ours();
        const total = () => Object.values(ours()).reduce((sum, part) => sum + part, 0);
        const rate = await subject("rain", total, (graph) => runGraph(client, graph))();
        const after = ours();
        for (const part of /** @type {const} */ (["client", "server", "governor"]))
          parts[part].push(((after[part] - before[part]) * 1e6) / nodes.length);
        return rate;
      },
    };
    for (const { name, peer } of peers) {
      if (!peer) continue;
      const cpu = () => cpuSeconds([peer.pid]);
      subjects[name] = subject(name, cpu, (graph) => peer.ask({ do: "graph", nodes: graph }));
    }
    if (name === "chain") subjects["turns"] = () => turnsASecond(dir);
    const rates = await alternate(isQuick ? 1 : ROUNDS, subjects);
    await client.close();

    const note = `${whole(nodes.length)} tasks of copy (sleep 0) and join (concat), from the first line that builds the graph until its result is fetched and checked; the first of a new cluster: ${whole(Math.round(cold[0] ?? 0))} a second`;
    const shares = `of all processes; of Rain's the ${Object.entries(parts)
      .map(([part, values]) => `${part} ${median(values).toFixed(0)}`)
      .join(", ")} us`;
    const limit = rates["turns"];
    const limits = limit ? [{ name: "1 fdatasync + 1 round trip each", value: median(limit) }] : [];
    return [
      ...comparePeers({ figure: title, unit: "tasks/s", note }, rates, peers, limits),
      ...comparePeers({ figure: `${title}, CPU time a task`, unit: "us", note: shares }, costs, peers),
    ];
  },
});

export const graphs = shapes.map(benchmarkOf);
