// One benchmark in a process of its own: a heap of its own, and a process group that is killed when it is over.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { benchmarks } from "../benchmarks.mjs";
import { Instance } from "./instance.mjs";
import { Peer, titles } from "./peers.mjs";

/**
 * What a benchmark is given.
 * @typedef {object} Bench
 * @property {string} dir an empty folder, removed afterwards
 * @property {() => Instance} newInstance an instance in a folder of its own, stopped afterwards
 * @property {(names: readonly import("./peers.mjs").PeerName[]) => Promise<readonly import("./peer-rows.mjs").PeerSlot[]>} startPeers
 *   starts those that are installed; they are stopped afterwards
 * @property {boolean} quick few tasks and rounds: whether it works, not how fast
 */
/**
 * @typedef {object} Benchmark
 * @property {string} name
 * @property {string} what one line
 * @property {(bench: Bench) => Promise<readonly import("./figures.mjs").Figure[]>} run
 */

const [name = "", dir = "", mode = ""] = process.argv.slice(2);
const benchmark = benchmarks.find((one) => one.name === name);
if (benchmark === undefined || process.send === undefined) throw new Error("started by bench/main.mjs only");

/** @type {Instance[]} */
const instances = [];
/** @type {(error: Error) => void} */
let onDeath = () => {};
const died = new Promise((_, reject) => {
  onDeath = reject;
});
const newInstance = () => {
  const instance = new Instance(join(dir, `instance-${instances.length}`), onDeath);
  instances.push(instance);
  return instance;
};

/** @type {Peer[]} */
const peers = [];
/** @param {readonly import("./peers.mjs").PeerName[]} names */
const startPeers = async (names) => {
  const slots = [];
  for (const name of names) {
    const peer = await Peer.start(name, dir);
    if (peer) {
      peers.push(peer);
      // Its keeper is not in the group that the parent kills.
      process.send?.({ keeper: peer.pid });
    }
    slots.push(peer ? { name, title: peer.title, peer } : { name, title: titles[name] });
  }
  return slots;
};

// The parent is gone, so nobody else will end this group and clear away.
process.on("disconnect", () => {
  for (const { child } of instances.flatMap(({ daemons }) => daemons)) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  process.kill(0, "SIGKILL");
});

/** @type {{ figures: readonly import("./figures.mjs").Figure[] } | { error: string }} */
let answer;
try {
  const bench = { dir, newInstance, startPeers, quick: mode === "quick" };
  answer = { figures: await Promise.race([benchmark.run(bench), died]) };
  for (const peer of peers) await peer.stop();
  for (const instance of instances) await instance.stop();
} catch (error) {
  answer = { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}
process.send(answer);
