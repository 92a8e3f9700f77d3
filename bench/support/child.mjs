// One benchmark in a process of its own: a heap of its own, and a process group that is killed when it is over.
import { benchmarks } from "../benchmarks.mjs";
import { Instance } from "./instance.mjs";
import { join } from "node:path";

/**
 * What a benchmark is given.
 * @typedef {object} Bench
 * @property {string} dir an empty folder, removed afterwards
 * @property {() => Instance} newInstance an instance in a folder of its own, stopped afterwards
 */
/**
 * @typedef {object} Benchmark
 * @property {string} name
 * @property {string} what one line
 * @property {(bench: Bench) => Promise<readonly import("./figures.mjs").Figure[]>} run
 */

// The parent is gone, so nobody will end this group.
process.on("disconnect", () => process.kill(0, "SIGKILL"));

const [name = "", dir = ""] = process.argv.slice(2);
const benchmark = benchmarks.find((one) => one.name === name);
if (benchmark === undefined || process.send === undefined) throw new Error("started by bench/main.mjs only");

/** @type {Instance[]} */
const instances = [];
const newInstance = () => {
  const instance = new Instance(join(dir, `instance-${instances.length}`));
  instances.push(instance);
  return instance;
};

/** @type {{ figures: readonly import("./figures.mjs").Figure[] } | { error: string }} */
let answer;
try {
  answer = { figures: await benchmark.run({ dir, newInstance }) };
  for (const instance of instances) await instance.stop();
} catch (error) {
  answer = { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}
process.send(answer);
