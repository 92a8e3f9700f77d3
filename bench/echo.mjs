import { availableParallelism } from "node:os";
import { alternate, median } from "./support/figures.mjs";
import { echoes } from "./support/echoes.mjs";
import { folderRate } from "./support/limits.mjs";
import { comparePeers } from "./support/peer-rows.mjs";
import { gnuParallel, spawnLoop, xargs } from "./support/programs.mjs";

// Programs a second, with all that Rain does for each: a folder of its own, its output captured, journaled, fetched.

const TASKS = 1_000;
const ROUNDS = 3;
const GOVERNORS = [1, 2, 4];

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "echo",
  what: "/bin/echo with its output captured and fetched, through 1, 2 and 4 governors",
  run: async ({ dir, newInstance, startPeers, quick }) => {
    const tasks = quick ? TASKS / 10 : TASKS;
    const cpus = availableParallelism();
    const pipe = await spawnLoop(dir, "pipe");
    const quiet = await spawnLoop(dir, "null");
    const programs = { xargs: await xargs(cpus), parallel: await gnuParallel(cpus) };

    // A cluster for each count of governors, which share the cpus of this machine.
    const clients = /** @type {Map<number, import("@rain/client").Client>} */ (new Map());
    for (const count of GOVERNORS) {
      const instance = newInstance();
      await instance.startServer();
      const offer = { cpus: Math.max(1, Math.floor(cpus / count)) };
      for (let i = 0; i < count; i += 1) await instance.startGovernor(offer);
      const client = await instance.connect();
      await echoes(client, tasks / 5); // warms up
      clients.set(count, client);
    }
    const peers = await startPeers(["dask", "ray", "hyperqueue"]);
    for (const { peer } of peers) await peer?.ask({ do: "echo", count: tasks / 5 });

    const subjects = /** @type {Record<string, () => number | Promise<number>>} */ ({
      pipe: () => pipe.measure(tasks),
      quiet: () => quiet.measure(tasks),
      folders: () => folderRate(dir, tasks / 2),
    });
    for (const [count, client] of clients) subjects[`rain ${count}`] = () => echoes(client, tasks);
    for (const { name, peer } of peers) {
      if (peer)
        subjects[name] = async () => tasks / ((await peer.ask({ do: "echo", count: tasks })).ms / 1000);
    }
    for (const [name, program] of Object.entries(programs))
      if ("measure" in program) subjects[name] = () => program.measure(tasks);
    const rates = await alternate(quick ? 1 : ROUNDS, subjects);
    for (const client of clients.values()) await client.close();

    const note = `${tasks.toLocaleString("en-US")} tasks in one submit, from the first line of the script to the last byte fetched; ${cpus} cpus, which the governors share`;
    const spawned = { name: pipe.name, value: median(rates["pipe"] ?? []) };
    const limits = [
      spawned,
      { name: quiet.name, value: median(rates["quiet"] ?? []) },
      { name: "folders and files of a task", value: median(rates["folders"] ?? []) },
      ...Object.entries(programs).map(([name, program]) =>
        "measure" in program ? { name: program.name, value: median(rates[name] ?? []) } : program,
      ),
    ];
    return [...clients.keys()].flatMap((count) => {
      const about = {
        figure: `/bin/echo, ${count} governor${count === 1 ? "" : "s"}`,
        unit: "tasks/s",
        note,
      };
      const rounds = { ...rates, rain: rates[`rain ${count}`] ?? [] };
      return count === 1
        ? comparePeers(about, rounds, peers, limits)
        : comparePeers(about, rounds, [], [spawned]);
    });
  },
};
export default benchmark;
