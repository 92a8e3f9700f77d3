import { setTimeout as sleep } from "node:timers/promises";
import { median } from "./support/figures.mjs";
import { cpuSeconds } from "./support/machine.mjs";
import { comparePeers } from "./support/peer-rows.mjs";

// What a cluster costs that has nothing to do: everything is at rest at the same time and is measured over the same time.

const WINDOW_MS = 15_000;
const QUICK_MS = 2_000;
const SETTLE_MS = 3_000;
const ROUNDS = 3;

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "idle",
  what: "CPU time of a server and a governor at rest",
  run: async ({ newInstance, startPeers, quick }) => {
    const instance = newInstance();
    const server = await instance.startServer();
    const governor = await instance.startGovernor();
    const client = await instance.connect();
    const peers = await startPeers(["dask", "ray"]);
    const subjects = /** @type {Record<string, readonly number[]>} */ ({
      server: [server.pid],
      governor: [governor.pid],
      rain: [server.pid, governor.pid],
    });
    for (const { name, peer } of peers) if (peer) subjects[name] = [peer.pid];
    await sleep(SETTLE_MS);

    const seconds = /** @type {Record<string, number[]>} */ ({});
    const read = () => new Map(Object.entries(subjects).map(([name, pids]) => [name, cpuSeconds(pids)]));
    for (let round = 0; round < (quick ? 1 : ROUNDS); round += 1) {
      const begin = performance.now();
      const before = read();
      await sleep(quick ? QUICK_MS : WINDOW_MS);
      const after = read();
      const minutes = (performance.now() - begin) / 60_000;
      for (const [name, value] of after)
        (seconds[name] ??= []).push((value - (before.get(name) ?? 0)) / minutes);
    }
    await client.close();
    const unit = "s/minute";
    const note =
      "CPU seconds a minute of all processes, at rest with a client connected; a peer's client is in its figure";
    const alone = (/** @type {string} */ figure, /** @type {readonly number[]} */ rounds) => ({
      figure,
      value: median(rounds),
      unit,
      rounds,
    });
    return [
      alone("server, idle", seconds["server"] ?? []),
      alone("governor, idle", seconds["governor"] ?? []),
      ...comparePeers({ figure: "server and governor, idle", unit, note }, seconds, peers),
    ];
  },
};
export default benchmark;
