import { blob } from "@rain/client";
import { median, quantile } from "./support/figures.mjs";
import { roundTrips, syncTimes } from "./support/limits.mjs";
import { comparePeers } from "./support/peer-rows.mjs";
import { spawnLoop } from "./support/programs.mjs";

// One task at a time in an idle cluster, from submit() until its wait() returns.

const SAMPLES = 200;
const ROUNDS = 4;
// A cluster that is at rest has worked before: Node compiles what it has run some hundreds of times or more.
const WARM_UP = 1_000;

/**
 * Milliseconds of each of `count` tasks, one after another.
 * @param {import("@rain/client").Session} session
 * @param {() => import("@rain/client").Task} make
 * @param {number} count
 */
async function taskTimes(session, make, count) {
  const times = [];
  for (let i = 0; i < count; i += 1) {
    const begin = performance.now();
    const task = make();
    await session.submit();
    await task.wait();
    times.push(performance.now() - begin);
  }
  return times;
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "latency",
  what: "one task at rest: sleep 0 and /bin/true, median and p99",
  run: async ({ dir, newInstance, startPeers, quick }) => {
    const instance = newInstance();
    await instance.startServer();
    await instance.startGovernor();
    const client = await instance.connect();
    const session = await client.newSession("bench latency");
    const sleep = () => session.sleep(blob("x"), 0);
    const execute = () => session.execute(["/bin/true"]);
    const spawn = await spawnLoop(dir, "null");
    const peers = await startPeers(["dask", "ray"]);
    const warmUp = quick ? WARM_UP / 10 : WARM_UP;
    for (const { peer } of peers) await peer?.ask({ do: "trips", count: warmUp });
    await taskTimes(session, sleep, warmUp);
    await taskTimes(session, execute, warmUp);

    /** @type {Record<"sync" | "trip" | "spawn" | "sleep" | "execute" | "dask" | "ray", number[][]>} */
    const rounds = { sync: [], trip: [], spawn: [], sleep: [], execute: [], dask: [], ray: [] };
    for (let round = 0; round < (quick ? 1 : ROUNDS); round += 1) {
      rounds.sync.push(syncTimes(dir, 50));
      rounds.trip.push(await roundTrips(200));
      rounds.spawn.push([1000 / (await spawn.measure(100))]);
      rounds.sleep.push(await taskTimes(session, sleep, SAMPLES / ROUNDS));
      rounds.execute.push(await taskTimes(session, execute, SAMPLES / ROUNDS));
      for (const { name, peer } of peers) {
        if (!peer || name === "hyperqueue") continue;
        rounds[name].push((await peer.ask({ do: "trips", count: SAMPLES / ROUNDS })).times);
      }
    }
    await session.close();
    await client.close();

    const sync = median(rounds.sync.flat());
    const trip = median(rounds.trip.flat());
    const started = median(rounds.spawn.flat());
    // submit is durable, assigned, run, reported, durable, told: two syncs; client and governor one round trip each.
    const least = 2 * sync + 2 * trip;
    const sleepLimit = { name: "2 fdatasync + 2 round trips", value: least };
    const executeLimit = { name: "the same + a spawn", value: least + started };
    const note = `submit() until wait() returns; ${SAMPLES} tasks, one at a time, no other task in the cluster`;
    /**
     * @param {string} figure
     * @param {readonly (readonly number[])[]} times
     * @param {{ name: string, value: number }} limit
     * @param {readonly import("./support/peer-rows.mjs").PeerSlot[]} slots
     */
    const both = (figure, times, limit, slots) => {
      /**
       * @param {string} which
       * @param {(times: readonly number[]) => number} of
       */
      const rows = (which, of) => {
        const values = /** @type {Record<string, number[]>} */ ({ rain: [of(times.flat())] });
        for (const { name } of slots)
          if (name !== "hyperqueue" && rounds[name].length > 0) values[name] = [of(rounds[name].flat())];
        const about = { figure: `${figure}, ${which}`, unit: "ms", note };
        return comparePeers(about, values, slots, [limit]).map((row) => ({ ...row, rounds: times.map(of) }));
      };
      return [...rows("median", median), ...rows("p99", (all) => quantile(all, 0.99))];
    };
    return [
      { figure: "fdatasync of the disk", value: sync, unit: "ms", rounds: rounds.sync.map(median) },
      { figure: "loopback round trip", value: trip, unit: "ms", rounds: rounds.trip.map(median) },
      ...both("sleep 0", rounds.sleep, sleepLimit, peers),
      ...both("/bin/true", rounds.execute, executeLimit, []),
    ];
  },
};
export default benchmark;
